//! What the program did, printed when it ends.

use std::{collections::BTreeMap, fmt::Write};

use vgpu::{Device, InstructionClass, Report, model};

use crate::{fault, settings::Shown, state};

/// Counts of one kernel over all of its launches.
#[derive(Clone, Debug, Default)]
struct KernelCounts {
    launches: u64,
    warp_instructions: u64,
    tensor_instructions: u64,
    global_loads: (u64, u64, u64),
    global_stores: (u64, u64, u64),
    shared_requests: u64,
    shared_waves: u64,
    modelled_seconds: f64,
}

#[derive(Debug)]
pub(crate) struct Counts {
    shown: Shown,
    calls: BTreeMap<&'static str, u64>,
    kernels: BTreeMap<String, KernelCounts>,
    faults: u64,
    leaks: Vec<(u64, u64)>,
}

impl Counts {
    pub(crate) fn new(shown: Shown) -> Self {
        Self { shown, calls: BTreeMap::new(), kernels: BTreeMap::new(), faults: 0, leaks: vec![] }
    }

    pub(crate) fn call(&mut self, name: &'static str) {
        if self.shown.calls {
            *self.calls.entry(name).or_default() += 1;
        }
    }

    pub(crate) fn fault(&mut self) {
        self.faults += 1;
    }

    /// Notes memory that a context that ended had not freed.
    pub(crate) fn leaked(&mut self, allocations: &[(u64, u64)]) {
        self.leaks.extend_from_slice(allocations);
    }

    pub(crate) fn launched(&mut self, device: &Device, kernel: &str, report: &Report) {
        if !self.shown.kernels {
            return;
        }
        let sum = self.kernels.entry(kernel.to_owned()).or_default();
        sum.launches += 1;
        let Some(counters) = &report.counters else { return };
        sum.modelled_seconds += model::estimate(device, counters).seconds;
        sum.warp_instructions += counters.warp_instructions();
        sum.tensor_instructions += counters.of(InstructionClass::Tensor);
        let (global, shared) = (&counters.global, &counters.shared);
        add(&mut sum.global_loads, (global.load_requests, global.load_bytes, global.load_units));
        add(
            &mut sum.global_stores,
            (global.store_requests, global.store_bytes, global.store_units),
        );
        sum.shared_requests += shared.load_requests + shared.store_requests;
        sum.shared_waves += shared.load_units + shared.store_units;
    }

    /// The report's text; `live` is memory that nobody freed yet.
    fn text(&self, live: &[(u64, u64)]) -> String {
        let mut text = String::new();
        let leaks: Vec<(u64, u64)> = self.leaks.iter().chain(live).copied().collect();
        let bytes: u64 = leaks.iter().map(|(_, bytes)| bytes).sum();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "report: {} faults, {} allocations of {bytes} bytes were not freed",
            self.faults,
            leaks.len()
        );
        for (name, count) in &self.calls {
            let _ = writeln!(text, "  {count:10}  {name}");
        }
        for (name, sum) in &self.kernels {
            let _ = writeln!(
                text,
                "  {name}: {} launches, {} warp instructions ({} tensor), \
                 {:.2} sectors a global load, {:.2} a store, {} + {} bytes, {:.2} shared waves, \
                 modelled {:.1} us",
                sum.launches,
                sum.warp_instructions,
                sum.tensor_instructions,
                ratio(sum.global_loads.2, sum.global_loads.0),
                ratio(sum.global_stores.2, sum.global_stores.0),
                sum.global_loads.1,
                sum.global_stores.1,
                ratio(sum.shared_waves, sum.shared_requests),
                sum.modelled_seconds * 1e6
            );
        }
        text
    }
}

fn add(sum: &mut (u64, u64, u64), more: (u64, u64, u64)) {
    *sum = (sum.0 + more.0, sum.1 + more.1, sum.2 + more.2);
}

fn ratio(units: u64, requests: u64) -> f64 {
    units as f64 / requests.max(1) as f64
}

/// Has the report printed when the process ends.
pub(crate) fn at_exit() {
    extern "C" fn print() {
        if let Ok(state) = state::lock() {
            fault::print(&state.counts.text(&state.allocations.all()));
        }
    }
    // SAFETY: the function is one of this library, which is never unloaded while it has threads'
    // state; it neither unwinds nor registers further functions.
    unsafe { libc::atexit(print) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_names_calls_faults_and_leaks() {
        let mut counts = Counts::new(Shown { calls: true, kernels: true });
        counts.call("cuInit");
        counts.call("cuInit");
        counts.fault();
        counts.leaked(&[(0x1000, 24)]);
        counts.launched(&Device::default(), "add", &Report::default());
        let text = counts.text(&[(0x2000, 40)]);
        assert!(text.starts_with("report: 1 faults, 2 allocations of 64 bytes were not freed"));
        assert!(text.contains("2  cuInit"), "{text}");
        assert!(text.contains("add: 1 launches"), "{text}");
    }
}

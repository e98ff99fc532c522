//! Seeded faults in the order of streams and in the life of memory that graphs use: each shows by
//! the check named for it, in every order where it can, and the corrected program in none.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "calls of a C interface, with handles and places for results that each test makes"
)]

mod support;

use cudarc::driver::sys::{self, CUresult};
use support::{
    Kernels, NON_BLOCKING, Scenario, context, event, handle, launch, name, ok, out, read, stream,
    words,
};

/// Orders in which work may run.
const ORDERS: [&str; 8] =
    ["eager", "oldest", "newest", "random:1", "random:2", "random:3", "random:4", "random:5"];

const RELAXED: sys::CUstreamCaptureMode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;

/// What finds a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// `VGPU_CHECKS=bounds`: a report with this text, and error 700.
    Bounds(&'static str),
    /// `VGPU_STREAMS`: another result.
    Order,
}

/// Orders in which a fault shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Always,
    /// When the newest work goes first, and by chance; never in the order of submission.
    OutOfOrder,
}

use Check::{Bounds, Order};
use Shows::{Always, OutOfOrder};

/// What the programs use.
struct Setting {
    copy_plus: sys::CUfunction,
    first: sys::CUstream,
    second: sys::CUstream,
    done: sys::CUevent,
}

impl Setting {
    fn new() -> Self {
        context();
        Self {
            copy_plus: Kernels::load().function("copy_plus"),
            first: stream(NON_BLOCKING),
            second: stream(NON_BLOCKING),
            done: event(),
        }
    }

    /// Lets the second stream wait for what the first has been given.
    unsafe fn second_waits(&self) {
        unsafe {
            ok(sys::cuEventRecord(self.done, self.first));
            ok(sys::cuStreamWaitEvent(self.second, self.done, 0));
        }
    }

    unsafe fn capture(&self, calls: impl FnOnce()) -> sys::CUgraphExec {
        unsafe {
            ok(sys::cuStreamBeginCapture_v2(self.first, RELAXED));
            calls();
            let graph = handle(|to| sys::cuStreamEndCapture(self.first, to));
            handle(|to| sys::cuGraphInstantiateWithFlags(to, graph, 0))
        }
    }
}

/// The word at an address when all is done, or the error that sticks.
fn verdict(address: u64) -> String {
    match unsafe { sys::cuCtxSynchronize() } {
        CUresult::CUDA_SUCCESS => read(address, 1)[0].to_string(),
        error => name(error),
    }
}

/// A program: with its fault or without, and what it comes to.
type Program = fn(&Setting, bool) -> String;

const PROGRAMS: &[(&str, Program, Check, Shows, &str)] = &[
    ("event wait missing between streams", wait_missing, Order, OutOfOrder, "31"),
    ("event waited for before it is recorded", wait_too_early, Order, OutOfOrder, "31"),
    ("event recorded before the work", record_too_early, Order, OutOfOrder, "31"),
    ("graph's result read in another stream", graph_not_waited_for, Order, OutOfOrder, "31"),
    ("copy back not waited for", copy_not_waited_for, Order, OutOfOrder, "31"),
    (
        "memory freed in another stream's order",
        freed_elsewhere,
        Bounds("UseAfterFree in kernel copy_plus"),
        OutOfOrder,
        "2",
    ),
    (
        "captured memory freed before the launch",
        freed_before_launch,
        Bounds("UseAfterFree in kernel copy_plus"),
        Always,
        "8",
    ),
    (
        "captured memory freed in stream order",
        freed_in_order,
        Bounds("UseAfterFree in kernel copy_plus"),
        Always,
        "8",
    ),
    ("captured copy from freed memory", copy_from_freed, Bounds("copy: 4 bytes at"), Always, "7"),
    (
        "graph uses its memory behind the free node",
        used_behind_free,
        Bounds("UseAfterFree in kernel copy_plus"),
        Always,
        "8",
    ),
    (
        "graph frees its memory beside a branch that uses it",
        freed_beside_branch,
        Bounds("UseAfterFree in kernel copy_plus"),
        OutOfOrder,
        "8",
    ),
    (
        "graph's memory used when it was freed outside",
        freed_outside,
        Bounds("UseAfterFree in kernel copy_plus"),
        Always,
        "8",
    ),
];

fn wait_missing(s: &Setting, faulty: bool) -> String {
    let (source, middle, target) = (words(&[1]), words(&[100]), words(&[0]));
    ok(launch(s.copy_plus, 1, 0, s.first, &mut [middle, source, 10]));
    if !faulty {
        unsafe { s.second_waits() };
    }
    ok(launch(s.copy_plus, 1, 0, s.second, &mut [target, middle, 20]));
    verdict(target)
}

fn wait_too_early(s: &Setting, faulty: bool) -> String {
    let (source, middle, target) = (words(&[1]), words(&[100]), words(&[0]));
    if faulty {
        // An event that was never recorded is complete.
        unsafe { ok(sys::cuStreamWaitEvent(s.second, s.done, 0)) };
    }
    ok(launch(s.copy_plus, 1, 0, s.first, &mut [middle, source, 10]));
    if faulty {
        unsafe { ok(sys::cuEventRecord(s.done, s.first)) };
    } else {
        unsafe { s.second_waits() };
    }
    ok(launch(s.copy_plus, 1, 0, s.second, &mut [target, middle, 20]));
    verdict(target)
}

fn record_too_early(s: &Setting, faulty: bool) -> String {
    let (source, middle, target) = (words(&[1]), words(&[100]), words(&[0]));
    unsafe {
        if faulty {
            ok(sys::cuEventRecord(s.done, s.first));
        }
        ok(launch(s.copy_plus, 1, 0, s.first, &mut [middle, source, 10]));
        if !faulty {
            ok(sys::cuEventRecord(s.done, s.first));
        }
        ok(sys::cuStreamWaitEvent(s.second, s.done, 0));
    }
    ok(launch(s.copy_plus, 1, 0, s.second, &mut [target, middle, 20]));
    verdict(target)
}

fn graph_not_waited_for(s: &Setting, faulty: bool) -> String {
    let (source, middle, target) = (words(&[1]), words(&[100]), words(&[0]));
    unsafe {
        let exec = s.capture(|| {
            ok(launch(s.copy_plus, 1, 0, s.first, &mut [middle, source, 10]));
        });
        ok(sys::cuGraphLaunch(exec, s.first));
        if !faulty {
            s.second_waits();
        }
    }
    ok(launch(s.copy_plus, 1, 0, s.second, &mut [target, middle, 20]));
    verdict(target)
}

fn copy_not_waited_for(s: &Setting, faulty: bool) -> String {
    let (source, middle) = (words(&[1]), words(&[100]));
    ok(launch(s.copy_plus, 1, 0, s.first, &mut [middle, source, 30]));
    unsafe {
        let pinned = handle(|to| sys::cuMemHostAlloc(to, 4, 0)).cast::<u32>();
        pinned.write(0);
        ok(sys::cuMemcpyDtoHAsync_v2(pinned.cast(), middle, 4, s.first));
        // Some other work that is waited for in its place.
        ok(sys::cuMemsetD32Async(source, 1, 1, s.second));
        ok(sys::cuStreamSynchronize(if faulty { s.second } else { s.first }));
        pinned.read().to_string()
    }
}

fn freed_elsewhere(s: &Setting, faulty: bool) -> String {
    let kept = words(&[0]);
    unsafe {
        let word = out(|to| sys::cuMemAllocAsync(to, 4, s.second));
        ok(sys::cuMemsetD32Async(word, 1, 1, s.second));
        ok(sys::cuStreamSynchronize(s.second));
        ok(launch(s.copy_plus, 1, 0, s.first, &mut [kept, word, 1]));
        if !faulty {
            s.second_waits();
        }
        ok(sys::cuMemFreeAsync(word, s.second));
    }
    verdict(kept)
}

fn freed_before_launch(s: &Setting, faulty: bool) -> String {
    let (word, target) = (words(&[7]), words(&[0]));
    unsafe {
        let exec = s.capture(|| ok(launch(s.copy_plus, 1, 0, s.first, &mut [target, word, 1])));
        if faulty {
            ok(sys::cuMemFree_v2(word));
        }
        ok(sys::cuGraphLaunch(exec, s.first));
    }
    verdict(target)
}

fn freed_in_order(s: &Setting, faulty: bool) -> String {
    let target = words(&[0]);
    unsafe {
        let word = out(|to| sys::cuMemAllocAsync(to, 4, s.first));
        ok(sys::cuMemsetD32Async(word, 7, 1, s.first));
        let exec = s.capture(|| ok(launch(s.copy_plus, 1, 0, s.first, &mut [target, word, 1])));
        if faulty {
            ok(sys::cuMemFreeAsync(word, s.first));
        }
        ok(sys::cuGraphLaunch(exec, s.first));
        if !faulty {
            ok(sys::cuMemFreeAsync(word, s.first));
        }
    }
    verdict(target)
}

fn copy_from_freed(s: &Setting, faulty: bool) -> String {
    let (word, target) = (words(&[7]), words(&[0]));
    unsafe {
        let exec = s.capture(|| ok(sys::cuMemcpyDtoDAsync_v2(target, word, 4, s.first)));
        if faulty {
            ok(sys::cuMemFree_v2(word));
        }
        ok(sys::cuGraphLaunch(exec, s.first));
    }
    verdict(target)
}

fn used_behind_free(s: &Setting, faulty: bool) -> String {
    let target = words(&[0]);
    unsafe {
        let exec = s.capture(|| {
            let own = out(|to| sys::cuMemAllocAsync(to, 4, s.first));
            ok(sys::cuMemsetD32Async(own, 7, 1, s.first));
            if faulty {
                ok(sys::cuMemFreeAsync(own, s.first));
            }
            ok(launch(s.copy_plus, 1, 0, s.first, &mut [target, own, 1]));
            if !faulty {
                ok(sys::cuMemFreeAsync(own, s.first));
            }
        });
        ok(sys::cuGraphLaunch(exec, s.first));
        if !faulty {
            ok(sys::cuGraphLaunch(exec, s.first));
        }
    }
    verdict(target)
}

fn freed_beside_branch(s: &Setting, faulty: bool) -> String {
    let target = words(&[0]);
    unsafe {
        let exec = s.capture(|| {
            let own = out(|to| sys::cuMemAllocAsync(to, 4, s.first));
            ok(sys::cuMemsetD32Async(own, 7, 1, s.first));
            s.second_waits();
            ok(launch(s.copy_plus, 1, 0, s.second, &mut [target, own, 1]));
            if faulty {
                ok(sys::cuMemFreeAsync(own, s.first));
            }
            let joined = event();
            ok(sys::cuEventRecord(joined, s.second));
            ok(sys::cuStreamWaitEvent(s.first, joined, 0));
            if !faulty {
                ok(sys::cuMemFreeAsync(own, s.first));
            }
        });
        ok(sys::cuGraphLaunch(exec, s.first));
    }
    verdict(target)
}

fn freed_outside(s: &Setting, faulty: bool) -> String {
    let target = words(&[0]);
    unsafe {
        let mut own = 0;
        let exec = s.capture(|| {
            own = out(|to| sys::cuMemAllocAsync(to, 4, s.first));
            ok(sys::cuMemsetD32Async(own, 7, 1, s.first));
        });
        ok(sys::cuGraphLaunch(exec, s.first));
        if faulty {
            ok(sys::cuMemFreeAsync(own, s.first));
        }
        ok(launch(s.copy_plus, 1, 0, s.first, &mut [target, own, 1]));
        if !faulty {
            ok(sys::cuMemFreeAsync(own, s.first));
        }
    }
    verdict(target)
}

/// What a program came to in an order, and what it printed to standard error.
fn ran(program: Program, what: &str, order: &str, faulty: bool) -> Option<(String, String)> {
    let test = "each_fault_shows_where_it_can_and_the_corrected_program_nowhere";
    let case = format!("{what}, {order}, {faulty}");
    let ran = Scenario::new(test).with("VGPU_STREAMS", order).case(&case).outcome(|| {
        println!("\nverdict: {}", program(&Setting::new(), faulty));
    })?;
    assert!(ran.success, "{case}: {}{}", ran.printed, ran.errors);
    let verdict = ran.printed.lines().find_map(|line| line.strip_prefix("verdict: "));
    Some((verdict.unwrap_or_default().to_owned(), ran.errors))
}

#[test]
fn each_fault_shows_where_it_can_and_the_corrected_program_nowhere() {
    let mut failures = Vec::new();
    for &(what, program, check, shows, right) in PROGRAMS {
        let (mut found, mut clean) = (Vec::new(), 0);
        for order in ORDERS {
            if let Some((verdict, errors)) = ran(program, what, order, false) {
                clean += usize::from(verdict == right && !errors.contains("vgpu:"));
                if verdict != right {
                    failures.push(format!("{what}, corrected, {order}: {verdict}\n{errors}"));
                }
            }
            if let Some((verdict, errors)) = ran(program, what, order, true) {
                let shown = match check {
                    Order => verdict != right && verdict.parse::<u32>().is_ok(),
                    Bounds(text) => verdict == "ILLEGAL_ADDRESS" && errors.contains(text),
                };
                if shown {
                    found.push(order);
                } else if verdict != right {
                    failures.push(format!("{what}, {order}: {verdict}\n{errors}"));
                }
            }
        }
        let (hits, all) = (found.len(), ORDERS.len());
        println!("{what:<52} {check:?}: {hits} of {all} {shows:?}, corrected: {clean} of {all}");
        let enough = match shows {
            Always => found == ORDERS,
            OutOfOrder => {
                found.contains(&"newest")
                    && found.iter().any(|order| order.starts_with("random"))
                    && !found.contains(&"eager")
                    && !found.contains(&"oldest")
            }
        };
        // In the child, nothing runs here.
        if !enough && clean > 0 {
            failures.push(format!("{what}: found only in {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

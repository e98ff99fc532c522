//! What no kernel of ours may do, and the limits of Thor that it must keep.

use super::{ptx::Entry, ptxas::Resources};

/// Registers of a multiprocessor.
const REGISTERS: u32 = 65_536;

/// Registers are given to a warp in units of this many (eight a thread).
const REGISTER_UNIT: u32 = 256;

/// Statically declared shared memory of a block, bytes; more needs dynamic shared memory.
const STATIC_SHARED_BYTES: u32 = 48 * 1024;

/// Threads of a block, where a kernel does not say less.
const MAX_THREADS: u32 = 1024;

const WARP: u32 = 32;

/// Beginnings of instructions, with the reason why they are forbidden.
const FORBIDDEN: &[(&str, &str)] = &[
    ("call", "a call: printf, malloc, assert and functions that are not inlined"),
    ("wmma.", "wmma: use mma.sync, whose fragment layout is documented"),
    ("brkpt", "a breakpoint"),
    ("alloca", "a stack allocation"),
];

/// Every rule that the kernel breaks, in words.
pub(super) fn violations(entry: &Entry, resources: &Resources) -> Vec<String> {
    let mut found = Vec::new();
    let mut broken = |message: String| found.push(format!("{}: {message}", entry.name));
    if resources.spill_store_bytes > 0 || resources.spill_load_bytes > 0 {
        broken(format!(
            "spills {} bytes of stores and {} of loads",
            resources.spill_store_bytes, resources.spill_load_bytes
        ));
    } else if resources.stack_bytes > 0 {
        broken(format!("uses {} bytes of local memory a thread", resources.stack_bytes));
    }
    if entry.max_threads.is_none() {
        broken("has no __launch_bounds__".to_owned());
    }
    let threads = entry.max_threads.unwrap_or(MAX_THREADS);
    if threads > MAX_THREADS {
        broken(format!("asks for {threads} threads in a block, at most {MAX_THREADS}"));
    }
    let needed = registers_of_block(resources.registers, threads);
    if needed > REGISTERS {
        broken(format!(
            "{} registers in each of {threads} threads are {needed}, a multiprocessor has \
             {REGISTERS}",
            resources.registers
        ));
    }
    if resources.shared_bytes > STATIC_SHARED_BYTES {
        broken(format!(
            "declares {} bytes of shared memory, at most {STATIC_SHARED_BYTES}; declare it \
             extern and ask for it at launch",
            resources.shared_bytes
        ));
    }
    for (beginning, reason) in FORBIDDEN {
        let count = entry.instructions.iter().filter(|i| i.starts_with(beginning)).count();
        if count > 0 {
            broken(format!("has {count} of {reason}"));
        }
    }
    if !entry.writes_global() {
        broken("is empty: it writes nothing to global memory".to_owned());
    }
    found
}

/// Registers that a block occupies, with the granularity of their allocation.
fn registers_of_block(registers: u32, threads: u32) -> u32 {
    let of_warp = (registers * WARP).next_multiple_of(REGISTER_UNIT);
    of_warp * threads.div_ceil(WARP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let instructions = vec!["st.global.f32 [%rd1], %f1".to_owned(), "ret".to_owned()];
        Entry { name: "k".to_owned(), max_threads: Some(256), instructions }
    }

    fn resources() -> Resources {
        Resources { kernel: "k".to_owned(), registers: 40, ..Resources::default() }
    }

    /// The only message for the two, which must be one.
    fn only(entry: &Entry, resources: &Resources) -> String {
        let found = violations(entry, resources);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    #[test]
    fn a_kernel_within_all_limits_passes() {
        assert_eq!(violations(&entry(), &resources()), Vec::<String>::new());
        let largest = Resources { registers: 255, shared_bytes: 49_152, ..resources() };
        assert_eq!(violations(&entry(), &largest), Vec::<String>::new());
    }

    #[test]
    fn each_limit_is_named() {
        let spilled = Resources { spill_store_bytes: 8, stack_bytes: 8, ..resources() };
        assert!(only(&entry(), &spilled).contains("spills 8 bytes of stores and 0 of loads"));
        let local = Resources { stack_bytes: 32, ..resources() };
        assert!(only(&entry(), &local).contains("32 bytes of local memory"));
        let shared = Resources { shared_bytes: 49_153, ..resources() };
        assert!(only(&entry(), &shared).contains("49153 bytes of shared memory"));
        let wide = Entry { max_threads: Some(1025), ..entry() };
        assert!(only(&wide, &resources()).contains("1025 threads"));
        let unbounded = Entry { max_threads: None, ..entry() };
        assert!(only(&unbounded, &resources()).contains("__launch_bounds__"));
    }

    #[test]
    fn registers_are_counted_in_the_units_of_their_allocation() {
        let full = Entry { max_threads: Some(1024), ..entry() };
        assert!(violations(&full, &Resources { registers: 64, ..resources() }).is_empty());
        // 65 registers are rounded up to 72 a thread.
        let message = only(&full, &Resources { registers: 65, ..resources() });
        assert!(message.contains("are 73728, a multiprocessor has 65536"), "{message}");
    }

    #[test]
    fn forbidden_instructions_are_counted() {
        let mut prints = entry();
        prints.instructions.push("call.uni (retval0), vprintf, (param0, param1)".to_owned());
        assert!(only(&prints, &resources()).contains("1 of a call"));
        let mut tile = entry();
        tile.instructions.push("wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {}".to_owned());
        assert!(only(&tile, &resources()).contains("wmma"));
    }
}

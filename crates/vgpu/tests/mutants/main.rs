//! Seeded faults: each is found by the check named for it, in every schedule; the kernels
//! without a fault give the right result and no report in any.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::float_cmp,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::redundant_closure_for_method_calls,
    reason = "helpers of tests; results are compared exactly, and PTX is text"
)]

mod cases;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashMap;

use cases::{CASES, Case, Host, Outcome};
use support::device;
use vgpu::{Checks, FaultKind, Kind, Module, Schedule};

/// A check that can be switched on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// What is looked for whatever is switched on.
    Always,
    /// No check: the result differs from the reference.
    Result,
    Bounds,
    Uninitialised,
    SharedRaces,
    GlobalRaces,
    ProxyFences,
    EarlyExits,
}

impl Check {
    fn switches(self) -> Checks {
        Checks {
            bounds: self == Self::Bounds,
            uninitialised: self == Self::Uninitialised,
            shared_races: self == Self::SharedRaces,
            global_races: self == Self::GlobalRaces,
            proxy_fences: self == Self::ProxyFences,
            early_exits: self == Self::EarlyExits,
        }
    }
}

use FaultKind::{
    AsyncRace, BarrierMismatch, Deadlock, DivergentSync, GlobalRace, LaunchLimit, Mbarrier,
    Misaligned, MissingProxyFence, OutOfBounds, SharedRace, Trap, Uninitialised, UseAfterFree,
    WriteToConstant,
};
use Host::Correct;
use Outcome::{Fault, Undefined, Wrong};

/// One seeded fault: kernel, number of the fault in its source, mistake of the host, what it is,
/// the check that finds it, and what that may report.
type Mutant = (&'static str, u32, Host, &'static str, Check, &'static [Outcome]);

const UNFENCED: &[Outcome] = &[Fault(MissingProxyFence)];
const RACE: &[Outcome] = &[Fault(SharedRace), Fault(AsyncRace)];

const MUTANTS: &[Mutant] = &[
    ("reduce", 1, Correct, "reads one element too many", Check::Bounds, &[Fault(OutOfBounds)]),
    (
        "reduce",
        2,
        Correct,
        "shuffle mask without half of the lanes",
        Check::Always,
        &[Fault(DivergentSync)],
    ),
    (
        "reduce",
        3,
        Correct,
        "one partial sum is never written",
        Check::Uninitialised,
        &[Fault(Uninitialised)],
    ),
    ("reduce", 4, Correct, "barrier missing before the partial sums", Check::SharedRaces, RACE),
    (
        "reduce",
        5,
        Correct,
        "shuffle in both arms of a branch",
        Check::Always,
        &[Fault(DivergentSync)],
    ),
    ("transpose", 1, Correct, "bound off by one", Check::Bounds, &[Fault(OutOfBounds)]),
    ("transpose", 2, Correct, "tile column off by one", Check::Uninitialised, &[Undefined]),
    (
        "transpose",
        3,
        Correct,
        "barrier for half of each warp",
        Check::EarlyExits,
        &[Fault(DivergentSync)],
    ),
    ("transpose", 4, Correct, "barrier missing", Check::SharedRaces, RACE),
    ("transpose", 5, Correct, "reads behind the tile", Check::Always, &[Fault(OutOfBounds)]),
    ("product", 1, Correct, "barrier missing behind cp.async", Check::SharedRaces, RACE),
    (
        "product",
        2,
        Correct,
        "wait_group one group too lax",
        Check::SharedRaces,
        &[Fault(AsyncRace)],
    ),
    (
        "product",
        3,
        Correct,
        "accumulators never set",
        Check::Uninitialised,
        &[Fault(Uninitialised)],
    ),
    (
        "product",
        4,
        Correct,
        "copies into the stage that is read",
        Check::SharedRaces,
        &[Fault(AsyncRace)],
    ),
    ("product", 5, Correct, "swizzle forgotten at one of two places", Check::Result, &[Wrong]),
    ("gemm", 1, Correct, "bad1.cu: barrier missing behind cp.async", Check::SharedRaces, RACE),
    (
        "gemm",
        2,
        Correct,
        "bad2.cu: wait_group one group too lax",
        Check::SharedRaces,
        &[Fault(AsyncRace)],
    ),
    (
        "pipeline",
        1,
        Correct,
        "barrier missing behind mbarrier.init",
        Check::SharedRaces,
        &[Fault(SharedRace), Fault(Mbarrier)],
    ),
    (
        "pipeline",
        2,
        Correct,
        "expect_tx of too few bytes",
        Check::Always,
        &[Fault(Deadlock), Fault(BarrierMismatch)],
    ),
    (
        "pipeline",
        3,
        Correct,
        "wait for the mbarrier missing",
        Check::SharedRaces,
        &[Fault(AsyncRace)],
    ),
    ("pipeline", 4, Correct, "an arrival that nobody expects", Check::Always, &[Fault(Mbarrier)]),
    (
        "pipeline",
        5,
        Correct,
        "buffer reused before it was copied out",
        Check::SharedRaces,
        &[Fault(AsyncRace)],
    ),
    (
        "pipeline",
        6,
        Correct,
        "proxy fence missing",
        Check::ProxyFences,
        &[Fault(MissingProxyFence)],
    ),
    ("pipeline", 7, Correct, "barrier missing before the copy out", Check::SharedRaces, RACE),
    ("refill", 1, Correct, "proxy fence missing behind writes", Check::ProxyFences, UNFENCED),
    ("refill", 2, Correct, "proxy fence missing behind reads", Check::ProxyFences, UNFENCED),
    (
        "refill",
        3,
        Correct,
        "proxy fence missing behind mbarrier.init",
        Check::ProxyFences,
        UNFENCED,
    ),
    ("refill", 4, Correct, "proxy fence for global memory only", Check::ProxyFences, UNFENCED),
    ("relay", 1, Correct, "proxy fence missing in global memory", Check::ProxyFences, UNFENCED),
    ("relay", 2, Correct, "proxy fence for shared memory only", Check::ProxyFences, UNFENCED),
    ("relay", 3, Correct, "proxy fence missing between CTAs", Check::ProxyFences, UNFENCED),
    (
        "relay",
        4,
        Correct,
        "bulk copy of what no fence has released",
        Check::GlobalRaces,
        &[Fault(GlobalRace)],
    ),
    (
        "publish",
        1,
        Correct,
        "waits until the source is read, not the target written",
        Check::SharedRaces,
        &[Fault(AsyncRace)],
    ),
    (
        "publish",
        2,
        Correct,
        "wait for the copy out missing",
        Check::SharedRaces,
        &[Fault(AsyncRace)],
    ),
    (
        "publish",
        3,
        Correct,
        "part published before it is written",
        Check::GlobalRaces,
        &[Fault(GlobalRace)],
    ),
    (
        "histogram",
        1,
        Correct,
        "bins never set to zero",
        Check::Uninitialised,
        &[Fault(Uninitialised)],
    ),
    ("histogram", 2, Correct, "barrier missing behind the zeroing", Check::SharedRaces, RACE),
    ("histogram", 3, Correct, "bins out of range", Check::Always, &[Fault(OutOfBounds)]),
    ("histogram", 4, Correct, "counts without atomics", Check::SharedRaces, RACE),
    (
        "histogram",
        5,
        Correct,
        "adds to global memory without atomics",
        Check::GlobalRaces,
        &[Fault(GlobalRace)],
    ),
    (
        "split",
        1,
        Correct,
        "fence missing before the ticket",
        Check::GlobalRaces,
        &[Fault(GlobalRace)],
    ),
    ("split", 2, Correct, "ticket without atomics", Check::GlobalRaces, &[Fault(GlobalRace)]),
    (
        "split",
        3,
        Correct,
        "fence missing behind the ticket",
        Check::GlobalRaces,
        &[Fault(GlobalRace)],
    ),
    ("split", 4, Correct, "all CTAs write one place", Check::GlobalRaces, &[Fault(GlobalRace)]),
    ("split", 5, Correct, "barrier missing before the flag is read", Check::SharedRaces, RACE),
    ("scan", 1, Correct, "__syncwarp missing behind the first write", Check::SharedRaces, RACE),
    ("scan", 2, Correct, "__syncwarp missing between read and write", Check::SharedRaces, RACE),
    (
        "scan",
        3,
        Correct,
        "__syncwarp without one of its lanes",
        Check::Always,
        &[Fault(DivergentSync)],
    ),
    (
        "scan",
        4,
        Correct,
        "barrier with two numbers of threads",
        Check::Always,
        &[Fault(BarrierMismatch)],
    ),
    (
        "scan",
        5,
        Correct,
        "two barriers where one is meant",
        Check::Always,
        &[Fault(BarrierMismatch)],
    ),
    ("rows", 2, Correct, "pointer off by two bytes", Check::Always, &[Fault(Misaligned)]),
    ("rows", 3, Correct, "trap", Check::Always, &[Fault(Trap)]),
    (
        "rows",
        0,
        Host::OutputInConstants,
        "output in constant memory",
        Check::Always,
        &[Fault(WriteToConstant)],
    ),
    (
        "rows",
        0,
        Host::FreedInput,
        "input freed before the launch",
        Check::Bounds,
        &[Fault(UseAfterFree)],
    ),
    (
        "rows",
        0,
        Host::UnwrittenInput,
        "input never written",
        Check::Uninitialised,
        &[Fault(Uninitialised)],
    ),
    (
        "rows",
        0,
        Host::TooMuchShared,
        "64 KiB of shared memory, no opt-in",
        Check::Always,
        &[Fault(LaunchLimit)],
    ),
    (
        "rows",
        0,
        Host::TooManyThreads,
        "more threads than .maxntid",
        Check::Always,
        &[Fault(LaunchLimit)],
    ),
    (
        "rows",
        0,
        Host::TooManyRegisters,
        "more registers than an SM has",
        Check::Always,
        &[Fault(LaunchLimit)],
    ),
    ("rows", 0, Host::ShortInput, "input one element short", Check::Bounds, &[Fault(OutOfBounds)]),
];

/// Runs one kernel in every schedule.
fn outcomes(ptx: &str, case: Case, kernel: &str, host: Host, checks: Checks) -> Vec<Outcome> {
    let module = Module::parse(ptx).unwrap();
    Schedule::adversarial(4)
        .into_iter()
        .map(|schedule| {
            let gpu = device(schedule, checks);
            let loaded = gpu.load(&module).unwrap();
            case(&gpu, &loaded, kernel, host)
        })
        .collect()
}

#[test]
fn every_seeded_fault_is_found_and_nothing_else() {
    let mut texts = HashMap::new();
    for (name, ..) in CASES {
        let Some(ptx) = support::compile(name) else { return };
        texts.insert(name, ptx);
    }
    let cases: HashMap<_, _> = CASES.into_iter().map(|(name, case, _)| (name, case)).collect();
    let mut failures = Vec::new();
    for (name, case, correct) in CASES {
        for number in correct {
            let kernel = format!("{name}_{number}");
            let found = outcomes(&texts[name], case, &kernel, Correct, Checks::ALL);
            let right = found.iter().filter(|&outcome| *outcome == Outcome::Right).count();
            println!("{kernel:<12} {:<54} no report: {right} of {}", "(correct)", found.len());
            if right != found.len() {
                failures.push(format!("{kernel} is correct, but {found:?}"));
            }
        }
    }
    for &(name, number, host, what, check, expected) in MUTANTS {
        let kernel = format!("{name}_{number}");
        let found = outcomes(&texts[name], cases[name], &kernel, host, check.switches());
        let hits = found.iter().filter(|outcome| expected.contains(outcome)).count();
        println!("{kernel:<12} {what:<54} {check:?}: {hits} of {}", found.len());
        if hits != found.len() {
            failures.push(format!("{kernel} ({what}): one of {expected:?} expected, {found:?}"));
        }
        let all = outcomes(&texts[name], cases[name], &kernel, host, Checks::ALL);
        if all.contains(&Outcome::Right) {
            failures.push(format!("{kernel} ({what}) passes with all checks: {all:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn leaks_are_listed() {
    let gpu = device(Schedule::default(), Checks::ALL);
    let kept = gpu.memory().alloc(100, 4, Kind::Device).unwrap();
    let freed = gpu.memory().alloc(100, 4, Kind::Device).unwrap();
    gpu.memory().free(freed).unwrap();
    let leaks = gpu.memory().leaks();
    assert_eq!(leaks.iter().map(|leak| leak.address).collect::<Vec<_>>(), [kept]);
    assert!(gpu.memory().free(freed).is_err());
}

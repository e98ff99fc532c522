//! Seeded faults: each is found by the check named for it, in every schedule; the kernels
//! without a fault give the right result and no report in any.

mod support;

use std::collections::HashMap;

use support::{device, download, params, room, upload};
use vgpu::{Checks, FaultKind, Gpu, Kind, Launch, LoadedModule, Module, Schedule};

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Right,
    /// No fault, but another result than the reference's.
    Wrong,
    /// No fault, but parts of the result were never written.
    Undefined,
    Fault(FaultKind),
}

/// How a host makes a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Correct,
    OutputInConstants,
    FreedInput,
    UnwrittenInput,
    TooMuchShared,
    TooManyThreads,
    TooManyRegisters,
    ShortInput,
}

fn run(gpu: &Gpu, module: &LoadedModule, kernel: &str, launch: &Launch, buffer: &[u8]) -> Option<FaultKind> {
    let kernel = module.kernel(kernel).unwrap();
    gpu.launch(&kernel, launch, buffer).err().map(|fault| {
        assert!(fault.ptx_line > 0 || fault.kind == FaultKind::LaunchLimit, "{fault}");
        fault.kind
    })
}

fn judged(
    gpu: &Gpu,
    (output, bytes): (u64, usize),
    fault: Option<FaultKind>,
    right: impl FnOnce() -> bool,
) -> Outcome {
    match fault {
        Some(kind) => Outcome::Fault(kind),
        None if gpu.memory().first_undefined(output, bytes as u64).unwrap().is_some() => {
            Outcome::Undefined
        }
        None if right() => Outcome::Right,
        None => Outcome::Wrong,
    }
}

fn number(i: usize) -> f32 {
    ((i * 37 + 11) % 64) as f32 - 31.0
}

fn reduce(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let (rows, columns) = (3, 200);
    let x: Vec<f32> = (0..rows * columns).map(number).collect();
    let sums = room::<f32>(gpu, rows);
    let buffer = params(&[upload(gpu, &x), sums], &[columns as i32]);
    let launch = Launch::new([rows as u32, 1, 1], [128, 1, 1]);
    let fault = run(gpu, module, kernel, &launch, &buffer);
    judged(gpu, (sums, 4 * rows), fault, || {
        let expected: Vec<f32> = x.chunks(columns).map(|row| row.iter().sum()).collect();
        download::<f32>(gpu, sums, rows) == expected
    })
}

fn transpose(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let (rows, columns) = (40usize, 70usize);
    let x: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
    let y = room::<f32>(gpu, rows * columns);
    let buffer = params(&[upload(gpu, &x), y], &[rows as i32, columns as i32]);
    let fault = run(gpu, module, kernel, &Launch::new([3, 2, 1], [32, 8, 1]), &buffer);
    judged(gpu, (y, 4 * x.len()), fault, || {
        let y = download::<f32>(gpu, y, rows * columns);
        (0..rows * columns).all(|i| y[i % columns * rows + i / columns] == x[i])
    })
}

fn product(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let (m, n, k) = (64usize, 128usize, 160usize);
    let value = |i: usize| ((i * 29 + 7) % 17) as f32 - 8.0;
    let narrow = |v: &f32| half::bf16::from_f32(*v).to_bits();
    let a: Vec<f32> = (0..m * k).map(value).collect();
    let b: Vec<f32> = (0..n * k).map(|i| value(i + 5)).collect();
    let c = room::<f32>(gpu, m * n);
    let pointers = [
        upload(gpu, &a.iter().map(narrow).collect::<Vec<_>>()),
        upload(gpu, &b.iter().map(narrow).collect::<Vec<_>>()),
        c,
    ];
    let launch = Launch { dynamic_shared_bytes: 3 * 2 * 64 * 32 * 2, ..Launch::new([2, 1, 1], [128, 1, 1]) };
    let fault = run(gpu, module, kernel, &launch, &params(&pointers, &[n as i32, k as i32]));
    judged(gpu, (c, 4 * m * n), fault, || {
        let c = download::<f32>(gpu, c, m * n);
        // Small whole numbers: every order of additions is exact.
        (0..m * n).all(|i| {
            let (row, column) = (i / n, i % n);
            c[i] == (0..k).map(|j| a[row * k + j] * b[column * k + j]).sum::<f32>()
        })
    })
}

fn pipeline(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let (blocks, chunks) = (2usize, 5usize);
    let x: Vec<f32> = (0..blocks * chunks * 256).map(number).collect();
    let y = room::<f32>(gpu, x.len());
    let buffer = params(&[upload(gpu, &x), y], &[chunks as i32]);
    let launch = Launch::new([blocks as u32, 1, 1], [128, 1, 1]);
    let fault = run(gpu, module, kernel, &launch, &buffer);
    judged(gpu, (y, 4 * x.len()), fault, || {
        download::<f32>(gpu, y, x.len()).iter().zip(&x).all(|(&y, &x)| y == 2.0 * x)
    })
}

fn histogram(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let x: Vec<u8> = (0..1000u32).map(|i| (i * i % 251) as u8).collect();
    let counts = upload(gpu, &[0u32; 64]);
    let buffer = params(&[upload(gpu, &x), counts], &[x.len() as i32]);
    let fault = run(gpu, module, kernel, &Launch::new([3, 1, 1], [96, 1, 1]), &buffer);
    judged(gpu, (counts, 256), fault, || {
        let mut expected = [0u32; 64];
        x.iter().for_each(|&v| expected[usize::from(v & 63)] += 1);
        download::<u32>(gpu, counts, 64) == expected
    })
}

fn split(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let x: Vec<f32> = (0..1500).map(number).collect();
    let total = room::<f32>(gpu, 1);
    let pointers = [upload(gpu, &x), room::<f32>(gpu, 6), upload(gpu, &[0u32]), total];
    let buffer = params(&pointers, &[x.len() as i32]);
    let fault = run(gpu, module, kernel, &Launch::new([6, 1, 1], [64, 1, 1]), &buffer);
    judged(gpu, (total, 4), fault, || download::<f32>(gpu, total, 1) == [x.iter().sum::<f32>()])
}

fn scan(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let x: Vec<i32> = (0..256).map(|i| number(i) as i32).collect();
    let y = room::<i32>(gpu, x.len());
    let buffer = params(&[upload(gpu, &x), y], &[]);
    let fault = run(gpu, module, kernel, &Launch::new([2, 1, 1], [128, 1, 1]), &buffer);
    judged(gpu, (y, 4 * x.len()), fault, || {
        let sums = x.chunks(128).flat_map(|block| {
            block.iter().scan(0, |sum, &v| {
                *sum += v;
                Some(*sum)
            })
        });
        download::<i32>(gpu, y, x.len()).into_iter().eq(sums)
    })
}

fn rows(gpu: &Gpu, module: &LoadedModule, kernel: &str, host: Host) -> Outcome {
    let (rows, columns) = match host {
        Host::OutputInConstants => (1usize, 4usize),
        _ => (4, 100),
    };
    let x: Vec<f32> = (0..rows * columns).map(number).collect();
    let input = match host {
        Host::UnwrittenInput => room::<f32>(gpu, x.len()),
        Host::ShortInput => upload(gpu, &x[..x.len() - 1]),
        _ => upload(gpu, &x),
    };
    let y = match host {
        // One row of four fits.
        Host::OutputInConstants => module.global("scales").unwrap().address,
        _ => room::<f32>(gpu, x.len() + 1),
    };
    if host == Host::FreedInput {
        gpu.memory().free(input).unwrap();
    }
    let threads = if host == Host::TooManyThreads { 256 } else { 128 };
    let launch = Launch {
        dynamic_shared_bytes: if host == Host::TooMuchShared { 64 << 10 } else { 400 },
        registers_per_thread: (host == Host::TooManyRegisters).then_some(640),
        ..Launch::new([rows as u32, 1, 1], [threads, 1, 1])
    };
    let fault = run(gpu, module, kernel, &launch, &params(&[input, y], &[columns as i32]));
    judged(gpu, (y, 4 * x.len()), fault, || {
        let y = download::<f32>(gpu, y, x.len());
        (0..x.len()).all(|i| y[i] == (1 + i / columns) as f32 * x[i])
    })
}

type Case = fn(&Gpu, &LoadedModule, &str, Host) -> Outcome;

const CASES: [(&str, Case); 8] = [
    ("reduce", reduce),
    ("transpose", transpose),
    ("product", product),
    ("pipeline", pipeline),
    ("histogram", histogram),
    ("split", split),
    ("scan", scan),
    ("rows", rows),
];

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
            shared_races: matches!(self, Self::SharedRaces | Self::ProxyFences),
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

const RACE: &[Outcome] = &[Fault(SharedRace), Fault(AsyncRace)];

const MUTANTS: &[Mutant] = &[
    ("reduce", 1, Correct, "reads one element too many", Check::Bounds, &[Fault(OutOfBounds)]),
    ("reduce", 2, Correct, "shuffle mask without half of the lanes", Check::Always, &[Fault(DivergentSync)]),
    ("reduce", 3, Correct, "one partial sum is never written", Check::Uninitialised, &[Fault(Uninitialised)]),
    ("reduce", 4, Correct, "barrier missing before the partial sums", Check::SharedRaces, RACE),
    ("reduce", 5, Correct, "shuffle in both arms of a branch", Check::Always, &[Fault(DivergentSync)]),
    ("transpose", 1, Correct, "bound off by one", Check::Bounds, &[Fault(OutOfBounds)]),
    ("transpose", 2, Correct, "tile column off by one", Check::Uninitialised, &[Undefined]),
    ("transpose", 3, Correct, "barrier for half of each warp", Check::EarlyExits, &[Fault(DivergentSync)]),
    ("transpose", 4, Correct, "barrier missing", Check::SharedRaces, RACE),
    ("transpose", 5, Correct, "reads behind the tile", Check::Always, &[Fault(OutOfBounds)]),
    ("product", 1, Correct, "barrier missing behind cp.async", Check::SharedRaces, RACE),
    ("product", 2, Correct, "wait_group one group too lax", Check::SharedRaces, &[Fault(AsyncRace)]),
    ("product", 3, Correct, "accumulators never set", Check::Uninitialised, &[Fault(Uninitialised)]),
    ("product", 4, Correct, "copies into the stage that is read", Check::SharedRaces, &[Fault(AsyncRace)]),
    ("product", 5, Correct, "swizzle forgotten at one of two places", Check::Result, &[Wrong]),
    ("pipeline", 1, Correct, "barrier missing behind mbarrier.init", Check::SharedRaces, &[Fault(SharedRace), Fault(Mbarrier)]),
    ("pipeline", 2, Correct, "expect_tx of too few bytes", Check::Always, &[Fault(Deadlock), Fault(BarrierMismatch)]),
    ("pipeline", 3, Correct, "wait for the mbarrier missing", Check::SharedRaces, &[Fault(AsyncRace)]),
    ("pipeline", 4, Correct, "an arrival that nobody expects", Check::Always, &[Fault(Mbarrier)]),
    ("pipeline", 5, Correct, "buffer reused before it was copied out", Check::SharedRaces, &[Fault(AsyncRace)]),
    ("pipeline", 6, Correct, "proxy fence missing", Check::ProxyFences, &[Fault(MissingProxyFence)]),
    ("pipeline", 7, Correct, "barrier missing before the copy out", Check::SharedRaces, RACE),
    ("histogram", 1, Correct, "bins never set to zero", Check::Uninitialised, &[Fault(Uninitialised)]),
    ("histogram", 2, Correct, "barrier missing behind the zeroing", Check::SharedRaces, RACE),
    ("histogram", 3, Correct, "bins out of range", Check::Always, &[Fault(OutOfBounds)]),
    ("histogram", 4, Correct, "counts without atomics", Check::SharedRaces, RACE),
    ("histogram", 5, Correct, "adds to global memory without atomics", Check::GlobalRaces, &[Fault(GlobalRace)]),
    ("split", 1, Correct, "fence missing before the ticket", Check::GlobalRaces, &[Fault(GlobalRace)]),
    ("split", 2, Correct, "ticket without atomics", Check::GlobalRaces, &[Fault(GlobalRace)]),
    ("split", 3, Correct, "fence missing behind the ticket", Check::GlobalRaces, &[Fault(GlobalRace)]),
    ("split", 4, Correct, "all CTAs write one place", Check::GlobalRaces, &[Fault(GlobalRace)]),
    ("split", 5, Correct, "barrier missing before the flag is read", Check::SharedRaces, RACE),
    ("scan", 1, Correct, "__syncwarp missing behind the first write", Check::SharedRaces, RACE),
    ("scan", 2, Correct, "__syncwarp missing between read and write", Check::SharedRaces, RACE),
    ("scan", 3, Correct, "__syncwarp without one of its lanes", Check::Always, &[Fault(DivergentSync)]),
    ("scan", 4, Correct, "barrier with two numbers of threads", Check::Always, &[Fault(BarrierMismatch)]),
    ("scan", 5, Correct, "two barriers where one is meant", Check::Always, &[Fault(BarrierMismatch)]),
    ("rows", 2, Correct, "pointer off by two bytes", Check::Always, &[Fault(Misaligned)]),
    ("rows", 3, Correct, "trap", Check::Always, &[Fault(Trap)]),
    ("rows", 0, Host::OutputInConstants, "output in constant memory", Check::Always, &[Fault(WriteToConstant)]),
    ("rows", 0, Host::FreedInput, "input freed before the launch", Check::Bounds, &[Fault(UseAfterFree)]),
    ("rows", 0, Host::UnwrittenInput, "input never written", Check::Uninitialised, &[Fault(Uninitialised)]),
    ("rows", 0, Host::TooMuchShared, "64 KiB of shared memory, no opt-in", Check::Always, &[Fault(LaunchLimit)]),
    ("rows", 0, Host::TooManyThreads, "more threads than .maxntid", Check::Always, &[Fault(LaunchLimit)]),
    ("rows", 0, Host::TooManyRegisters, "more registers than an SM has", Check::Always, &[Fault(LaunchLimit)]),
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
    for (name, _) in CASES {
        let Some(ptx) = support::compile(name) else { return };
        texts.insert(name, ptx);
    }
    let cases: HashMap<_, _> = CASES.into_iter().collect();
    let mut failures = Vec::new();
    for (name, case) in CASES {
        let found = outcomes(&texts[name], case, &format!("{name}_0"), Correct, Checks::ALL);
        let right = found.iter().filter(|&outcome| *outcome == Outcome::Right).count();
        println!("{name:<10} {:<42} no report: {right} of {}", "(correct)", found.len());
        if right != found.len() {
            failures.push(format!("{name} is correct, but {found:?}"));
        }
    }
    for &(name, number, host, what, check, expected) in MUTANTS {
        let kernel = format!("{name}_{number}");
        let found = outcomes(&texts[name], cases[name], &kernel, host, check.switches());
        let hits = found.iter().filter(|outcome| expected.contains(outcome)).count();
        println!("{name:<10} {what:<42} {check:?}: {hits} of {}", found.len());
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

//! Seeded faults: each is found by the check named for it, in every schedule; the kernels
//! without a fault give the right result and no report in any.

mod support;

use std::collections::HashMap;

use support::{download, params, room, strict, upload};
use vgpu::{FaultKind, Gpu, Kind, Launch, LoadedModule, Module, Schedule};

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Right,
    /// No fault, but another result than the reference's.
    Wrong,
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

fn judged(fault: Option<FaultKind>, right: impl FnOnce() -> bool) -> Outcome {
    match fault {
        Some(kind) => Outcome::Fault(kind),
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
    judged(fault, || {
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
    judged(fault, || {
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
    judged(fault, || {
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
    judged(fault, || {
        download::<f32>(gpu, y, x.len()).iter().zip(&x).all(|(&y, &x)| y == 2.0 * x)
    })
}

fn histogram(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let x: Vec<u8> = (0..1000u32).map(|i| (i * i % 251) as u8).collect();
    let counts = upload(gpu, &[0u32; 64]);
    let buffer = params(&[upload(gpu, &x), counts], &[x.len() as i32]);
    let fault = run(gpu, module, kernel, &Launch::new([3, 1, 1], [96, 1, 1]), &buffer);
    judged(fault, || {
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
    let fault = run(gpu, module, kernel, &Launch::new([6, 1, 1], [64, 1, 1]), &[&buffer[..], &[]].concat());
    judged(fault, || download::<f32>(gpu, total, 1) == [x.iter().sum::<f32>()])
}

fn scan(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let x: Vec<i32> = (0..256).map(|i| number(i) as i32).collect();
    let y = room::<i32>(gpu, x.len());
    let buffer = params(&[upload(gpu, &x), y], &[]);
    let fault = run(gpu, module, kernel, &Launch::new([2, 1, 1], [128, 1, 1]), &buffer);
    judged(fault, || {
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
    let (rows, columns) = (4usize, 100usize);
    let x: Vec<f32> = (0..rows * columns).map(number).collect();
    let input = match host {
        Host::UnwrittenInput => room::<f32>(gpu, x.len()),
        Host::ShortInput => upload(gpu, &x[..x.len() - 1]),
        _ => upload(gpu, &x),
    };
    let y = match host {
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
    judged(fault, || {
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

/// Kernel, number of the fault in its source or mistake of the host, what it is, who finds it.
const MUTANTS: [(&str, u32, Host, &str, Outcome); 40] = {
    use FaultKind::{
        AsyncRace, BarrierMismatch, Deadlock, DivergentSync, GlobalRace, LaunchLimit, Mbarrier,
        MissingProxyFence, Misaligned, OutOfBounds, SharedRace, Trap, Uninitialised, UseAfterFree,
        WriteToConstant,
    };
    use Host::Correct;
    use Outcome::{Fault, Wrong};
    [
        ("reduce", 1, Correct, "reads one element too many", Fault(OutOfBounds)),
        ("reduce", 2, Correct, "shuffle mask without half of the lanes", Fault(DivergentSync)),
        ("reduce", 3, Correct, "one partial sum is never written", Fault(Uninitialised)),
        ("reduce", 4, Correct, "barrier missing before the partial sums are read", Fault(SharedRace)),
        ("reduce", 5, Correct, "shuffle in both arms of a branch", Fault(DivergentSync)),
        ("transpose", 1, Correct, "bound off by one", Fault(OutOfBounds)),
        ("transpose", 2, Correct, "tile column off by one", Fault(Uninitialised)),
        ("transpose", 3, Correct, "barrier for half of each warp", Fault(DivergentSync)),
        ("transpose", 4, Correct, "barrier missing", Fault(SharedRace)),
        ("transpose", 5, Correct, "reads behind the tile", Fault(OutOfBounds)),
        ("product", 1, Correct, "barrier missing behind cp.async", Fault(AsyncRace)),
        ("product", 2, Correct, "wait_group one group too lax", Fault(AsyncRace)),
        ("product", 3, Correct, "accumulators never set", Fault(Uninitialised)),
        ("product", 4, Correct, "copies into the stage that is read", Fault(AsyncRace)),
        ("product", 5, Correct, "swizzle forgotten at one of two places", Wrong),
        ("pipeline", 1, Correct, "barrier missing behind mbarrier.init", Fault(Mbarrier)),
        ("pipeline", 2, Correct, "expect_tx of too few bytes", Fault(Deadlock)),
        ("pipeline", 3, Correct, "wait for the mbarrier missing", Fault(AsyncRace)),
        ("pipeline", 4, Correct, "arrivals that nobody expects", Fault(Mbarrier)),
        ("pipeline", 5, Correct, "buffer reused before the copy out has read it", Fault(AsyncRace)),
        ("pipeline", 6, Correct, "proxy fence missing before the copy out", Fault(MissingProxyFence)),
        ("pipeline", 7, Correct, "barrier missing before the copy out", Fault(SharedRace)),
        ("histogram", 1, Correct, "bins never set to zero", Fault(Uninitialised)),
        ("histogram", 2, Correct, "barrier missing behind the zeroing", Fault(SharedRace)),
        ("histogram", 3, Correct, "bins out of range", Fault(OutOfBounds)),
        ("histogram", 4, Correct, "counts without atomics", Fault(SharedRace)),
        ("histogram", 5, Correct, "adds to global memory without atomics", Fault(GlobalRace)),
        ("split", 1, Correct, "fence missing before the ticket", Fault(GlobalRace)),
        ("split", 2, Correct, "ticket without atomics", Fault(GlobalRace)),
        ("split", 3, Correct, "fence missing behind the ticket", Fault(GlobalRace)),
        ("split", 4, Correct, "all CTAs write one place", Fault(GlobalRace)),
        ("split", 5, Correct, "barrier missing before the flag is read", Fault(SharedRace)),
        ("scan", 1, Correct, "__syncwarp missing behind the first write", Fault(SharedRace)),
        ("scan", 2, Correct, "__syncwarp missing between read and write", Fault(SharedRace)),
        ("scan", 3, Correct, "__syncwarp without one of its lanes", Fault(DivergentSync)),
        ("scan", 4, Correct, "barrier with two numbers of threads", Fault(BarrierMismatch)),
        ("scan", 5, Correct, "two barriers where one is meant", Fault(BarrierMismatch)),
        ("rows", 2, Correct, "pointer off by two bytes", Fault(Misaligned)),
        ("rows", 3, Correct, "trap", Fault(Trap)),
        ("rows", 0, Host::OutputInConstants, "output in constant memory", Fault(WriteToConstant)),
    ]
};

/// Mistakes of the host around a correct kernel.
const HOST_MUTANTS: [(Host, &str, FaultKind); 6] = [
    (Host::FreedInput, "input freed before the launch", FaultKind::UseAfterFree),
    (Host::UnwrittenInput, "input never written", FaultKind::Uninitialised),
    (Host::TooMuchShared, "64 KiB of shared memory without opting in", FaultKind::LaunchLimit),
    (Host::TooManyThreads, "more threads than .maxntid", FaultKind::LaunchLimit),
    (Host::TooManyRegisters, "more registers than an SM has", FaultKind::LaunchLimit),
    (Host::ShortInput, "input one element short", FaultKind::OutOfBounds),
];

/// Runs one kernel in every schedule.
fn outcomes(ptx: &str, case: Case, kernel: &str, host: Host) -> Vec<Outcome> {
    let module = Module::parse(ptx).unwrap();
    Schedule::adversarial(4)
        .into_iter()
        .map(|schedule| {
            let gpu = strict(schedule);
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
    let mut wrong = Vec::new();
    let mut judge = |name: &str, number: u32, host: Host, what: &str, expected: Outcome| {
        let found = outcomes(&texts[name], cases[name], &format!("{name}_{number}"), host);
        let hits = found.iter().filter(|&outcome| *outcome == expected).count();
        println!("{name:<10} {what:<50} {expected:?}: {hits} of {}", found.len());
        if hits != found.len() {
            wrong.push(format!("{name}_{number} ({what}): {expected:?} expected, {found:?}"));
        }
    };
    for (name, _) in CASES {
        judge(name, 0, Host::Correct, "correct", Outcome::Right);
    }
    for (name, number, host, what, expected) in MUTANTS {
        judge(name, number, host, what, expected);
    }
    for (host, what, kind) in HOST_MUTANTS {
        judge("rows", 0, host, what, Outcome::Fault(kind));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn leaks_are_listed() {
    let gpu = strict(Schedule::default());
    let kept = gpu.memory().alloc(100, 4, Kind::Device).unwrap();
    let freed = gpu.memory().alloc(100, 4, Kind::Device).unwrap();
    gpu.memory().free(freed).unwrap();
    let leaks = gpu.memory().leaks();
    assert_eq!(leaks.iter().map(|leak| leak.address).collect::<Vec<_>>(), [kept]);
    assert!(gpu.memory().free(freed).is_err());
}

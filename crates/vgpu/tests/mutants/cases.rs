//! How each kernel is run and its result judged.

use vgpu::{FaultKind, Gpu, Launch, LoadedModule};

use crate::support::{download, params, room, upload};

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Right,
    /// No fault, but another result than the reference's.
    Wrong,
    /// No fault, but parts of the result were never written.
    Undefined,
    Fault(FaultKind),
}

/// How a host makes a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    Correct,
    OutputInConstants,
    FreedInput,
    UnwrittenInput,
    TooMuchShared,
    TooManyThreads,
    TooManyRegisters,
    ShortInput,
}

pub(crate) fn run(
    gpu: &Gpu,
    module: &LoadedModule,
    kernel: &str,
    launch: &Launch,
    buffer: &[u8],
) -> Option<FaultKind> {
    let kernel = module.kernel(kernel).unwrap();
    gpu.launch(&kernel, launch, buffer).err().map(|fault| {
        assert!(fault.ptx_line > 0 || fault.kind == FaultKind::LaunchLimit, "{fault}");
        fault.kind
    })
}

pub(crate) fn judged(
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

pub(crate) fn number(i: usize) -> f32 {
    ((i * 37 + 11) % 64) as f32 - 31.0
}

pub(crate) fn reduce(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
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

pub(crate) fn transpose(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
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

pub(crate) fn product(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
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
    let launch =
        Launch { dynamic_shared_bytes: 3 * 2 * 64 * 32 * 2, ..Launch::new([2, 1, 1], [128, 1, 1]) };
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

pub(crate) fn pipeline(gpu: &Gpu, module: &LoadedModule, kernel: &str, host: Host) -> Outcome {
    doubled(gpu, module, kernel, host, 5)
}

/// Doubles numbers in two blocks, by chunks of 256.
fn doubled(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host, chunks: usize) -> Outcome {
    let blocks = 2usize;
    let x: Vec<f32> = (0..blocks * chunks * 256).map(number).collect();
    let y = room::<f32>(gpu, x.len());
    let buffer = params(&[upload(gpu, &x), y], &[chunks as i32]);
    let launch = Launch::new([blocks as u32, 1, 1], [128, 1, 1]);
    let fault = run(gpu, module, kernel, &launch, &buffer);
    judged(gpu, (y, 4 * x.len()), fault, || {
        download::<f32>(gpu, y, x.len()).iter().zip(&x).all(|(&y, &x)| y == 2.0 * x)
    })
}

pub(crate) fn gemm(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let (m, n, k) = (70usize, 136usize, 160usize);
    let value = |i: usize| ((i * 29 + 7) % 5) as f32 - 2.0;
    let narrow = |v: &f32| half::bf16::from_f32(*v).to_bits();
    let a: Vec<f32> = (0..m * k).map(value).collect();
    let b: Vec<f32> = (0..n * k).map(|i| value(i + 3)).collect();
    let c = room::<u16>(gpu, m * n);
    let pointers = [
        upload(gpu, &a.iter().map(narrow).collect::<Vec<_>>()),
        upload(gpu, &b.iter().map(narrow).collect::<Vec<_>>()),
        c,
    ];
    let launch =
        Launch { dynamic_shared_bytes: 3 * 2 * 64 * 32 * 2, ..Launch::new([3, 2, 1], [128, 1, 1]) };
    let sizes = [m as i32, n as i32, k as i32];
    let fault = run(gpu, module, kernel, &launch, &params(&pointers, &sizes));
    judged(gpu, (c, 2 * m * n), fault, || {
        let c = download::<u16>(gpu, c, m * n);
        // Sums of small whole numbers are exact, so that only the last rounding is left.
        (0..m * n).all(|i| {
            let (row, column) = (i / n, i % n);
            let sum = (0..k).map(|j| a[row * k + j] * b[column * k + j]).sum::<f32>();
            c[i] == narrow(&sum)
        })
    })
}

pub(crate) fn refill(gpu: &Gpu, module: &LoadedModule, kernel: &str, host: Host) -> Outcome {
    doubled(gpu, module, kernel, host, 3)
}

/// Doubles numbers by four blocks, by way of parts that the last of them adds up.
pub(crate) fn relay(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let x: Vec<f32> = (0..256).map(number).collect();
    let y = room::<f32>(gpu, 256);
    let sums = room::<f32>(gpu, 64);
    let parts = room::<f32>(gpu, 256);
    let pointers = [upload(gpu, &x), parts, upload(gpu, &[0u32]), y, sums];
    let launch = Launch::new([4, 1, 1], [64, 1, 1]);
    let fault = run(gpu, module, kernel, &launch, &params(&pointers, &[]));
    judged(gpu, (sums, 256), fault, || {
        let sum = |i: usize| (0..4).map(|part| 2.0 * x[64 * part + i]).sum::<f32>();
        download::<f32>(gpu, y, 256).iter().zip(&x).all(|(y, x)| *y == 2.0 * x + 1.0)
            && download::<f32>(gpu, sums, 64).into_iter().eq((0..64).map(sum))
    })
}

pub(crate) fn histogram(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let x: Vec<u8> = (0..1000u32).map(|i| (i * i % 251) as u8).collect();
    let counts = upload(gpu, &[0u32; 64]);
    let buffer = params(&[upload(gpu, &x), counts], &[x.len() as i32]);
    let fault = run(gpu, module, kernel, &Launch::new([3, 1, 1], [96, 1, 1]), &buffer);
    judged(gpu, (counts, 256), fault, || {
        let mut expected = [0u32; 64];
        for &v in &x {
            expected[usize::from(v & 63)] += 1;
        }
        download::<u32>(gpu, counts, 64) == expected
    })
}

pub(crate) fn split(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
    let x: Vec<f32> = (0..1500).map(number).collect();
    let total = room::<f32>(gpu, 1);
    let pointers = [upload(gpu, &x), room::<f32>(gpu, 6), upload(gpu, &[0u32]), total];
    let buffer = params(&pointers, &[x.len() as i32]);
    let fault = run(gpu, module, kernel, &Launch::new([6, 1, 1], [64, 1, 1]), &buffer);
    judged(gpu, (total, 4), fault, || download::<f32>(gpu, total, 1) == [x.iter().sum::<f32>()])
}

pub(crate) fn scan(gpu: &Gpu, module: &LoadedModule, kernel: &str, _: Host) -> Outcome {
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

pub(crate) fn rows(gpu: &Gpu, module: &LoadedModule, kernel: &str, host: Host) -> Outcome {
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

pub(crate) type Case = fn(&Gpu, &LoadedModule, &str, Host) -> Outcome;

/// A kernel's name, how it is run, and the numbers of its correct forms.
pub(crate) const CASES: [(&str, Case, &[u32]); 12] = [
    ("reduce", reduce, &[0]),
    ("transpose", transpose, &[0]),
    ("product", product, &[0]),
    ("gemm", gemm, &[0]),
    ("pipeline", pipeline, &[0]),
    ("refill", refill, &[0, 10, 11, 12]),
    ("relay", relay, &[0, 10, 11]),
    ("publish", relay, &[0]),
    ("histogram", histogram, &[0]),
    ("split", split, &[0]),
    ("scan", scan, &[0]),
    ("rows", rows, &[0]),
];

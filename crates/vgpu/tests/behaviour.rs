//! Scheduling, faults with their places, counters, memory, limits of what is accepted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::float_cmp,
    clippy::result_large_err,
    reason = "helpers of tests; results are compared exactly"
)]

mod support;

use support::{device, download, params, room, upload};
use vgpu::{
    Checks, Config, Counters, FaultKind, Gpu, InstructionClass, Kind, Launch, MemoryError, Module,
    Numeric, Order, Schedule,
};

const HEADER: &str = ".version 9.0\n.target sm_110a\n.address_size 64\n";

fn kernel(body: &str) -> String {
    format!(
        "{HEADER}.file 1 \"example.cu\"\n.visible .entry k(.param .u64 a, .param .u64 b)\n{{\n\
         .reg .pred %p<4>; .reg .b32 %r<8>; .reg .f32 %f<8>; .reg .b64 %d<8>;\n\
         ld.param.u64 %d0, [a]; ld.param.u64 %d1, [b]; mov.u32 %r0, %tid.x;\n\
         mul.wide.u32 %d2, %r0, 4; add.u64 %d3, %d0, %d2; add.u64 %d4, %d1, %d2;\n{body}\nret;\n}}\n"
    )
}

fn run(
    gpu: &Gpu,
    text: &str,
    launch: &Launch,
    pointers: [u64; 2],
) -> Result<vgpu::Report, vgpu::Fault> {
    let module = gpu.load(&Module::parse(text).unwrap()).unwrap();
    gpu.launch(&module.kernel("k").unwrap(), launch, &params(&pointers, &[]))
}

#[test]
fn lanes_of_a_warp_and_ctas_may_take_a_lock_in_turns() {
    // Each thread takes the lock, adds one without atomics, and lets it go.
    let text = kernel(
        "again: atom.global.acquire.gpu.cas.b32 %r1, [%d1], 0, 1;\n\
         setp.ne.u32 %p0, %r1, 0; @%p0 bra again;\n\
         ld.volatile.global.u32 %r2, [%d0]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%d0], %r2;\n\
         atom.global.release.gpu.exch.b32 %r1, [%d1], 0;",
    );
    for order in [Order::LowestFirst, Order::HighestFirst, Order::Random(1), Order::Random(2)] {
        let schedule = Schedule { order, ..Schedule::default() };
        let config = Config { threads: 1, schedule, checks: Checks::ALL, ..Config::default() };
        let gpu = Gpu::new(config).unwrap();
        let pointers = [upload(&gpu, &[0u32]), upload(&gpu, &[0u32])];
        run(&gpu, &text, &Launch::new([2, 1, 1], [40, 1, 1]), pointers).unwrap();
        assert_eq!(download::<u32>(&gpu, pointers[0], 1), [80], "{order:?}");
    }
}

#[test]
fn a_fault_names_kernel_lines_thread_and_address() {
    let body = ".loc 1 42 7\nsetp.ne.u32 %p0, %r0, 37; @%p0 ret; ld.global.u32 %r1, [%d3+4096];";
    let text = kernel(body);
    let line = text.lines().position(|line| line.contains("4096")).unwrap() as u32 + 1;
    let gpu = device(Schedule::default(), Checks::default());
    let pointers = [room::<u32>(&gpu, 64), room::<u32>(&gpu, 64)];
    let fault = run(&gpu, &text, &Launch::new([1, 1, 1], [8, 8, 1]), pointers);
    // %tid.x is below 8: nobody reads.
    assert!(fault.is_ok());
    let text = text.replace("%r0, 37", "%r0, 5");
    let fault = run(&gpu, &text, &Launch::new([1, 1, 1], [8, 8, 1]), pointers).unwrap_err();
    assert_eq!(fault.kind, FaultKind::OutOfBounds);
    assert_eq!((fault.kernel.as_str(), fault.ptx_line), ("k", line));
    assert_eq!(fault.source_line, Some(("example.cu".to_owned(), 42)));
    assert_eq!((fault.cta, fault.thread), ([0; 3], [5, 0, 0]));
    assert_eq!(fault.address, Some(pointers[0] + 20 + 4096));
    assert_eq!(fault.instruction, "ld.global.u32");
    let shown = fault.to_string();
    assert!(shown.contains("example.cu:42") && shown.contains("thread (5, 0, 0)"), "{shown}");
}

#[test]
fn requests_and_waves_are_counted() {
    let text = kernel(
        "{ .shared .align 4 .b8 s[8192]; ld.global.f32 %f0, [%d3]; mov.u32 %r1, s;\n\
         shl.b32 %r2, %r0, 7; add.u32 %r3, %r1, %r2; st.shared.f32 [%r3], %f0;\n\
         shl.b32 %r2, %r0, 2; add.u32 %r4, %r1, %r2; st.shared.f32 [%r4], %f0;\n\
         shl.b32 %r2, %r0, 5; cvt.u64.u32 %d5, %r2; add.u64 %d5, %d1, %d5; st.global.f32 [%d5], %f0; }",
    );
    let config = Config { counters: true, threads: 1, ..Config::default() };
    let gpu = Gpu::new(config).unwrap();
    let pointers = [upload(&gpu, &[1f32; 32]), room::<f32>(&gpu, 256)];
    let report = run(&gpu, &text, &Launch::new([1, 1, 1], [32, 1, 1]), pointers).unwrap();
    let counters: Counters = report.counters.unwrap();
    // 32 floats side by side are four sectors; 32 bytes apart each has its own.
    assert_eq!((counters.global.load_requests, counters.global.load_units), (1, 4));
    assert_eq!((counters.global.store_requests, counters.global.store_units), (1, 32));
    assert_eq!((counters.global.load_bytes, counters.global.store_bytes), (128, 128));
    // 128 bytes apart all lanes want one bank; side by side each has its own.
    assert_eq!((counters.shared.store_requests, counters.shared.store_units), (2, 32 + 1));
    assert_eq!(counters.of(InstructionClass::Shared), 2);
    assert_eq!(counters.of(InstructionClass::Global), 2);
    assert_eq!(counters.thread_instructions, 32 * counters.warp_instructions());
    assert_eq!(counters.blocks, 1);
    let estimate = vgpu::model::estimate(&gpu.config().device, &counters);
    let sum: f64 = estimate.terms.iter().map(|term| term.seconds).sum();
    assert!(estimate.seconds > 0.0 && estimate.seconds <= sum);
    assert!(estimate.to_string().starts_with("modelled"));
}

#[test]
fn results_do_not_depend_on_threads_or_schedule() {
    let text = kernel(
        "mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 64, %r0; mul.wide.u32 %d5, %r2, 4; add.u64 %d5, %d0, %d5; st.global.u32 [%d5], %r2; red.global.add.u32 [%d1], %r2;",
    );
    for threads in [1, 3] {
        for schedule in Schedule::adversarial(2) {
            let gpu = Gpu::new(Config { threads, schedule, ..Config::default() }).unwrap();
            let pointers = [room::<u32>(&gpu, 64 * 37), upload(&gpu, &[0u32])];
            run(&gpu, &text, &Launch::new([37, 1, 1], [64, 1, 1]), pointers).unwrap();
            let all: Vec<u32> = (0..64 * 37).collect();
            assert_eq!(download::<u32>(&gpu, pointers[0], 64 * 37), all);
            assert_eq!(download::<u32>(&gpu, pointers[1], 1), [all.iter().sum::<u32>()]);
        }
    }
}

#[test]
fn perturbed_functions_differ_but_little() {
    let text = kernel(
        "cvt.rn.f32.u32 %f0, %r0; add.f32 %f0, %f0, 0f3f800000; rcp.approx.f32 %f1, %f0; st.global.f32 [%d3], %f1;",
    );
    let values = |numeric| {
        let gpu = Gpu::new(Config { numeric, ..Config::default() }).unwrap();
        let pointers = [room::<f32>(&gpu, 64), room::<f32>(&gpu, 1)];
        run(&gpu, &text, &Launch::new([1, 1, 1], [64, 1, 1]), pointers).unwrap();
        download::<f32>(&gpu, pointers[0], 64)
    };
    let (plain, perturbed) = (values(Numeric::Plain), values(Numeric::Perturbed(5)));
    assert_ne!(plain, perturbed);
    for (index, (a, b)) in plain.iter().zip(&perturbed).enumerate() {
        assert_eq!(*a, 1.0 / (index as f32 + 1.0));
        assert!((a - b).abs() <= a * f32::EPSILON, "{a} {b}");
    }
    assert_eq!(perturbed, values(Numeric::Perturbed(5)), "the seed decides");
}

#[test]
fn what_is_not_known_is_refused_with_its_line() {
    let gpu = device(Schedule::default(), Checks::NONE);
    let refused = |body: &str| {
        let text = kernel(body);
        let error = match Module::parse(&text) {
            Err(error) => error,
            Ok(module) => gpu.load(&module).unwrap().kernel("k").unwrap_err(),
        };
        let line = text.lines().position(|line| line.contains(body)).unwrap() as u32 + 1;
        assert_eq!(error.line, line, "{error}");
        error.message
    };
    assert!(refused("tcgen05.wait::ld.sync.aligned;").contains("tcgen05"));
    assert!(refused("add.unheard.u32 %r1, %r0, %r0;").contains("unheard"));
    assert!(refused("add.u64 %d5, %r0, %d1;").contains("64"));
    assert!(refused("bra nowhere;").contains("nowhere"));
    assert!(refused("ld.global.u32 %r1, [unknown];").contains("unknown"));
    assert!(refused("shfl.bfly.b32 %r1, %r0, 1, 31;").contains(".sync"));
    assert!(refused("fma.f32 %f0, %f1, %f2, %f3;").contains(".rn"));
    assert!(Module::parse("\u{7f}ELF").is_err());
    assert!(Module::parse("").is_err());
}

#[test]
fn memory_checks_ranges_and_remembers_what_was_freed() {
    let gpu = device(Schedule::default(), Checks::ALL);
    let memory = gpu.memory();
    let before = memory.info();
    let a = memory.alloc(100, 64, Kind::Device).unwrap();
    assert_eq!(memory.info().free, before.free - 100);
    assert!(a.is_multiple_of(256));
    assert_eq!(memory.first_undefined(a, 100), Ok(Some(a)));
    memory.write(a, &[1; 60]).unwrap();
    assert_eq!(memory.first_undefined(a, 100), Ok(Some(a + 60)));
    let b = memory.alloc(100, 64, Kind::Device).unwrap();
    memory.copy(b + 10, a + 50, 20).unwrap();
    assert_eq!(memory.first_undefined(b + 10, 20), Ok(Some(b + 20)));
    let beyond = MemoryError::OutOfBounds { address: a + 90, bytes: 11, freed: false };
    assert_eq!(memory.write(a + 90, &[0; 11]), Err(beyond));
    memory.free(a).unwrap();
    let freed = MemoryError::OutOfBounds { address: a + 5, bytes: 1, freed: true };
    assert_eq!(memory.read(a + 5, &mut [0]), Err(freed));
    assert_eq!(memory.free(a), Err(MemoryError::NotAllocated { address: a, freed: true }));
    assert!(matches!(memory.alloc(1 << 60, 1, Kind::Device), Err(MemoryError::OutOfMemory { .. })));
    assert!(matches!(memory.alloc(8, 3, Kind::Device), Err(MemoryError::BadRequest { .. })));
    assert_eq!(memory.find(b + 99).unwrap().address, b);
    assert_eq!(memory.find(b + 100), None);
    // A new allocation does not take the place of a freed one.
    let c = memory.alloc(100, 64, Kind::Device).unwrap();
    assert!(c > b);
}

#[test]
fn calls_pass_arguments_and_results() {
    let text = format!(
        "{HEADER}.func (.param .b32 out) twice(.param .b32 in)\n{{\n.reg .b32 %r<3>;\n\
         ld.param.u32 %r1, [in]; add.u32 %r2, %r1, %r1; st.param.b32 [out], %r2; ret;\n}}\n{}",
        &kernel(
            "and.b32 %r1, %r0, 1; setp.eq.u32 %p0, %r1, 0; mov.u32 %r2, %r0;\n\
             @%p0 bra skip;\n\
             {\n.param .b32 p0; .param .b32 q0;\nst.param.b32 [p0], %r0;\n\
             call.uni (q0), twice, (p0);\nld.param.b32 %r2, [q0];\n}\n\
             skip: st.global.u32 [%d3], %r2;"
        )[HEADER.len()..]
    );
    for schedule in Schedule::adversarial(2) {
        let gpu = device(schedule, Checks::ALL);
        let pointers = [room::<u32>(&gpu, 32), room::<u32>(&gpu, 1)];
        run(&gpu, &text, &Launch::new([1, 1, 1], [32, 1, 1]), pointers).unwrap();
        let expected: Vec<u32> = (0..32).map(|i| if i % 2 == 0 { i } else { 2 * i }).collect();
        assert_eq!(download::<u32>(&gpu, pointers[0], 32), expected);
    }
}

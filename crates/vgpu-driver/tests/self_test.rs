//! The kernels of `kernels/self_test`, as the compiler made them, through cudarc's safe interface.

#![allow(unsafe_code, reason = "launches of kernels")]

mod support;

use std::{fs, path::Path};

use cudarc::{
    driver::{CudaContext, LaunchConfig, PushKernelArg},
    nvrtc::Ptx,
};
use support::Scenario;

/// Settings under which correct kernels must be right and give no report.
const SETTINGS: [(&str, &str); 4] = [
    ("lowest", "eager"),
    ("highest,late", "newest"),
    ("random:1", "random:1"),
    ("random:2,late", "oldest"),
];

/// The PTX that `cargo xtask cuda` writes, if it was run.
fn ptx() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join("target/cuda/kernels/self_test/self_test.ptx")).ok()
}

/// Runs `body` under each setting with all checks; nothing may be reported.
fn in_every_setting(test: &'static str, body: impl Fn(&str)) {
    let Some(ptx) = ptx() else {
        support::skip("`cargo xtask cuda` has not made the kernels");
        return;
    };
    for (schedule, streams) in SETTINGS {
        let scenario = Scenario::on_any_device(test)
            .with("VGPU_CHECKS", "all")
            .with("VGPU_SCHEDULE", schedule)
            .with("VGPU_STREAMS", streams)
            .with("VGPU_REPORT", "kernels");
        let Some(errors) = scenario.run(|| body(&ptx)) else { return };
        if std::env::var("EITRI_GPU").as_deref() != Ok("real") {
            let clean = "report: 0 faults, 0 allocations of 0 bytes were not freed";
            assert!(errors.contains(clean), "{schedule} {streams}: {errors}");
        }
    }
}

#[test]
fn sums_of_two_vectors_are_exact() {
    in_every_setting("sums_of_two_vectors_are_exact", |ptx| {
        let stream = CudaContext::new(0).unwrap().new_stream().unwrap();
        let module = stream.context().load_module(Ptx::from_src(ptx)).unwrap();
        let add = module.load_function("self_test_add_f32").unwrap();
        // More than the grid has threads, and no multiple of a block.
        let count = 3001_usize;
        let a: Vec<f32> = (0..count).map(|i| i as f32 * 0.5).collect();
        let b: Vec<f32> = (0..count).map(|i| 1e4 - i as f32 * 3.25).collect();
        let (on_a, on_b) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
        let mut sum = stream.alloc_zeros::<f32>(count).unwrap();
        let configuration =
            LaunchConfig { grid_dim: (4, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
        let size = count as u32;
        let mut launch = stream.launch_builder(&add);
        launch.arg(&on_a).arg(&on_b).arg(&mut sum).arg(&size);
        // SAFETY: the kernel reads and writes `count` values of each.
        unsafe { launch.launch(configuration) }.unwrap();
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        assert_eq!(stream.clone_dtoh(&sum).unwrap(), expected);
    });
}

#[test]
fn sums_of_blocks_are_exact() {
    in_every_setting("sums_of_blocks_are_exact", |ptx| {
        let stream = CudaContext::new(0).unwrap().new_stream().unwrap();
        let module = stream.context().load_module(Ptx::from_src(ptx)).unwrap();
        let block_sum = module.load_function("self_test_block_sum_u32").unwrap();
        let values: Vec<u32> = (0..1000_u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
        let on_device = stream.clone_htod(&values).unwrap();
        let blocks = values.len().div_ceil(256);
        let mut sums = stream.alloc_zeros::<u32>(blocks).unwrap();
        let configuration = LaunchConfig {
            grid_dim: (blocks as u32, 1, 1),
            block_dim: (256, 1, 1),
            shared_mem_bytes: 0,
        };
        let size = values.len() as u32;
        let mut launch = stream.launch_builder(&block_sum);
        launch.arg(&on_device).arg(&mut sums).arg(&size);
        // SAFETY: the kernel reads `size` values and writes one for each block.
        unsafe { launch.launch(configuration) }.unwrap();
        let expected: Vec<u32> = values
            .chunks(256)
            .map(|chunk| chunk.iter().fold(0_u32, |sum, value| sum.wrapping_add(*value)))
            .collect();
        assert_eq!(stream.clone_dtoh(&sums).unwrap(), expected);
    });
}

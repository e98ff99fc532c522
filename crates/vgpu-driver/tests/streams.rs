//! Order: streams, events, the default streams, and what the lazy orders show.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "calls of a C interface, with handles and places for results that each test makes"
)]

mod support;

use std::{ffi::c_void, ptr::null_mut};

use cudarc::driver::sys;
use support::{
    Kernels, NON_BLOCKING, Scenario, context, event, gives, handle, launch, ok, out, read, stream,
    words,
};

/// Orders in which work may run; all must give the same result for a correct program.
const ORDERS: [&str; 8] =
    ["eager", "oldest", "newest", "random:1", "random:2", "random:3", "random:4", "random:5"];

#[test]
fn the_legacy_stream_orders_blocking_streams_only() {
    for order in ["newest", "random:1", "random:2", "random:3"] {
        let scenario = Scenario::new("the_legacy_stream_orders_blocking_streams_only");
        scenario.with("VGPU_STREAMS", order).run(|| unsafe {
            context();
            let copy_plus = Kernels::load().function("copy_plus");
            let (first, last) = (stream(0), stream(0));
            let (source, middle, next, target) =
                (words(&[1]), words(&[0]), words(&[0]), words(&[0]));
            ok(launch(copy_plus, 1, 0, first, &mut [middle, source, 1]));
            ok(launch(copy_plus, 1, 0, null_mut(), &mut [next, middle, 2]));
            ok(launch(copy_plus, 1, 0, last, &mut [target, next, 4]));
            ok(sys::cuStreamSynchronize(last));
            assert_eq!(read(target, 1), [8]);
        });
    }
}

#[test]
fn a_non_blocking_stream_does_not_wait_for_the_legacy_stream() {
    let scenario = Scenario::new("a_non_blocking_stream_does_not_wait_for_the_legacy_stream");
    scenario.with("VGPU_STREAMS", "newest").run(|| {
        context();
        let copy_plus = Kernels::load().function("copy_plus");
        let free = stream(NON_BLOCKING);
        let (source, middle, target) = (words(&[1]), words(&[100]), words(&[0]));
        ok(launch(copy_plus, 1, 0, null_mut(), &mut [middle, source, 1]));
        ok(launch(copy_plus, 1, 0, free, &mut [target, middle, 2]));
        assert_eq!(read(target, 1), [102]);
    });
}

#[test]
fn per_thread_streams_are_one_for_each_thread() {
    let scenario = Scenario::new("per_thread_streams_are_one_for_each_thread");
    scenario.with("VGPU_STREAMS", "newest").run(|| {
        let context = context().addr();
        let copy_plus = Kernels::load().function("copy_plus").addr();
        let (source, middle, target) = (words(&[1]), words(&[100]), words(&[0]));
        let start = move |arguments: [u64; 3]| {
            // SAFETY: the handles are those of the test's context, which is made current here.
            unsafe { ok(sys::cuCtxSetCurrent(std::ptr::with_exposed_provenance_mut(context))) };
            let copy_plus = std::ptr::with_exposed_provenance_mut(copy_plus);
            let per_thread = std::ptr::without_provenance_mut(2);
            let mut arguments = arguments;
            ok(launch(copy_plus, 1, 0, per_thread, &mut arguments));
        };
        std::thread::spawn(move || start([middle, source, 1])).join().unwrap();
        std::thread::spawn(move || start([target, middle, 2])).join().unwrap();
        // Nothing orders the two threads' streams, so that the newest work ran first.
        assert_eq!(read(target, 1), [102]);
    });
}

#[test]
fn pinned_memory_is_read_when_the_copy_runs_and_pageable_memory_at_once() {
    let test = "pinned_memory_is_read_when_the_copy_runs_and_pageable_memory_at_once";
    Scenario::new(test).with("VGPU_STREAMS", "oldest").run(|| unsafe {
        context();
        let lane = stream(NON_BLOCKING);
        let (late, early) = (words(&[0]), words(&[0]));
        let pinned = handle(|to| sys::cuMemHostAlloc(to, 4, 0)).cast::<u32>();
        let mut pageable = 5_u32;
        pinned.write(5);
        ok(sys::cuMemcpyHtoDAsync_v2(late, pinned.cast::<c_void>(), 4, lane));
        ok(sys::cuMemcpyHtoDAsync_v2(early, (&raw const pageable).cast(), 4, lane));
        pinned.write(6);
        pageable += 1;
        assert_eq!(pageable, 6);
        assert_eq!((read(late, 1)[0], read(early, 1)[0]), (6, 5));
    });
}

#[test]
fn events_tell_when_work_is_done() {
    Scenario::new("events_tell_when_work_is_done").with("VGPU_STREAMS", "oldest").run(|| unsafe {
        context();
        let add_one = Kernels::load().function("add_one");
        let lane = stream(NON_BLOCKING);
        let (start, end, never) = (event(), event(), event());
        let word = words(&[0]);
        ok(sys::cuEventRecord(start, lane));
        for _ in 0..3 {
            ok(launch(add_one, 1, 0, lane, &mut [word]));
        }
        ok(sys::cuEventRecord(end, lane));
        let mut elapsed = -1.0;
        ok(sys::cuEventQuery(never));
        gives(sys::cuEventElapsedTime_v2(&raw mut elapsed, start, never), "INVALID_HANDLE");
        gives(sys::cuEventElapsedTime_v2(&raw mut elapsed, start, end), "NOT_READY");
        let questions = (0..100).take_while(|_| sys::cuEventQuery(end) != ok_code()).count();
        assert!((1..=6).contains(&questions), "{questions}");
        ok(sys::cuEventElapsedTime_v2(&raw mut elapsed, start, end));
        assert!(elapsed > 0.0, "{elapsed}");
        assert_eq!(read(word, 1), [3]);
        ok(sys::cuEventDestroy_v2(end));
        gives(sys::cuEventQuery(end), "INVALID_HANDLE");
        let untimed = handle(|to| sys::cuEventCreate(to, 2));
        ok(sys::cuEventRecord(untimed, lane));
        ok(sys::cuEventSynchronize(untimed));
        gives(sys::cuEventElapsedTime_v2(&raw mut elapsed, start, untimed), "INVALID_HANDLE");
    });
}

fn ok_code() -> sys::CUresult {
    sys::CUresult::CUDA_SUCCESS
}

#[test]
fn streams_have_flags_and_priorities() {
    Scenario::on_any_device("streams_have_flags_and_priorities").run(|| unsafe {
        context();
        let (mut least, mut greatest) = (0, 0);
        ok(sys::cuCtxGetStreamPriorityRange(&raw mut least, &raw mut greatest));
        assert!(greatest < least);
        let lane = handle(|to| sys::cuStreamCreateWithPriority(to, NON_BLOCKING, greatest - 10));
        assert_eq!(out::<i32>(|to| sys::cuStreamGetPriority(lane, to)), greatest);
        assert_eq!(out::<u32>(|to| sys::cuStreamGetFlags(lane, to)), NON_BLOCKING);
        let mut wrong = null_mut();
        gives(sys::cuStreamCreate(&raw mut wrong, 64), "INVALID_VALUE");
        ok(sys::cuStreamDestroy_v2(lane));
    });
}

#[test]
fn functions_of_the_host_run_in_their_stream_s_order() {
    extern "C" fn doubles(word: *mut c_void) {
        // SAFETY: the argument is the managed word of the test.
        unsafe {
            let word = word.cast::<u32>();
            word.write(word.read() * 2);
        }
    }
    for order in ORDERS {
        let scenario = Scenario::new("functions_of_the_host_run_in_their_stream_s_order");
        scenario.with("VGPU_STREAMS", order).run(|| unsafe {
            context();
            let add_one = Kernels::load().function("add_one");
            let lane = stream(NON_BLOCKING);
            let address = out(|to| sys::cuMemAllocManaged(to, 4, 1));
            let word = std::ptr::with_exposed_provenance_mut::<u32>(address as usize);
            word.write(5);
            ok(launch(add_one, 1, 0, lane, &mut [address]));
            ok(sys::cuLaunchHostFunc(lane, Some(doubles), word.cast()));
            ok(launch(add_one, 1, 0, lane, &mut [address]));
            ok(sys::cuStreamSynchronize(lane));
            assert_eq!(word.read(), 13);
        });
    }
}

/// Starts one thread of a kernel with programmatic stream serialisation allowed.
fn launch_early(
    function: sys::CUfunction,
    lane: sys::CUstream,
    parameters: &mut [*mut c_void],
    extra: *mut *mut c_void,
) -> sys::CUresult {
    unsafe {
        let mut attribute: sys::CUlaunchAttribute = std::mem::zeroed();
        attribute.id =
            sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        attribute.value.programmaticStreamSerializationAllowed = 1;
        let mut configuration: sys::CUlaunchConfig = std::mem::zeroed();
        (configuration.gridDimX, configuration.gridDimY, configuration.gridDimZ) = (1, 1, 1);
        (configuration.blockDimX, configuration.blockDimY, configuration.blockDimZ) = (1, 1, 1);
        configuration.hStream = lane;
        configuration.attrs = &raw mut attribute;
        configuration.numAttrs = 1;
        let parameters = if parameters.is_empty() { null_mut() } else { parameters.as_mut_ptr() };
        sys::cuLaunchKernelEx(&raw const configuration, function, parameters, extra)
    }
}

#[test]
fn a_kernel_that_starts_early_must_wait_for_what_it_reads() {
    for (kernel, result) in [("second", 101), ("second_waiting", 6)] {
        let scenario = Scenario::new("a_kernel_that_starts_early_must_wait_for_what_it_reads");
        scenario.with("VGPU_STREAMS", "newest").case(kernel).run(|| {
            context();
            let kernels = Kernels::load();
            let lane = stream(NON_BLOCKING);
            let (middle, target, copied) = (words(&[100]), words(&[0]), words(&[0]));
            ok(launch(kernels.function("first"), 1, 0, lane, &mut [middle]));
            let mut arguments = [target, middle];
            let mut pointers = arguments.each_mut().map(|word| (&raw mut *word).cast());
            ok(launch_early(kernels.function(kernel), lane, &mut pointers, null_mut()));
            // What follows comes after both.
            let sum = kernels.function("copy_plus");
            ok(launch(sum, 1, 0, lane, &mut [copied, middle, 0]));
            assert_eq!((read(target, 1)[0], read(copied, 1)[0]), (result, 5));
        });
    }
}

#[test]
fn launches_with_attributes_and_in_one_buffer_do_what_plain_ones_do() {
    let test = "launches_with_attributes_and_in_one_buffer_do_what_plain_ones_do";
    Scenario::on_any_device(test).run(|| unsafe {
        context();
        let copy_plus = Kernels::load().function("copy_plus");
        let lane = stream(NON_BLOCKING);
        let (source, target) = (words(&[1]), words(&[0]));
        let mut parameters = [0_u8; 20];
        parameters[..8].copy_from_slice(&target.to_le_bytes());
        parameters[8..16].copy_from_slice(&source.to_le_bytes());
        parameters[16..].copy_from_slice(&6_u32.to_le_bytes());
        let mut bytes = parameters.len();
        let mut extra: [*mut c_void; 5] = [
            std::ptr::without_provenance_mut(1),
            parameters.as_mut_ptr().cast(),
            std::ptr::without_provenance_mut(2),
            (&raw mut bytes).cast(),
            null_mut(),
        ];
        ok(launch_early(copy_plus, lane, &mut [], extra.as_mut_ptr()));
        ok(sys::cuStreamSynchronize(lane));
        assert_eq!(read(target, 1), [7]);
    });
}

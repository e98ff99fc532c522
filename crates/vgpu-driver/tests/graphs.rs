//! Capture with its rules, replay, update, and memory of graphs.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "calls of a C interface, with handles and places for results that each test makes"
)]

mod support;

use std::ptr::null_mut;

use cudarc::driver::sys::{self, CUstreamCaptureMode as Mode, CUstreamCaptureStatus as Status};
use support::{
    Kernels, NON_BLOCKING, Scenario, context, event, gives, handle, launch, ok, out, read, stream,
    words,
};

const GLOBAL: Mode = Mode::CU_STREAM_CAPTURE_MODE_GLOBAL;
const THREAD_LOCAL: Mode = Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
const RELAXED: Mode = Mode::CU_STREAM_CAPTURE_MODE_RELAXED;

const ORDERS: [&str; 5] = ["eager", "oldest", "newest", "random:1", "random:2"];

const AUTO_FREE: u64 = 1;

fn begin(lane: sys::CUstream, mode: Mode) {
    // SAFETY: the stream is valid.
    unsafe { ok(sys::cuStreamBeginCapture_v2(lane, mode)) };
}

fn end(lane: sys::CUstream) -> sys::CUgraph {
    // SAFETY: the stream is valid.
    unsafe { handle(|to| sys::cuStreamEndCapture(lane, to)) }
}

#[track_caller]
fn end_gives(lane: sys::CUstream, error: &str) {
    let mut graph = null_mut();
    // SAFETY: the stream is valid.
    gives(unsafe { sys::cuStreamEndCapture(lane, &raw mut graph) }, error);
    assert!(graph.is_null());
}

fn instantiate(graph: sys::CUgraph, flags: u64) -> sys::CUgraphExec {
    // SAFETY: the graph is valid.
    unsafe { handle(|to| sys::cuGraphInstantiateWithFlags(to, graph, flags)) }
}

fn status(lane: sys::CUstream) -> Status {
    let mut status = Status::CU_STREAM_CAPTURE_STATUS_NONE;
    // SAFETY: the stream is valid.
    ok(unsafe { sys::cuStreamIsCapturing(lane, &raw mut status) });
    status
}

#[test]
fn a_graph_does_again_what_was_captured_and_capturing_does_nothing() {
    for order in ORDERS {
        let test = "a_graph_does_again_what_was_captured_and_capturing_does_nothing";
        Scenario::on_any_device(test).with("VGPU_STREAMS", order).run(|| unsafe {
            context();
            let kernels = Kernels::load();
            let (add_one, copy_plus) = (kernels.function("add_one"), kernels.function("copy_plus"));
            let lane = stream(NON_BLOCKING);
            let (word, sum) = (words(&[0]), words(&[0]));
            begin(lane, THREAD_LOCAL);
            assert_eq!(status(lane), Status::CU_STREAM_CAPTURE_STATUS_ACTIVE);
            ok(launch(add_one, 1, 0, lane, &mut [word]));
            ok(launch(copy_plus, 1, 0, lane, &mut [sum, word, 100]));
            let graph = end(lane);
            assert_eq!(status(lane), Status::CU_STREAM_CAPTURE_STATUS_NONE);
            let mut nodes = 0;
            ok(sys::cuGraphGetNodes(graph, null_mut(), &raw mut nodes));
            assert_eq!(nodes, 2);
            assert_eq!((read(word, 1)[0], read(sum, 1)[0]), (0, 0));
            let exec = instantiate(graph, 0);
            ok(sys::cuGraphDestroy(graph));
            for _ in 0..5 {
                ok(sys::cuGraphLaunch(exec, lane));
            }
            ok(sys::cuStreamSynchronize(lane));
            assert_eq!((read(word, 1)[0], read(sum, 1)[0]), (5, 105));
            ok(sys::cuGraphExecDestroy(exec));
            gives(sys::cuGraphLaunch(exec, lane), "INVALID_HANDLE");
        });
    }
}

#[test]
fn streams_that_fork_and_join_are_one_graph() {
    for order in ORDERS {
        let scenario = Scenario::on_any_device("streams_that_fork_and_join_are_one_graph");
        scenario.with("VGPU_STREAMS", order).run(|| unsafe {
            context();
            let copy_plus = Kernels::load().function("copy_plus");
            let (main, side) = (stream(NON_BLOCKING), stream(NON_BLOCKING));
            let (forked, joined) = (event(), event());
            let (a, b, c) = (words(&[1]), words(&[0]), words(&[0]));
            begin(main, GLOBAL);
            ok(launch(copy_plus, 1, 0, main, &mut [b, a, 1]));
            ok(sys::cuEventRecord(forked, main));
            ok(sys::cuStreamWaitEvent(side, forked, 0));
            assert_eq!(status(side), Status::CU_STREAM_CAPTURE_STATUS_ACTIVE);
            ok(launch(copy_plus, 1, 0, side, &mut [c, b, 2]));
            ok(sys::cuEventRecord(joined, side));
            ok(sys::cuStreamWaitEvent(main, joined, 0));
            ok(launch(copy_plus, 1, 0, main, &mut [a, c, 4]));
            let exec = instantiate(end(main), 0);
            assert_eq!(status(side), Status::CU_STREAM_CAPTURE_STATUS_NONE);
            ok(sys::cuGraphLaunch(exec, main));
            ok(sys::cuGraphLaunch(exec, main));
            ok(sys::cuStreamSynchronize(main));
            assert_eq!(read(a, 1), [15]);
        });
    }
}

#[test]
fn a_stream_that_is_not_joined_ends_the_capture_in_an_error() {
    let test = "a_stream_that_is_not_joined_ends_the_capture_in_an_error";
    Scenario::on_any_device(test).run(|| unsafe {
        context();
        let add_one = Kernels::load().function("add_one");
        let (main, side, forked) = (stream(NON_BLOCKING), stream(NON_BLOCKING), event());
        let word = words(&[0]);
        begin(main, RELAXED);
        ok(launch(add_one, 1, 0, main, &mut [word]));
        ok(sys::cuEventRecord(forked, main));
        ok(sys::cuStreamWaitEvent(side, forked, 0));
        ok(launch(add_one, 1, 0, side, &mut [word]));
        end_gives(main, "STREAM_CAPTURE_UNJOINED");
        begin(main, RELAXED);
        ok(launch(add_one, 1, 0, main, &mut [word]));
        ok(sys::cuEventRecord(forked, main));
        ok(sys::cuStreamWaitEvent(side, forked, 0));
        end_gives(side, "STREAM_CAPTURE_UNMATCHED");
    });
}

#[test]
fn what_waits_is_forbidden_and_ends_the_capture() {
    Scenario::on_any_device("what_waits_is_forbidden_and_ends_the_capture").run(|| unsafe {
        context();
        let add_one = Kernels::load().function("add_one");
        let lane = stream(NON_BLOCKING);
        let word = words(&[0]);
        let invalidated = |error: &str, call: &dyn Fn() -> sys::CUresult| {
            begin(lane, GLOBAL);
            gives(call(), error);
            assert_eq!(status(lane), Status::CU_STREAM_CAPTURE_STATUS_INVALIDATED);
            let launched = launch(add_one, 1, 0, lane, &mut [word]);
            gives(launched, "STREAM_CAPTURE_INVALIDATED");
            end_gives(lane, "STREAM_CAPTURE_INVALIDATED");
        };
        let unsupported = "STREAM_CAPTURE_UNSUPPORTED";
        invalidated(unsupported, &|| sys::cuStreamSynchronize(lane));
        invalidated(unsupported, &|| sys::cuStreamQuery(lane));
        invalidated(unsupported, &|| sys::cuCtxSynchronize());
        invalidated(unsupported, &|| {
            let mut address = 0;
            sys::cuMemAlloc_v2(&raw mut address, 4)
        });
        let captured = event();
        invalidated("CAPTURED_EVENT", &|| {
            ok(sys::cuEventRecord(captured, lane));
            sys::cuEventSynchronize(captured)
        });
        let outside = event();
        let other = stream(NON_BLOCKING);
        ok(sys::cuEventRecord(outside, other));
        invalidated("STREAM_CAPTURE_ISOLATION", &|| sys::cuStreamWaitEvent(lane, outside, 0));
        assert_eq!(read(word, 1), [0]);
    });
}

#[test]
fn the_legacy_stream_takes_part_in_no_capture() {
    Scenario::on_any_device("the_legacy_stream_takes_part_in_no_capture").run(|| unsafe {
        context();
        let add_one = Kernels::load().function("add_one");
        let word = words(&[0]);
        let legacy = null_mut();
        gives(sys::cuStreamBeginCapture_v2(legacy, RELAXED), "STREAM_CAPTURE_UNSUPPORTED");
        let blocking = stream(0);
        begin(blocking, RELAXED);
        gives(launch(add_one, 1, 0, legacy, &mut [word]), "STREAM_CAPTURE_IMPLICIT");
        end_gives(blocking, "STREAM_CAPTURE_INVALIDATED");
        let free = stream(NON_BLOCKING);
        begin(free, RELAXED);
        ok(launch(add_one, 1, 0, legacy, &mut [word]));
        ok(sys::cuGraphDestroy(end(free)));
        assert_eq!(read(word, 1), [1]);
    });
}

#[test]
fn modes_say_which_calls_of_which_thread_are_forbidden() {
    Scenario::on_any_device("modes_say_which_calls_of_which_thread_are_forbidden").run(|| unsafe {
        let context = context().addr();
        let lane = stream(NON_BLOCKING);
        let allocates = move || {
            ok(sys::cuCtxSetCurrent(std::ptr::with_exposed_provenance_mut(context)));
            let mut address = 0;
            sys::cuMemAlloc_v2(&raw mut address, 4)
        };
        begin(lane, RELAXED);
        ok(allocates());
        ok(sys::cuGraphDestroy(end(lane)));
        begin(lane, THREAD_LOCAL);
        ok(std::thread::spawn(allocates).join().unwrap());
        gives(allocates(), "STREAM_CAPTURE_UNSUPPORTED");
        end_gives(lane, "STREAM_CAPTURE_INVALIDATED");
        begin(lane, GLOBAL);
        let elsewhere = std::thread::spawn(allocates).join().unwrap();
        gives(elsewhere, "STREAM_CAPTURE_UNSUPPORTED");
        end_gives(lane, "STREAM_CAPTURE_INVALIDATED");
        begin(lane, GLOBAL);
        let mut mode = RELAXED;
        ok(sys::cuThreadExchangeStreamCaptureMode(&raw mut mode));
        assert_eq!(mode, GLOBAL);
        ok(allocates());
        ok(sys::cuThreadExchangeStreamCaptureMode(&raw mut mode));
        let address = lane.addr();
        let elsewhere = std::thread::spawn(move || {
            ok(sys::cuCtxSetCurrent(std::ptr::with_exposed_provenance_mut(context)));
            let mut graph = null_mut();
            let lane = std::ptr::with_exposed_provenance_mut(address);
            sys::cuStreamEndCapture(lane, &raw mut graph)
        });
        gives(elsewhere.join().unwrap(), "STREAM_CAPTURE_WRONG_THREAD");
        ok(sys::cuGraphDestroy(end(lane)));
    });
}

#[test]
fn a_graph_of_the_same_shape_updates_and_others_do_not() {
    Scenario::on_any_device("a_graph_of_the_same_shape_updates_and_others_do_not").run(|| unsafe {
        use sys::CUgraphExecUpdateResult_enum as Result;
        context();
        let kernels = Kernels::load();
        let (add_one, copy_plus) = (kernels.function("add_one"), kernels.function("copy_plus"));
        let lane = stream(NON_BLOCKING);
        let (source, target) = (words(&[1]), words(&[0]));
        let capture = |value: u64, more: bool| {
            begin(lane, RELAXED);
            ok(launch(copy_plus, 1, 0, lane, &mut [target, source, value]));
            if more {
                ok(launch(add_one, 1, 0, lane, &mut [target]));
            }
            end(lane)
        };
        let exec = instantiate(capture(10, false), 0);
        let mut info: sys::CUgraphExecUpdateResultInfo = std::mem::zeroed();
        ok(sys::cuGraphExecUpdate_v2(exec, capture(20, false), &raw mut info));
        assert_eq!(info.result, Result::CU_GRAPH_EXEC_UPDATE_SUCCESS);
        let longer = capture(30, true);
        let updated = sys::cuGraphExecUpdate_v2(exec, longer, &raw mut info);
        gives(updated, "GRAPH_EXEC_UPDATE_FAILURE");
        assert_eq!(info.result, Result::CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
        begin(lane, RELAXED);
        ok(sys::cuMemsetD32Async(target, 3, 1, lane));
        let fill = end(lane);
        gives(sys::cuGraphExecUpdate_v2(exec, fill, &raw mut info), "GRAPH_EXEC_UPDATE_FAILURE");
        assert_eq!(info.result, Result::CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
        ok(sys::cuGraphLaunch(exec, lane));
        ok(sys::cuStreamSynchronize(lane));
        assert_eq!(read(target, 1), [21]);
    });
}

/// Captures an allocation, its use and, if asked for, its end; gives the address as well.
unsafe fn allocating(lane: sys::CUstream, target: u64, frees: bool) -> (sys::CUgraph, u64) {
    let copy_plus = Kernels::load().function("copy_plus");
    begin(lane, RELAXED);
    // SAFETY: the stream is valid and captures.
    unsafe {
        let own = out(|to| sys::cuMemAllocAsync(to, 4, lane));
        ok(sys::cuMemsetD32Async(own, 7, 1, lane));
        ok(launch(copy_plus, 1, 0, lane, &mut [target, own, 1]));
        if frees {
            ok(sys::cuMemFreeAsync(own, lane));
        }
        (end(lane), own)
    }
}

#[test]
fn memory_of_a_graph_is_free_again_or_its_next_launch_fails() {
    let test = "memory_of_a_graph_is_free_again_or_its_next_launch_fails";
    Scenario::on_any_device(test).run(|| unsafe {
        context();
        let lane = stream(NON_BLOCKING);
        let target = words(&[0]);
        let (graph, _) = allocating(lane, target, true);
        let exec = instantiate(graph, 0);
        ok(sys::cuGraphLaunch(exec, lane));
        ok(sys::cuGraphLaunch(exec, lane));
        ok(sys::cuStreamSynchronize(lane));
        assert_eq!(read(target, 1), [8]);
        let (graph, own) = allocating(lane, target, false);
        let exec = instantiate(graph, 0);
        ok(sys::cuGraphLaunch(exec, lane));
        gives(sys::cuGraphLaunch(exec, lane), "INVALID_VALUE");
        ok(sys::cuMemFreeAsync(own, lane));
        ok(sys::cuGraphLaunch(exec, lane));
        ok(sys::cuMemFreeAsync(own, lane));
        gives(sys::cuMemFreeAsync(own, lane), "INVALID_VALUE");
        let (graph, _) = allocating(lane, target, false);
        let exec = instantiate(graph, AUTO_FREE);
        for _ in 0..3 {
            ok(sys::cuGraphLaunch(exec, lane));
        }
        ok(sys::cuStreamSynchronize(lane));
    });
}

#[test]
fn memory_from_outside_cannot_be_freed_in_a_capture() {
    Scenario::on_any_device("memory_from_outside_cannot_be_freed_in_a_capture").run(|| unsafe {
        context();
        let lane = stream(NON_BLOCKING);
        let outside = out(|to| sys::cuMemAllocAsync(to, 4, lane));
        begin(lane, RELAXED);
        gives(sys::cuMemFreeAsync(outside, lane), "INVALID_VALUE");
        let mut graph = null_mut();
        // Whether the capture is still good after that is not documented.
        let _ = sys::cuStreamEndCapture(lane, &raw mut graph);
        ok(sys::cuMemFreeAsync(outside, lane));
    });
}

#[test]
fn a_captured_copy_reads_the_host_at_each_launch() {
    Scenario::on_any_device("a_captured_copy_reads_the_host_at_each_launch").run(|| unsafe {
        context();
        let lane = stream(NON_BLOCKING);
        let target = words(&[0]);
        let source = handle(|to| sys::cuMemHostAlloc(to, 4, 0)).cast::<u32>();
        source.write(1);
        begin(lane, RELAXED);
        ok(sys::cuMemcpyHtoDAsync_v2(target, source.cast(), 4, lane));
        let exec = instantiate(end(lane), 0);
        for value in [2, 3] {
            source.write(value);
            ok(sys::cuGraphLaunch(exec, lane));
            assert_eq!(read(target, 1), [value]);
        }
    });
}

#[test]
fn flags_that_exclude_each_other_are_refused() {
    Scenario::on_any_device("flags_that_exclude_each_other_are_refused").run(|| unsafe {
        context();
        let lane = stream(NON_BLOCKING);
        begin(lane, THREAD_LOCAL);
        let graph = end(lane);
        let mut exec = null_mut();
        let device_launch = 4;
        let flags = AUTO_FREE | device_launch;
        gives(sys::cuGraphInstantiateWithFlags(&raw mut exec, graph, flags), "INVALID_VALUE");
        let exec = instantiate(graph, 0);
        ok(sys::cuGraphLaunch(exec, lane));
        ok(sys::cuStreamSynchronize(lane));
    });
}

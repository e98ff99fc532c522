//! What a capture forbids, each with the code that a driver gives, and what it allows.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "calls of a C interface, with handles and places for results that each test makes"
)]

mod support;

use std::{ffi::c_void, ptr::null_mut};

use cudarc::driver::sys::{self, CUresult, CUstreamCaptureMode as Mode};
use support::{
    Kernels, NON_BLOCKING, Scenario, context, event, handle, launch, name, ok, out, read, stream,
    words,
};

const GLOBAL: Mode = Mode::CU_STREAM_CAPTURE_MODE_GLOBAL;
const RELAXED: Mode = Mode::CU_STREAM_CAPTURE_MODE_RELAXED;
const LEGACY: sys::CUstream = null_mut();

/// A stream that captures and has captured a kernel, and what calls need besides.
struct Setting {
    context: usize,
    lane: sys::CUstream,
    /// Streams that do not capture: non-blocking both.
    side: sys::CUstream,
    add_one: sys::CUfunction,
    word: u64,
    other_word: u64,
    pinned: *mut u32,
    recorded: sys::CUevent,
    fresh: sys::CUevent,
}

impl Setting {
    fn new(flags: u32, mode: Mode) -> Self {
        let context = context().addr();
        let add_one = Kernels::load().function("add_one");
        let (lane, side) = (stream(flags), stream(NON_BLOCKING));
        let (recorded, fresh) = (event(), event());
        let (word, other_word) = (words(&[0]), words(&[0]));
        unsafe {
            let pinned = handle(|to| sys::cuMemHostAlloc(to, 4, 0)).cast::<u32>();
            pinned.write(5);
            ok(sys::cuEventRecord(recorded, side));
            ok(sys::cuStreamSynchronize(side));
            ok(sys::cuStreamBeginCapture_v2(lane, mode));
            ok(launch(add_one, 1, 0, lane, &mut [word]));
            Self { context, lane, side, add_one, word, other_word, pinned, recorded, fresh }
        }
    }

    /// Lets the side stream take part in the capture, with a kernel of its own.
    unsafe fn fork(&self) {
        unsafe {
            ok(sys::cuEventRecord(self.fresh, self.lane));
            ok(sys::cuStreamWaitEvent(self.side, self.fresh, 0));
            ok(launch(self.add_one, 1, 0, self.side, &mut [self.other_word]));
        }
    }
}

/// A call whose result is not looked at.
fn attempt<T>(call: impl FnOnce(*mut T) -> CUresult) -> CUresult {
    call(std::mem::MaybeUninit::uninit().as_mut_ptr())
}

unsafe fn end(lane: sys::CUstream) -> CUresult {
    unsafe { attempt(|to| sys::cuStreamEndCapture(lane, to)) }
}

/// How a capture ends after a mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// It is no longer valid, whoever ends it.
    Invalid,
    /// As if nothing had been asked.
    Valid,
    /// The mistake was to end it so.
    Ended,
}

use After::{Ended, Invalid, Valid};

/// One mistake: what it is, flags of the capturing stream, the call that makes it, the code that it
/// gives, and what becomes of the capture.
type Mistake = (&'static str, u32, fn(&Setting) -> CUresult, &'static str, After);

const UNSUPPORTED: &str = "STREAM_CAPTURE_UNSUPPORTED";
const IMPLICIT: &str = "STREAM_CAPTURE_IMPLICIT";

const MISTAKES: &[Mistake] = &[
    (
        "host waits for the capturing stream",
        NON_BLOCKING,
        |s| unsafe { sys::cuStreamSynchronize(s.lane) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "query of the capturing stream",
        NON_BLOCKING,
        |s| unsafe { sys::cuStreamQuery(s.lane) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "host waits for the context",
        NON_BLOCKING,
        |_| unsafe { sys::cuCtxSynchronize() },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "host waits for a captured event",
        NON_BLOCKING,
        |s| unsafe {
            ok(sys::cuEventRecord(s.fresh, s.lane));
            sys::cuEventSynchronize(s.fresh)
        },
        "CAPTURED_EVENT",
        Invalid,
    ),
    (
        "query of a captured event",
        NON_BLOCKING,
        |s| unsafe {
            ok(sys::cuEventRecord(s.fresh, s.lane));
            sys::cuEventQuery(s.fresh)
        },
        "CAPTURED_EVENT",
        Invalid,
    ),
    (
        "host waits for another event",
        NON_BLOCKING,
        |s| unsafe { sys::cuEventSynchronize(s.recorded) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "query of another event",
        NON_BLOCKING,
        |s| unsafe { sys::cuEventQuery(s.recorded) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "query of another event by another thread",
        NON_BLOCKING,
        |s| {
            let event = s.recorded.addr();
            let query =
                move || unsafe { sys::cuEventQuery(std::ptr::with_exposed_provenance_mut(event)) };
            std::thread::spawn(query).join().unwrap()
        },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "cuMemAlloc",
        NON_BLOCKING,
        |_| unsafe { attempt(|to| sys::cuMemAlloc_v2(to, 4)) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "cuMemAllocManaged",
        NON_BLOCKING,
        |_| unsafe { attempt(|to| sys::cuMemAllocManaged(to, 4, 1)) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "cuMemHostAlloc",
        NON_BLOCKING,
        |_| unsafe { attempt(|to| sys::cuMemHostAlloc(to, 4, 0)) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "cuMemFree",
        NON_BLOCKING,
        |s| unsafe { sys::cuMemFree_v2(s.other_word) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "cuMemFreeHost",
        NON_BLOCKING,
        |s| unsafe { sys::cuMemFreeHost(s.pinned.cast()) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "copy without a stream",
        NON_BLOCKING,
        |s| unsafe { sys::cuMemcpyHtoD_v2(s.word, s.pinned.cast(), 4) },
        UNSUPPORTED,
        Invalid,
    ),
    (
        "copy without a stream, blocking stream",
        0,
        |s| unsafe { sys::cuMemcpyHtoD_v2(s.word, s.pinned.cast(), 4) },
        IMPLICIT,
        Invalid,
    ),
    (
        "legacy stream launches, blocking stream",
        0,
        |s| launch(s.add_one, 1, 0, LEGACY, &mut [s.other_word]),
        IMPLICIT,
        Invalid,
    ),
    (
        "legacy stream is waited for, blocking stream",
        0,
        |_| unsafe { sys::cuStreamSynchronize(LEGACY) },
        IMPLICIT,
        Invalid,
    ),
    (
        "legacy stream is asked, blocking stream",
        0,
        |_| unsafe {
            let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
            sys::cuStreamIsCapturing(LEGACY, &raw mut status)
        },
        IMPLICIT,
        Invalid,
    ),
    (
        "legacy stream waits for a captured event",
        NON_BLOCKING,
        |s| unsafe {
            ok(sys::cuEventRecord(s.fresh, s.lane));
            sys::cuStreamWaitEvent(LEGACY, s.fresh, 0)
        },
        IMPLICIT,
        Invalid,
    ),
    (
        "legacy stream captures",
        NON_BLOCKING,
        |_| unsafe { sys::cuStreamBeginCapture_v2(LEGACY, GLOBAL) },
        UNSUPPORTED,
        Valid,
    ),
    (
        "capture begins twice",
        NON_BLOCKING,
        |s| unsafe { sys::cuStreamBeginCapture_v2(s.lane, GLOBAL) },
        "ILLEGAL_STATE",
        Valid,
    ),
    (
        "waits for an event of work outside",
        NON_BLOCKING,
        |s| unsafe { sys::cuStreamWaitEvent(s.lane, s.recorded, 0) },
        "STREAM_CAPTURE_ISOLATION",
        Invalid,
    ),
    (
        "two captures are merged",
        NON_BLOCKING,
        |s| unsafe {
            ok(sys::cuStreamBeginCapture_v2(s.side, GLOBAL));
            ok(sys::cuEventRecord(s.fresh, s.side));
            sys::cuStreamWaitEvent(s.lane, s.fresh, 0)
        },
        "STREAM_CAPTURE_MERGE",
        Invalid,
    ),
    (
        "fork is not joined",
        NON_BLOCKING,
        |s| unsafe {
            s.fork();
            end(s.lane)
        },
        "STREAM_CAPTURE_UNJOINED",
        Ended,
    ),
    (
        "capture ends in the forked stream",
        NON_BLOCKING,
        |s| unsafe {
            s.fork();
            end(s.side)
        },
        "STREAM_CAPTURE_UNMATCHED",
        Invalid,
    ),
    (
        "capture ends in a stream without one",
        NON_BLOCKING,
        |s| unsafe { end(s.side) },
        "ILLEGAL_STATE",
        Valid,
    ),
    (
        "capture ends in another thread",
        NON_BLOCKING,
        |s| {
            let (context, lane) = (s.context, s.lane.addr());
            let ends = move || unsafe {
                ok(sys::cuCtxSetCurrent(std::ptr::with_exposed_provenance_mut(context)));
                let lane = std::ptr::with_exposed_provenance_mut(lane);
                end(lane)
            };
            std::thread::spawn(ends).join().unwrap()
        },
        "STREAM_CAPTURE_WRONG_THREAD",
        Valid,
    ),
];

#[test]
fn each_mistake_gives_its_code_and_ends_the_capture_as_a_driver_does() {
    let test = "each_mistake_gives_its_code_and_ends_the_capture_as_a_driver_does";
    let mut failures = Vec::new();
    for &(what, flags, call, code, after) in MISTAKES {
        let ran = Scenario::on_any_device(test).case(what).outcome(|| {
            let setting = Setting::new(flags, GLOBAL);
            let found = name(call(&setting));
            let end =
                if after == Ended { String::new() } else { name(unsafe { end(setting.lane) }) };
            println!("\nfound: {found} {end}");
        });
        let Some(ran) = ran else { continue };
        let end = match after {
            Invalid => "STREAM_CAPTURE_INVALIDATED",
            Valid => "CUDA_SUCCESS",
            Ended => "",
        };
        let found = ran.printed.lines().find_map(|line| line.strip_prefix("found: "));
        println!("{what:<46} {}", found.unwrap_or("?"));
        if found != Some(&format!("{code} {end}")) {
            failures.push(format!("{what}: {code} {end} expected, {found:?}\n{}", ran.errors));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

extern "C" fn nothing(_: *mut c_void) {}

/// Something legal to do while a stream captures: what it is, the mode, the calls.
type Legal = (&'static str, Mode, fn(&Setting));

const LEGAL: &[Legal] = &[
    ("kernels and fills", GLOBAL, |s| unsafe {
        ok(sys::cuMemsetD32Async(s.word, 1, 1, s.lane));
        ok(launch(s.add_one, 1, 0, s.lane, &mut [s.word]));
    }),
    ("copies with pinned memory", GLOBAL, |s| unsafe {
        ok(sys::cuMemcpyHtoDAsync_v2(s.word, s.pinned.cast(), 4, s.lane));
        ok(sys::cuMemcpyDtoDAsync_v2(s.other_word, s.word, 4, s.lane));
        ok(sys::cuMemcpyDtoHAsync_v2(s.pinned.cast(), s.word, 4, s.lane));
    }),
    ("copies with pageable memory", GLOBAL, |s| unsafe {
        // It must live as long as the graph.
        let pageable = Box::leak(Box::new(5_u32));
        ok(sys::cuMemcpyHtoDAsync_v2(s.word, (&raw const *pageable).cast(), 4, s.lane));
    }),
    ("functions of the host", GLOBAL, |s| unsafe {
        ok(sys::cuLaunchHostFunc(s.lane, Some(nothing), null_mut()));
    }),
    ("memory in stream order", GLOBAL, |s| unsafe {
        let own = out(|to| sys::cuMemAllocAsync(to, 4, s.lane));
        ok(sys::cuMemsetD32Async(own, 7, 1, s.lane));
        ok(sys::cuMemFreeAsync(own, s.lane));
    }),
    ("fork and join", GLOBAL, |s| unsafe {
        s.fork();
        let joined = event();
        ok(sys::cuEventRecord(joined, s.side));
        ok(sys::cuStreamWaitEvent(s.lane, joined, 0));
    }),
    ("work of a stream that does not take part", GLOBAL, |s| {
        ok(launch(s.add_one, 1, 0, s.side, &mut [s.other_word]));
        ok(launch(s.add_one, 1, 0, LEGACY, &mut [s.other_word]));
    }),
    ("new streams and events", GLOBAL, |_| {
        stream(NON_BLOCKING);
        event();
    }),
    ("allocation in relaxed mode", RELAXED, |_| unsafe {
        let own = out(|to| sys::cuMemAlloc_v2(to, 4));
        ok(sys::cuMemFree_v2(own));
    }),
    ("query of another event in relaxed mode", RELAXED, |s| unsafe {
        ok(sys::cuEventQuery(s.recorded));
        ok(sys::cuEventSynchronize(s.recorded));
    }),
    ("query by a thread in relaxed mode", GLOBAL, |s| {
        let event = s.recorded.addr();
        let query = move || unsafe {
            let mut mode = RELAXED;
            ok(sys::cuThreadExchangeStreamCaptureMode(&raw mut mode));
            ok(sys::cuEventQuery(std::ptr::with_exposed_provenance_mut(event)));
        };
        std::thread::spawn(query).join().unwrap();
    }),
];

#[test]
fn what_is_legal_gives_no_error_and_a_graph_that_runs() {
    for &(what, mode, calls) in LEGAL {
        let test = "what_is_legal_gives_no_error_and_a_graph_that_runs";
        Scenario::on_any_device(test).case(what).run(|| unsafe {
            let setting = Setting::new(NON_BLOCKING, mode);
            calls(&setting);
            let graph = handle(|to| sys::cuStreamEndCapture(setting.lane, to));
            let exec = handle(|to| sys::cuGraphInstantiateWithFlags(to, graph, 0));
            ok(sys::cuGraphLaunch(exec, setting.lane));
            ok(sys::cuStreamSynchronize(setting.lane));
            assert!(read(setting.word, 1)[0] >= 1, "the captured kernel did not run");
        });
    }
}

//! Everything that the driver knows, behind one lock.
//!
//! One lock for all of it: work runs while it is held, so that a program's threads see one device
//! that does one thing at a time, in a chosen order.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    ffi::c_int,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use vgpu::Gpu;

use crate::{
    blas::BlasHandle,
    capture::{Capture, CaptureMode},
    context::Context,
    event::Event,
    fault,
    graph::{Graph, GraphExec, GraphMemories},
    memory::Allocations,
    module::{Function, ModuleEntry},
    queue::Queue,
    random::Generator,
    report::Counts,
    resources::Resources,
    settings::Settings,
    status::{self, Result, Status},
    stream::Stream,
};

pub(crate) struct State {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) resources: Resources,
    pub(crate) contexts: HashMap<usize, Context>,
    pub(crate) primary: Option<usize>,
    pub(crate) streams: BTreeMap<usize, Stream>,
    /// The per-thread default streams, by context and thread.
    pub(crate) of_threads: HashMap<(usize, u64), usize>,
    pub(crate) events: HashMap<usize, Event>,
    pub(crate) modules: HashMap<usize, ModuleEntry>,
    pub(crate) functions: HashMap<usize, Function>,
    pub(crate) queue: Queue,
    pub(crate) captures: BTreeMap<u64, Capture>,
    pub(crate) graphs: HashMap<usize, Graph>,
    pub(crate) graph_execs: HashMap<usize, GraphExec>,
    pub(crate) graph_memories: GraphMemories,
    pub(crate) allocations: Allocations,
    pub(crate) blas_handles: HashMap<usize, BlasHandle>,
    pub(crate) generators: HashMap<usize, Generator>,
    pub(crate) counts: Counts,
    handles: usize,
}

static DRIVER: OnceLock<Option<Mutex<State>>> = OnceLock::new();

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static THREAD: u64 = THREADS.fetch_add(1, Ordering::Relaxed);
    static IN_HOST_FUNCTION: Cell<bool> = const { Cell::new(false) };
    static CURRENT: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static CAPTURE_MODE: Cell<CaptureMode> = const { Cell::new(CaptureMode::Global) };
}

/// Number of the calling thread.
pub(crate) fn thread() -> u64 {
    THREAD.with(|thread| *thread)
}

/// The calling thread's stack of contexts; the last is current.
pub(crate) fn current<T>(look: impl FnOnce(&mut Vec<usize>) -> T) -> T {
    CURRENT.with(|stack| look(&mut stack.borrow_mut()))
}

/// The calling thread's capture mode (`cuThreadExchangeStreamCaptureMode`).
pub(crate) fn capture_mode() -> &'static std::thread::LocalKey<Cell<CaptureMode>> {
    &CAPTURE_MODE
}

/// Runs a function of the program, in which it may not call CUDA.
pub(crate) fn in_host_function(call: impl FnOnce()) {
    IN_HOST_FUNCTION.with(|inside| inside.set(true));
    call();
    IN_HOST_FUNCTION.with(|inside| inside.set(false));
}

/// `cuInit`: makes the device as the environment says. A second call changes nothing.
pub(crate) fn initialise() -> Result<()> {
    let driver = DRIVER.get_or_init(|| match start() {
        Ok(state) => Some(Mutex::new(state)),
        Err(message) => {
            fault::print(&message);
            None
        }
    });
    driver.as_ref().map(|_| ()).ok_or(Status::Unknown)
}

fn start() -> std::result::Result<State, String> {
    let settings = Settings::from_environment().map_err(|error| error.to_string())?;
    let resources = Resources::read(settings.resources.as_deref())?;
    let gpu = Arc::new(Gpu::new(settings.gpu.clone()).map_err(|error| error.to_string())?);
    if settings.shown.is_some() {
        crate::report::at_exit();
    }
    Ok(State {
        gpu,
        resources,
        contexts: HashMap::new(),
        primary: None,
        streams: BTreeMap::new(),
        of_threads: HashMap::new(),
        events: HashMap::new(),
        modules: HashMap::new(),
        functions: HashMap::new(),
        queue: Queue::new(settings.streams),
        captures: BTreeMap::new(),
        graphs: HashMap::new(),
        graph_execs: HashMap::new(),
        graph_memories: GraphMemories::default(),
        allocations: Allocations::default(),
        blas_handles: HashMap::new(),
        generators: HashMap::new(),
        counts: Counts::new(settings.shown.unwrap_or_default()),
        handles: 0x1000,
    })
}

/// The state, if `cuInit` was called.
pub(crate) fn lock() -> Result<MutexGuard<'static, State>> {
    if IN_HOST_FUNCTION.with(Cell::get) {
        return Err(Status::NotPermitted);
    }
    let driver = DRIVER.get().and_then(Option::as_ref).ok_or(Status::NotInitialized)?;
    Ok(driver.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A call that needs no context.
pub(crate) fn call(name: &'static str, body: impl FnOnce(&mut State) -> Result<()>) -> c_int {
    status::code(lock().and_then(|mut state| {
        state.counts.call(name);
        body(&mut state)
    }))
}

/// A call in the current context; an error that sticks to the context is its result.
pub(crate) fn call_in_context(
    name: &'static str,
    body: impl FnOnce(&mut State, usize) -> Result<()>,
) -> c_int {
    status::code(in_context(name, body))
}

/// As [`call_in_context`], with a result of any type.
pub(crate) fn in_context<T>(
    name: &'static str,
    body: impl FnOnce(&mut State, usize) -> Result<T>,
) -> Result<T> {
    let mut state = lock()?;
    state.counts.call(name);
    let context = state.current_context()?;
    body(&mut state, context)
}

impl State {
    /// A handle that was never used before, so that one that is no longer valid is noticed.
    pub(crate) fn new_handle(&mut self) -> usize {
        self.handles += 16;
        self.handles
    }
}

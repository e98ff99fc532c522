//! The clients' side of a running engine.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{oneshot, watch};

use crate::{
    EngineError, EngineStats, Request, SubmitError, TokenStream,
    intake::{Intake, Submission},
};

#[derive(Debug)]
pub(crate) enum Command {
    Submit(Box<Submission>),
    ResetPrefixCache(oneshot::Sender<usize>),
    Shutdown(Option<Duration>),
}

pub(crate) type Inbox = Receiver<Command>;
pub(crate) type EngineThread = JoinHandle<Result<(), EngineError>>;

/// Submits requests to a running engine; clones refer to the same one.
///
/// When the last handle is dropped, the engine finishes what it has and stops.
#[derive(Debug, Clone)]
pub struct EngineHandle {
    commands: Sender<Command>,
    intake: Arc<Intake>,
    stats: watch::Receiver<EngineStats>,
    thread: Arc<Mutex<Option<EngineThread>>>,
}

impl EngineHandle {
    pub(crate) fn new(
        commands: Sender<Command>,
        intake: Arc<Intake>,
        stats: watch::Receiver<EngineStats>,
        thread: EngineThread,
    ) -> Self {
        Self { commands, intake, stats, thread: Arc::new(Mutex::new(Some(thread))) }
    }

    /// Submits a request. Never blocks.
    ///
    /// # Errors
    /// When it is refused; the message says why.
    pub fn submit(&self, request: Request) -> Result<TokenStream, SubmitError> {
        let (submission, stream) = self.intake.accept(request, Instant::now())?;
        self.commands
            .send(Command::Submit(Box::new(submission)))
            .map_err(|_| SubmitError::ShutDown)?;
        Ok(stream)
    }

    /// The engine's counters, renewed after every step.
    pub fn stats(&self) -> watch::Receiver<EngineStats> {
        self.stats.clone()
    }

    /// Forgets all cached prefixes. Returns the number of blocks that held one, or `None` when the
    /// engine has stopped. Running sequences go on; what they have computed is not reused.
    pub async fn reset_prefix_cache(&self) -> Option<usize> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::ResetPrefixCache(reply)).ok()?;
        answer.await.ok()
    }

    /// Takes no more requests, from any handle. What runs or waits is aborted at once, or may go on
    /// for `drain` first. A later call replaces the time that an earlier one allowed.
    pub fn shutdown(&self, drain: Option<Duration>) {
        self.intake.closed.store(true, Ordering::Release);
        // A failed send means that the engine has stopped, which is what was asked for.
        let _ = self.commands.send(Command::Shutdown(drain));
    }

    /// Whether requests are refused because of a shutdown or a failure.
    pub fn is_shut_down(&self) -> bool {
        self.intake.closed.load(Ordering::Acquire)
    }

    /// Waits until the engine has stopped, for whatever reason.
    pub async fn closed(&self) {
        let mut stats = self.stats.clone();
        while stats.changed().await.is_ok() {}
    }

    /// Blocks until the engine thread has ended; call [`EngineHandle::shutdown`] first. Only the
    /// first call learns how it ended.
    ///
    /// # Errors
    /// When the engine gave up on its executor or panicked.
    pub fn join(&self) -> Result<(), EngineError> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread.map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(payload)) => {
                Err(EngineError::Panicked(crate::core::panic_message(payload.as_ref())))
            }
        }
    }
}

//! The engine's thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{TryRecvError, channel},
    },
    thread,
    time::Instant,
};

use crate::{
    EngineConfig, EngineCore, EngineError, EngineHandle, Executor,
    core::panic_message,
    handle::{Command, Inbox},
};

/// Starts engines.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Starts an engine on a thread of its own, which sleeps whenever there is nothing to do.
    ///
    /// # Errors
    /// When a setting is out of range or no thread can be started.
    pub fn spawn(
        config: EngineConfig,
        executor: Box<dyn Executor>,
    ) -> Result<EngineHandle, EngineError> {
        let on_start = config.on_thread_start.clone();
        let core = EngineCore::new(config, executor)?;
        let (intake, stats) = (Arc::clone(core.intake()), core.watch());
        let (commands, inbox) = channel();
        let shared = Arc::clone(&intake);
        let run = move || {
            if let Some(on_start) = on_start {
                on_start();
            }
            let result = catch_unwind(AssertUnwindSafe(|| EngineLoop::new(core, inbox).run()));
            shared.closed.store(true, Ordering::Release);
            match result {
                Ok(result) => result,
                Err(payload) => {
                    let message = format!("the engine panicked: {}", panic_message(&*payload));
                    tracing::error!("{message}");
                    resume_unwind(payload)
                }
            }
        };
        let thread = thread::Builder::new()
            .name("eitri-engine".to_owned())
            .spawn(run)
            .map_err(|error| EngineError::Thread(error.to_string()))?;
        Ok(EngineHandle::new(commands, intake, stats, thread))
    }
}

/// When the loop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Not foreseen.
    No,
    /// When all is done.
    WhenIdle,
    /// When all is done or at this time.
    At(Instant),
}

struct EngineLoop {
    core: EngineCore,
    inbox: Inbox,
    ending: Ending,
}

impl EngineLoop {
    fn new(core: EngineCore, inbox: Inbox) -> Self {
        Self { core, inbox, ending: Ending::No }
    }

    fn run(mut self) -> Result<(), EngineError> {
        loop {
            self.receive();
            if let Ending::At(end) = self.ending
                && Instant::now() >= end
            {
                self.core.abort_all();
            }
            if self.ending != Ending::No && self.core.is_idle() {
                return Ok(());
            }
            if let Err(error) = self.core.step() {
                let intake = self.core.intake();
                intake.closed.store(true, Ordering::Release);
                // Requests still in the inbox get this reason when it is dropped.
                let _ = intake.failure.set(error.to_string().into());
                return Err(error);
            }
        }
    }

    /// Takes in what clients sent; sleeps when there is nothing else to do.
    fn receive(&mut self) {
        if self.core.is_idle() && self.ending == Ending::No {
            match self.inbox.recv() {
                Ok(command) => self.obey(command),
                Err(_) => self.ending = Ending::WhenIdle,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    if self.ending == Ending::No {
                        self.ending = Ending::WhenIdle;
                    }
                    return;
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(submission) => self.core.admit(*submission),
            Command::ResetPrefixCache(reply) => {
                // The caller may have lost interest.
                let _ = reply.send(self.core.reset_prefix_cache());
            }
            Command::Shutdown(None) => self.ending = Ending::At(Instant::now()),
            Command::Shutdown(Some(drain)) => {
                self.ending = match Instant::now().checked_add(drain) {
                    Some(end) => Ending::At(end),
                    None => Ending::WhenIdle,
                };
            }
        }
    }
}

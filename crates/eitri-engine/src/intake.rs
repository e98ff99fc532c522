//! Checks requests at the door, in the client's thread, so that a bad one gets its error at once.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::mpsc;

use crate::{EngineConfig, ParamError, Request, TokenEvent, TokenStream};

/// Most continuations of one request.
const MAX_CONTINUATIONS: u32 = 1024;
/// Events that wait for a slow reader before tokens are merged.
const BUFFERED_EVENTS: usize = 64;
/// Events that each continuation can always send: prompt log-probabilities, the remaining tokens,
/// and its end.
pub(crate) const RESERVED_EVENTS: usize = 3;

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// No token to continue from.
    #[error("the prompt has no tokens; at least one is needed")]
    EmptyPrompt,
    /// The prompt leaves no room for a token within the model's context.
    #[error("the prompt has {len} tokens, but at most {max} fit into the model's context")]
    PromptTooLong {
        /// Tokens of the prompt.
        len: usize,
        /// Most that are possible.
        max: usize,
    },
    /// The prompt leaves no room for a token within KV memory.
    #[error("the prompt has {len} tokens, but KV memory has room for prompts of at most {max}")]
    DoesNotFit {
        /// Tokens of the prompt.
        len: usize,
        /// Most that are possible.
        max: usize,
    },
    /// A parameter out of range.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// As many requests wait as are allowed to.
    #[error("{waiting} requests are waiting already, which is the limit")]
    QueueFull {
        /// Requests that wait.
        waiting: usize,
    },
    /// The engine takes no more requests.
    #[error("the engine is shut down")]
    ShutDown,
}

/// What clients and engine share beside the channels.
#[derive(Debug)]
pub(crate) struct Intake {
    max_model_len: usize,
    pool_tokens: usize,
    max_queued: usize,
    /// Requests accepted and not yet started.
    queued: AtomicUsize,
    /// Streams that were given up; a change makes the engine look which.
    pub(crate) cancelled: AtomicU64,
    pub(crate) closed: AtomicBool,
    /// Why the engine stopped by itself.
    pub(crate) failure: OnceLock<Arc<str>>,
}

/// Counts a request as waiting for as long as it lives.
#[derive(Debug)]
pub(crate) struct QueueTicket(Arc<Intake>);

impl Drop for QueueTicket {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An accepted request on its way to the engine.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) request: Request,
    pub(crate) events: mpsc::Sender<TokenEvent>,
    pub(crate) ticket: QueueTicket,
    pub(crate) unwanted: Unwanted,
    pub(crate) submitted: Instant,
}

/// Which continuations of a request the client has given up, by index.
pub(crate) type Unwanted = Arc<[AtomicBool]>;

impl Intake {
    pub(crate) fn new(config: &EngineConfig) -> Self {
        Self {
            max_model_len: config.max_model_len,
            pool_tokens: config.num_blocks.saturating_mul(config.block_size),
            max_queued: config.max_queued.unwrap_or(usize::MAX),
            queued: AtomicUsize::new(0),
            cancelled: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            failure: OnceLock::new(),
        }
    }

    fn check(&self, request: &Request) -> Result<(), SubmitError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(SubmitError::ShutDown);
        }
        let len = request.prompt.len();
        if len == 0 {
            return Err(SubmitError::EmptyPrompt);
        }
        if len >= self.max_model_len {
            return Err(SubmitError::PromptTooLong { len, max: self.max_model_len - 1 });
        }
        if len >= self.pool_tokens {
            return Err(SubmitError::DoesNotFit { len, max: self.pool_tokens - 1 });
        }
        request.params.validate()?;
        if !(1..=MAX_CONTINUATIONS).contains(&request.n) {
            let value = request.n.to_string();
            return Err(ParamError { field: "n", expected: "in 1..=1024", value }.into());
        }
        Ok(())
    }

    pub(crate) fn accept(
        self: &Arc<Self>,
        request: Request,
        submitted: Instant,
    ) -> Result<(Submission, TokenStream), SubmitError> {
        self.check(&request)?;
        let waiting = self.queued.fetch_add(1, Ordering::Relaxed);
        let ticket = QueueTicket(Arc::clone(self));
        if waiting >= self.max_queued {
            return Err(SubmitError::QueueFull { waiting });
        }
        let reserved = RESERVED_EVENTS * request.n as usize;
        let (events, receiver) = mpsc::channel(BUFFERED_EVENTS + reserved);
        let unwanted: Unwanted = (0..request.n).map(|_| AtomicBool::new(false)).collect();
        let (prompt, intake) = (request.prompt.len(), Arc::clone(self));
        let stream = TokenStream::new(receiver, Arc::clone(&unwanted), prompt, intake);
        Ok((Submission { request, events, ticket, unwanted, submitted }, stream))
    }
}

//! The receiving end of one request.

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::sync::mpsc;

use crate::{
    FinishReason, RequestTiming, TokenEvent, TokenUsage,
    intake::{Intake, Unwanted},
};

/// Events of one request. Dropping it aborts what is not finished.
///
/// Every continuation ends with exactly one [`TokenEvent::Finished`]; should the engine vanish
/// without sending it, the stream makes it up.
#[derive(Debug)]
pub struct TokenStream {
    events: mpsc::Receiver<TokenEvent>,
    /// What is known of each continuation; `None` once it has ended.
    open: Vec<Option<TokenUsage>>,
    num_open: usize,
    aborted: bool,
    unwanted: Unwanted,
    intake: Arc<Intake>,
}

impl TokenStream {
    pub(crate) fn new(
        events: mpsc::Receiver<TokenEvent>,
        unwanted: Unwanted,
        prompt: usize,
        intake: Arc<Intake>,
    ) -> Self {
        let usage = TokenUsage { prompt, cached: 0, generated: 0 };
        let n = unwanted.len();
        Self { events, open: vec![Some(usage); n], num_open: n, aborted: false, unwanted, intake }
    }

    /// Waits for the next event; `None` after all continuations have ended. Cancelling the wait
    /// loses nothing.
    pub async fn next(&mut self) -> Option<TokenEvent> {
        if self.num_open == 0 {
            return None;
        }
        let event = self.events.recv().await;
        Some(self.account(event))
    }

    /// [`TokenStream::next`] for programs without an async runtime; panics inside of one.
    pub fn blocking_next(&mut self) -> Option<TokenEvent> {
        if self.num_open == 0 {
            return None;
        }
        let event = self.events.blocking_recv();
        Some(self.account(event))
    }

    /// [`TokenStream::next`] in the form that `Stream` implementations need.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<TokenEvent>> {
        if self.num_open == 0 {
            return Poll::Ready(None);
        }
        self.events.poll_recv(context).map(|event| Some(self.account(event)))
    }

    /// The next event if there is one by now.
    pub fn try_next(&mut self) -> Option<TokenEvent> {
        if self.num_open == 0 {
            return None;
        }
        match self.events.try_recv() {
            Ok(event) => Some(self.account(Some(event))),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(self.account(None)),
        }
    }

    /// Ends what is not finished. Events that were sent before can still be received, then each
    /// open continuation ends with [`FinishReason::Abort`].
    pub fn abort(&mut self) {
        if self.num_open > 0 && !self.aborted {
            self.aborted = true;
            self.events.close();
            self.intake.cancelled.fetch_add(1, Ordering::Release);
        }
    }

    /// Ends one continuation while the others go on. It may still send tokens, and ends with
    /// [`FinishReason::Abort`] unless it had ended already.
    pub fn abort_continuation(&mut self, index: u32) {
        if let Some(unwanted) = self.unwanted.get(index as usize)
            && !unwanted.swap(true, Ordering::Release)
        {
            self.intake.cancelled.fetch_add(1, Ordering::Release);
        }
    }

    fn account(&mut self, event: Option<TokenEvent>) -> TokenEvent {
        let event = event.unwrap_or_else(|| self.missing_end());
        match &event {
            TokenEvent::Prompt { .. } => {}
            TokenEvent::Tokens { index, tokens, cached } => {
                if let Some(Some(usage)) = self.open.get_mut(*index as usize) {
                    usage.generated += tokens.len();
                    usage.cached = *cached;
                }
            }
            TokenEvent::Finished { index, .. } => {
                let ended = self.open.get_mut(*index as usize).and_then(Option::take);
                self.num_open -= usize::from(ended.is_some());
            }
        }
        event
    }

    fn missing_end(&self) -> TokenEvent {
        let index = self.open.iter().position(Option::is_some).unwrap_or(0);
        let reason = if let Some(message) = self.intake.failure.get() {
            FinishReason::Error(Arc::clone(message))
        } else if self.aborted || self.intake.closed.load(Ordering::Acquire) {
            FinishReason::Abort
        } else {
            FinishReason::Error(Arc::from("the engine has stopped"))
        };
        TokenEvent::Finished {
            index: index as u32,
            reason,
            usage: self.open[index].unwrap_or_default(),
            timing: RequestTiming::default(),
        }
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        self.abort();
    }
}

//! Server-sent events.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_core::Stream;
use serde::Serialize;

use crate::{
    ApiError,
    generate::{Batch, Piece},
};

/// Events on their way to one client.
#[derive(Debug, Default)]
pub(crate) struct Events(String);

impl Events {
    /// Adds an event.
    pub(crate) fn push(&mut self, data: &impl Serialize) {
        match serde_json::to_string(data) {
            Ok(json) => self.push_text(&json),
            Err(error) => self.push(&ApiError::Internal(error.to_string()).body()),
        }
    }

    fn push_text(&mut self, data: &str) {
        self.0.push_str("data: ");
        self.0.push_str(data);
        self.0.push_str("\n\n");
    }
}

/// Writes the chunks of one kind of answer.
pub(crate) trait ChunkWriter: Send + Unpin + 'static {
    /// A piece of the prompt at `position` has come.
    fn piece(&mut self, batch: &Batch, position: usize, piece: Piece, events: &mut Events);

    /// All choices have ended.
    fn end(&mut self, batch: &Batch, events: &mut Events);
}

/// The body of a streamed answer. The client's disconnect drops it, and with it the batch.
struct EventStream<W> {
    /// `None` after the last event.
    batch: Option<Batch>,
    writer: W,
}

impl<W: ChunkWriter> Stream for EventStream<W> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { batch, writer } = self.get_mut();
        let Some(running) = batch else { return Poll::Ready(None) };
        let mut events = Events::default();
        match ready!(running.poll_next(context)) {
            Some(Ok((position, piece))) => writer.piece(running, position, piece, &mut events),
            ended => {
                match ended {
                    Some(Err(error)) => events.push(&error.body()),
                    _ => writer.end(running, &mut events),
                }
                events.push_text("[DONE]");
                *batch = None;
            }
        }
        Poll::Ready(Some(Ok(events.0.into())))
    }
}

/// A response that sends `batch` as it comes. An error ends the stream as an event, because the
/// status has been sent by then.
pub(crate) fn response(batch: Batch, writer: impl ChunkWriter) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(EventStream { batch: Some(batch), writer })).into_response()
}

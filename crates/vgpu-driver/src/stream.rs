//! Streams: what comes after what.

use crate::{
    fault,
    queue::{Op, OpId},
    state::{State, in_host_function, thread},
    status::{Result, Status},
    work::Work,
};

/// Handles that stand for default streams in every context (`cuda.h`).
const NULL_STREAM: usize = 0;
const LEGACY: usize = 1;
const PER_THREAD: usize = 2;

/// `CU_STREAM_NON_BLOCKING`.
pub(crate) const NON_BLOCKING: u32 = 1;

/// Least and greatest priority; a lower number goes first.
pub(crate) const PRIORITIES: (i32, i32) = (0, -5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The legacy default stream: waits for all blocking streams, and they for it.
    Legacy,
    /// A default stream of a thread, or one that was created without `CU_STREAM_NON_BLOCKING`.
    Blocking,
    NonBlocking,
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) context: usize,
    pub(crate) kind: Kind,
    pub(crate) priority: i32,
    /// What the next work comes after.
    pub(crate) tail: Vec<OpId>,
    /// The last work, if it is a kernel that lets its successor start early.
    early: Option<Early>,
    /// The capture that takes the stream's work.
    pub(crate) capture: Option<u64>,
    /// Whether the program may destroy it.
    created: bool,
}

/// A kernel with `griddepcontrol.launch_dependents`, and what it came after itself.
#[derive(Clone, Debug)]
struct Early {
    id: OpId,
    after: Vec<OpId>,
}

impl Stream {
    pub(crate) fn flags(&self) -> u32 {
        if self.kind == Kind::NonBlocking { NON_BLOCKING } else { 0 }
    }
}

impl State {
    pub(crate) fn create_legacy_stream(&mut self, context: usize) -> usize {
        self.insert_stream(context, Kind::Legacy, 0, false)
    }

    fn insert_stream(&mut self, context: usize, kind: Kind, priority: i32, created: bool) -> usize {
        let handle = self.new_handle();
        let stream = Stream {
            context,
            kind,
            priority,
            tail: Vec::new(),
            early: None,
            capture: None,
            created,
        };
        self.streams.insert(handle, stream);
        handle
    }

    pub(crate) fn create_stream(
        &mut self,
        context: usize,
        flags: u32,
        priority: i32,
    ) -> Result<usize> {
        let kind = match flags {
            0 => Kind::Blocking,
            NON_BLOCKING => Kind::NonBlocking,
            _ => return Err(Status::InvalidValue),
        };
        let priority = priority.clamp(PRIORITIES.1, PRIORITIES.0);
        Ok(self.insert_stream(context, kind, priority, true))
    }

    /// The stream that a handle stands for in a context.
    pub(crate) fn resolve(&mut self, context: usize, handle: usize) -> Result<usize> {
        match handle {
            NULL_STREAM | LEGACY => Ok(self.context(context)?.legacy),
            PER_THREAD => {
                let key = (context, thread());
                if let Some(stream) = self.of_threads.get(&key) {
                    return Ok(*stream);
                }
                let stream = self.insert_stream(context, Kind::Blocking, 0, false);
                self.of_threads.insert(key, stream);
                Ok(stream)
            }
            _ => {
                let stream = self.streams.get(&handle).ok_or(Status::InvalidHandle)?;
                if stream.context == context { Ok(handle) } else { Err(Status::InvalidHandle) }
            }
        }
    }

    pub(crate) fn stream(&self, key: usize) -> Result<&Stream> {
        self.streams.get(&key).ok_or(Status::InvalidHandle)
    }

    pub(crate) fn stream_mut(&mut self, key: usize) -> Result<&mut Stream> {
        self.streams.get_mut(&key).ok_or(Status::InvalidHandle)
    }

    /// Work that is submitted stays and is done; the handle is gone.
    pub(crate) fn destroy_stream(&mut self, handle: usize) -> Result<()> {
        let stream = self.stream(handle)?;
        if !stream.created {
            return Err(Status::InvalidHandle);
        }
        if let Some(capture) = stream.capture {
            self.invalidate(capture);
        }
        if self.stream(handle)?.kind == Kind::Blocking {
            // Later work of the legacy stream still comes after what is under way here.
            let (context, tail) = {
                let stream = self.stream(handle)?;
                (stream.context, stream.tail.clone())
            };
            let legacy = self.context(context)?.legacy;
            self.stream_mut(legacy)?.tail.extend(tail);
        }
        self.streams.remove(&handle);
        Ok(())
    }

    /// Gives work to a stream, or to the capture that the stream is part of.
    pub(crate) fn submit(&mut self, context: usize, stream: usize, work: Work) -> Result<()> {
        let key = self.resolve(context, stream)?;
        if let Some(capture) = self.stream(key)?.capture {
            return self.add_node(capture, key, work);
        }
        self.submit_at(key, work, &[]).map(|_| ())
    }

    /// As [`submit`](Self::submit) for a stream that does not capture, after `more` as well.
    pub(crate) fn submit_at(&mut self, key: usize, work: Work, more: &[OpId]) -> Result<OpId> {
        let mut after = self.order_before(key)?;
        after.extend_from_slice(more);
        let context = self.stream(key)?.context;
        let mut tail = Vec::new();
        let mut triggers = false;
        if let Work::Launch(call) = &work {
            triggers = call.triggers;
            if let Some(early) = self.stream(key)?.early.clone().filter(|_| call.overlaps) {
                // Nothing that the kernel does comes after what the one before it wrote; what
                // follows comes after both.
                after.retain(|id| *id != early.id);
                after.extend(early.after);
                tail.push(early.id);
            }
        }
        let id = self.queue.push(Op { context, after: after.clone(), work });
        tail.push(id);
        let stream = self.stream_mut(key)?;
        stream.tail = tail;
        stream.early = triggers.then_some(Early { id, after });
        if self.queue.runs_at_once() {
            self.run_until(&[id]);
        }
        while self.queue.is_over_full() {
            self.run_one();
        }
        Ok(id)
    }

    /// Everything that the next work of a stream comes after.
    pub(crate) fn order_before(&mut self, key: usize) -> Result<Vec<OpId>> {
        let stream = self.stream(key)?;
        let mut after = stream.tail.clone();
        let context = stream.context;
        match stream.kind {
            Kind::NonBlocking => {}
            Kind::Blocking => {
                let legacy = self.context(context)?.legacy;
                after.extend_from_slice(&self.stream(legacy)?.tail);
            }
            Kind::Legacy => {
                self.forbid_implicit_order(context)?;
                for other in self.streams.values() {
                    if other.context == context && other.kind == Kind::Blocking {
                        after.extend_from_slice(&other.tail);
                    }
                }
            }
        }
        after.retain(|id| self.queue.is_pending(*id));
        Ok(after)
    }

    /// Runs work, in the chosen order, until all of `targets` have run.
    pub(crate) fn run_until(&mut self, targets: &[OpId]) {
        while targets.iter().any(|id| self.queue.is_pending(*id)) {
            self.run_one();
        }
    }

    /// Runs the work that goes next, if any waits.
    pub(crate) fn run_one(&mut self) {
        let Some(op) = self.queue.take_next() else { return };
        let failed = self.contexts.get(&op.context).is_none_or(|context| context.error.is_some());
        match &op.work {
            Work::Record { event, serial } => self.event_happened(*event, *serial),
            _ if failed => {}
            Work::HostCall(function) => in_host_function(|| function.call()),
            work => match work.run(&self.gpu) {
                Ok(None) => {}
                Ok(Some((kernel, report))) => {
                    self.counts.launched(&self.gpu.config().device, &kernel, &report);
                }
                Err(failure) => {
                    fault::print(&failure.report);
                    self.counts.fault();
                    if let Some(context) = self.contexts.get_mut(&op.context) {
                        context.error = Some(failure.status);
                    }
                }
            },
        }
    }

    /// Waits for a stream; gives the error that its context has then.
    pub(crate) fn synchronize(&mut self, context: usize, stream: usize) -> Result<()> {
        let key = self.resolve(context, stream)?;
        if let Some(capture) = self.stream(key)?.capture {
            self.invalidate(capture);
            return Err(Status::StreamCaptureUnsupported);
        }
        let after = self.order_before(key)?;
        self.run_until(&after);
        self.error_of(context)
    }

    pub(crate) fn error_of(&self, context: usize) -> Result<()> {
        match self.contexts.get(&context).and_then(|context| context.error) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits for everything of a context.
    pub(crate) fn synchronize_context(&mut self, context: usize) -> Result<()> {
        self.run_until(&self.queue.of(context));
        self.error_of(context)
    }
}

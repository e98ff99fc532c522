//! Events: points in a stream's order that other streams and the host wait for.

use std::time::Instant;

use crate::{
    queue::OpId,
    state::State,
    status::{Result, Status},
    work::Work,
};

/// `CU_EVENT_DISABLE_TIMING`; the others are `CU_EVENT_BLOCKING_SYNC` and `CU_EVENT_INTERPROCESS`.
const DISABLE_TIMING: u32 = 2;
const BLOCKING_SYNC: u32 = 1;

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) context: usize,
    flags: u32,
    /// Number of the last record; a record that happens later than a newer one counts for nothing.
    serial: u64,
    recorded: Recorded,
    /// When the last record happened.
    happened: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Recorded {
    Never,
    In(OpId),
    /// In a capture, after these nodes.
    Captured(u64, Vec<usize>),
}

impl State {
    pub(crate) fn create_event(&mut self, context: usize, flags: u32) -> Result<usize> {
        if flags & !(DISABLE_TIMING | BLOCKING_SYNC) != 0 {
            return Err(Status::InvalidValue);
        }
        let handle = self.new_handle();
        let recorded = Recorded::Never;
        let event = Event { context, flags, serial: 0, recorded, happened: None };
        self.events.insert(handle, event);
        Ok(handle)
    }

    fn event(&mut self, handle: usize) -> Result<&mut Event> {
        self.events.get_mut(&handle).ok_or(Status::InvalidHandle)
    }

    pub(crate) fn record(&mut self, context: usize, handle: usize, stream: usize) -> Result<()> {
        let key = self.resolve(context, stream)?;
        if self.event(handle)?.context != context {
            return Err(Status::InvalidHandle);
        }
        if let Some(capture) = self.stream(key)?.capture {
            let nodes = self.nodes_before(capture, key)?;
            self.event(handle)?.recorded = Recorded::Captured(capture, nodes);
            return Ok(());
        }
        let event = self.event(handle)?;
        event.serial += 1;
        event.happened = None;
        let serial = event.serial;
        let id = self.submit_at(key, Work::Record { event: handle, serial }, &[])?;
        self.event(handle)?.recorded = Recorded::In(id);
        Ok(())
    }

    /// Called when a record's turn in its stream has come.
    pub(crate) fn event_happened(&mut self, handle: usize, serial: u64) {
        if let Some(event) = self.events.get_mut(&handle)
            && event.serial == serial
        {
            event.happened = Some(Instant::now());
        }
    }

    /// Lets later work of a stream wait for an event's last record.
    pub(crate) fn wait(&mut self, context: usize, stream: usize, handle: usize) -> Result<()> {
        let key = self.resolve(context, stream)?;
        let recorded = self.event(handle)?.recorded.clone();
        let capture = self.stream(key)?.capture;
        match recorded {
            Recorded::Captured(of_event, nodes) => self.join_capture(key, of_event, &nodes),
            Recorded::Never | Recorded::In(_) if capture.is_some() => {
                // Work in a graph cannot come after work outside of it.
                if let Some(capture) = capture {
                    self.invalidate(capture);
                }
                Err(Status::StreamCaptureIsolation)
            }
            Recorded::Never => Ok(()),
            Recorded::In(id) => {
                if self.queue.is_pending(id) {
                    self.stream_mut(key)?.tail.push(id);
                }
                Ok(())
            }
        }
    }

    /// The work that completes an event, if any does and is not done.
    fn pending_of_event(&mut self, handle: usize) -> Result<Option<OpId>> {
        match self.event(handle)?.recorded.clone() {
            Recorded::Never => Ok(None),
            Recorded::In(id) => Ok(self.queue.is_pending(id).then_some(id)),
            Recorded::Captured(capture, _) => {
                self.invalidate(capture);
                Err(Status::CapturedEvent)
            }
        }
    }

    /// Whether an event's work is complete. Each question lets some work go on, so that a program
    /// that polls gets an end.
    pub(crate) fn query_event(&mut self, handle: usize) -> Result<()> {
        let pending = self.pending_of_event(handle)?;
        self.forbid_in_capture()?;
        if pending.is_some() {
            self.run_one();
        }
        let context = self.event(handle)?.context;
        match self.pending_of_event(handle)? {
            Some(_) => Err(Status::NotReady),
            None => self.error_of(context),
        }
    }

    pub(crate) fn synchronize_event(&mut self, handle: usize) -> Result<()> {
        let pending = self.pending_of_event(handle)?;
        self.forbid_in_capture()?;
        if let Some(id) = pending {
            self.run_until(&[id]);
        }
        let context = self.event(handle)?.context;
        self.error_of(context)
    }

    pub(crate) fn destroy_event(&mut self, handle: usize) -> Result<()> {
        self.events.remove(&handle).map(|_| ()).ok_or(Status::InvalidHandle)
    }

    /// Milliseconds between two events: of this computer, not of a device.
    pub(crate) fn elapsed(&mut self, start: usize, end: usize) -> Result<f32> {
        for event in [start, end] {
            let event = self.event(event)?;
            if event.flags & DISABLE_TIMING != 0 || event.recorded == Recorded::Never {
                return Err(Status::InvalidHandle);
            }
        }
        let first = self.time_of(start)?;
        let last = self.time_of(end)?;
        let milliseconds = match last.checked_duration_since(first) {
            Some(time) => time.as_secs_f64() * 1e3,
            None => -(first - last).as_secs_f64() * 1e3,
        };
        Ok(milliseconds as f32)
    }

    fn time_of(&mut self, handle: usize) -> Result<Instant> {
        let pending = self.pending_of_event(handle)?;
        match pending {
            Some(_) => Err(Status::NotReady),
            None => self.event(handle)?.happened.ok_or(Status::NotReady),
        }
    }
}

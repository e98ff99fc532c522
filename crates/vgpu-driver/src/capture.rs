//! Stream capture: work becomes nodes of a graph instead of running, under the rules of the CUDA
//! programming guide ("Stream Capture", with "Prohibited and Unhandled Operations").

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    graph::Node,
    state::{State, capture_mode, thread},
    status::{Result, Status},
    stream::Kind,
    work::Work,
};

/// Which calls of other threads a capture forbids (`CUstreamCaptureMode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureMode {
    Global = 0,
    ThreadLocal = 1,
    Relaxed = 2,
}

impl CaptureMode {
    pub(crate) fn from_code(code: i32) -> Result<Self> {
        match code {
            0 => Ok(Self::Global),
            1 => Ok(Self::ThreadLocal),
            2 => Ok(Self::Relaxed),
            _ => Err(Status::InvalidValue),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) context: usize,
    origin: usize,
    mode: CaptureMode,
    thread: u64,
    invalid: bool,
    nodes: Vec<Node>,
    /// For each stream that takes part: the nodes that its next node comes after.
    tails: BTreeMap<usize, Vec<usize>>,
}

/// `CUstreamCaptureStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaptureStatus {
    None = 0,
    Active = 1,
    Invalidated = 2,
}

impl State {
    pub(crate) fn begin_capture(
        &mut self,
        context: usize,
        stream: usize,
        mode: CaptureMode,
    ) -> Result<()> {
        let key = self.resolve(context, stream)?;
        let found = self.stream(key)?;
        if found.kind == Kind::Legacy {
            return Err(Status::StreamCaptureUnsupported);
        }
        if found.capture.is_some() {
            return Err(Status::IllegalState);
        }
        let id = self.new_handle() as u64;
        let capture = Capture {
            context,
            origin: key,
            mode,
            thread: thread(),
            invalid: false,
            nodes: Vec::new(),
            tails: BTreeMap::from([(key, Vec::new())]),
        };
        self.captures.insert(id, capture);
        self.stream_mut(key)?.capture = Some(id);
        Ok(())
    }

    /// Ends the capture that began in the stream and gives its graph.
    pub(crate) fn end_capture(&mut self, context: usize, stream: usize) -> Result<usize> {
        let key = self.resolve(context, stream)?;
        let id = self.stream(key)?.capture.ok_or(Status::IllegalState)?;
        let capture = self.captures.get(&id).ok_or(Status::IllegalState)?;
        if capture.origin != key {
            self.invalidate(id);
            return Err(Status::StreamCaptureUnmatched);
        }
        if capture.mode != CaptureMode::Relaxed && capture.thread != thread() {
            return Err(Status::StreamCaptureWrongThread);
        }
        let capture = self.captures.remove(&id).ok_or(Status::IllegalState)?;
        for stream in self.streams.values_mut() {
            if stream.capture == Some(id) {
                stream.capture = None;
            }
        }
        if capture.invalid {
            return Err(Status::StreamCaptureInvalidated);
        }
        if !capture.is_joined() {
            return Err(Status::StreamCaptureUnjoined);
        }
        Ok(self.insert_captured(context, capture.nodes))
    }

    pub(crate) fn capture_status(
        &mut self,
        context: usize,
        stream: usize,
    ) -> Result<CaptureStatus> {
        let key = self.resolve(context, stream)?;
        let stream = self.stream(key)?;
        if stream.kind == Kind::Legacy {
            // Asking is itself an implicit dependency on streams that capture.
            self.forbid_implicit_order(context)?;
            return Ok(CaptureStatus::None);
        }
        Ok(match stream.capture.and_then(|id| self.captures.get(&id)) {
            None => CaptureStatus::None,
            Some(capture) if capture.invalid => CaptureStatus::Invalidated,
            Some(_) => CaptureStatus::Active,
        })
    }

    /// Adds a node after the stream's last ones.
    pub(crate) fn add_node(&mut self, id: u64, key: usize, work: Work) -> Result<()> {
        let after = self.nodes_before(id, key)?;
        let capture = self.captures.get_mut(&id).ok_or(Status::IllegalState)?;
        let node = capture.nodes.len();
        capture.nodes.push(Node { work, after });
        capture.tails.insert(key, vec![node]);
        Ok(())
    }

    /// Adds the nodes of a graph after the stream's last ones, as a child graph does.
    pub(crate) fn add_nodes(&mut self, id: u64, key: usize, nodes: &[Node]) -> Result<()> {
        let before = self.nodes_before(id, key)?;
        let capture = self.captures.get_mut(&id).ok_or(Status::IllegalState)?;
        let first = capture.nodes.len();
        for node in nodes {
            let mut after: Vec<usize> = node.after.iter().map(|index| first + index).collect();
            if after.is_empty() {
                after.clone_from(&before);
            }
            capture.nodes.push(Node { work: node.work.clone(), after });
        }
        let after = (first..capture.nodes.len()).collect();
        let join = capture.nodes.len();
        capture.nodes.push(Node { work: Work::Marker, after });
        capture.tails.insert(key, vec![join]);
        Ok(())
    }

    /// The nodes that the next node of a stream comes after.
    pub(crate) fn nodes_before(&self, id: u64, key: usize) -> Result<Vec<usize>> {
        let capture = self.captures.get(&id).ok_or(Status::IllegalState)?;
        if capture.invalid {
            return Err(Status::StreamCaptureInvalidated);
        }
        Ok(capture.tails.get(&key).cloned().unwrap_or_default())
    }

    /// A stream waits for an event that was recorded in a capture: it becomes part of it.
    pub(crate) fn join_capture(&mut self, key: usize, id: u64, nodes: &[usize]) -> Result<()> {
        if !self.captures.contains_key(&id) {
            // The capture has ended; its event stands for nothing that runs.
            return Err(Status::InvalidValue);
        }
        let stream = self.stream(key)?;
        match stream.capture {
            Some(own) if own != id => {
                self.invalidate(own);
                self.invalidate(id);
                return Err(Status::StreamCaptureMerge);
            }
            _ if stream.kind == Kind::Legacy => {
                self.invalidate(id);
                return Err(Status::StreamCaptureImplicit);
            }
            _ => {}
        }
        let mut tail = self.nodes_before(id, key)?;
        tail.extend(nodes.iter().filter(|node| !tail.contains(node)).copied().collect::<Vec<_>>());
        self.stream_mut(key)?.capture = Some(id);
        if let Some(capture) = self.captures.get_mut(&id) {
            capture.tails.insert(key, tail);
        }
        Ok(())
    }

    pub(crate) fn invalidate(&mut self, id: u64) {
        if let Some(capture) = self.captures.get_mut(&id) {
            capture.invalid = true;
        }
    }

    /// The legacy stream waits for all blocking streams, which no graph can hold.
    pub(crate) fn forbid_implicit_order(&mut self, context: usize) -> Result<()> {
        let capturing: BTreeSet<u64> = self
            .streams
            .values()
            .filter(|stream| stream.context == context && stream.kind == Kind::Blocking)
            .filter_map(|stream| stream.capture)
            .collect();
        if capturing.is_empty() {
            return Ok(());
        }
        for id in capturing {
            self.invalidate(id);
        }
        Err(Status::StreamCaptureImplicit)
    }

    /// For calls that may wait for work that a capture holds back, such as allocations: refused
    /// where the modes of the capture and of the thread say so.
    pub(crate) fn forbid_in_capture(&mut self) -> Result<()> {
        let own = capture_mode().get();
        let concerned: Vec<u64> = self
            .captures
            .iter()
            .filter(|(_, capture)| match own {
                CaptureMode::Relaxed => false,
                CaptureMode::ThreadLocal => {
                    capture.thread == thread() && capture.mode != CaptureMode::Relaxed
                }
                CaptureMode::Global => {
                    capture.mode == CaptureMode::Global
                        || capture.thread == thread() && capture.mode != CaptureMode::Relaxed
                }
            })
            .map(|(id, _)| *id)
            .collect();
        if concerned.is_empty() {
            return Ok(());
        }
        for id in concerned {
            self.invalidate(id);
        }
        Err(Status::StreamCaptureUnsupported)
    }

    /// For calls that wait for everything of a context: refused while any of its streams captures.
    pub(crate) fn forbid_capture_in(&mut self, context: usize) -> Result<()> {
        let captures: Vec<u64> = self
            .captures
            .iter()
            .filter(|(_, capture)| capture.context == context)
            .map(|(id, _)| *id)
            .collect();
        if captures.is_empty() {
            return Ok(());
        }
        for id in captures {
            self.invalidate(id);
        }
        Err(Status::StreamCaptureUnsupported)
    }
}

impl Capture {
    /// Whether the origin comes after everything that other streams did.
    fn is_joined(&self) -> bool {
        let mut reached = vec![false; self.nodes.len()];
        let mut stack = self.tails.get(&self.origin).cloned().unwrap_or_default();
        while let Some(node) = stack.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                stack.extend_from_slice(&self.nodes[node].after);
            }
        }
        self.tails.values().flatten().all(|node| reached[*node])
    }
}

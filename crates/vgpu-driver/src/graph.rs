//! Graphs that a capture made: instantiated, updated, launched again and again.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use vgpu::{Gpu, Kind};

use crate::{
    queue::OpId,
    state::State,
    status::{Result, Status},
    work::Work,
};

/// `CUDA_GRAPH_INSTANTIATE_FLAG_*`.
const AUTO_FREE_ON_LAUNCH: u64 = 1;
const DEVICE_LAUNCH: u64 = 4;
const USE_NODE_PRIORITY: u64 = 8;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) work: Work,
    /// Indices of nodes of the same graph, all smaller than this one's.
    pub(crate) after: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) context: usize,
    nodes: Arc<[Node]>,
}

impl Graph {
    pub(crate) fn new(context: usize, nodes: Vec<Node>) -> Self {
        Self { context, nodes: nodes.into() }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

#[derive(Debug)]
pub(crate) struct GraphExec {
    pub(crate) context: usize,
    nodes: Arc<[Node]>,
    auto_free: bool,
    /// The end of the last launch: one at a time.
    last: Vec<OpId>,
}

/// Memory of an allocation node: its address is fixed when the node is made. It is taken for as
/// long as any graph names it, or the program has not freed what a launch allocated.
pub(crate) struct GraphMemory {
    gpu: Arc<Gpu>,
    address: u64,
}

impl Drop for GraphMemory {
    fn drop(&mut self) {
        if let Err(error) = self.gpu.memory().free(self.address) {
            crate::fault::print(&format!("memory of a graph: {error}"));
        }
    }
}

/// All memory of graphs.
#[derive(Default)]
pub(crate) struct GraphMemories {
    known: HashMap<u64, Weak<GraphMemory>>,
    /// Allocated by a launch and not freed.
    live: HashMap<u64, Arc<GraphMemory>>,
}

/// Why a graph does not fit an executable one (`CUgraphExecUpdateResult`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpdateResult {
    Success = 0,
    TopologyChanged = 2,
    NodeTypeChanged = 3,
    FunctionChanged = 4,
    NotSupported = 6,
}

impl State {
    /// Memory for an allocation node.
    pub(crate) fn graph_memory(&mut self, bytes: u64) -> Result<(u64, Arc<GraphMemory>)> {
        let address = self.allocate_on_device(bytes, Kind::Device)?;
        let memory = Arc::new(GraphMemory { gpu: Arc::clone(&self.gpu), address });
        self.graph_memories.known.retain(|_, memory| memory.strong_count() > 0);
        self.graph_memories.known.insert(address, Arc::downgrade(&memory));
        Ok((address, memory))
    }

    /// Memory of an allocation node that starts at an address.
    pub(crate) fn find_graph_memory(&self, address: u64) -> Option<Arc<GraphMemory>> {
        self.graph_memories.known.get(&address)?.upgrade()
    }

    /// Frees, outside of any graph, what a launch allocated; `None` if no graph has the address.
    pub(crate) fn free_graph_memory(&mut self, address: u64) -> Option<Result<()>> {
        self.find_graph_memory(address)?;
        let freed = self.graph_memories.live.remove(&address);
        Some(freed.map(|_| ()).ok_or(Status::InvalidValue))
    }

    pub(crate) fn instantiate(&mut self, graph: usize, flags: u64) -> Result<usize> {
        if flags & !(AUTO_FREE_ON_LAUNCH | DEVICE_LAUNCH | USE_NODE_PRIORITY) != 0
            || flags & DEVICE_LAUNCH != 0 && flags & AUTO_FREE_ON_LAUNCH != 0
        {
            return Err(Status::InvalidValue);
        }
        if flags & DEVICE_LAUNCH != 0 {
            return Err(Status::NotSupported);
        }
        let graph = self.graphs.get(&graph).ok_or(Status::InvalidValue)?;
        let exec = GraphExec {
            context: graph.context,
            nodes: Arc::clone(&graph.nodes),
            auto_free: flags & AUTO_FREE_ON_LAUNCH != 0,
            last: Vec::new(),
        };
        if exec.allocates() && self.graph_execs.values().any(|other| other.shares_memory(&exec)) {
            // Two executable graphs cannot own one allocation.
            return Err(Status::NotSupported);
        }
        let handle = self.new_handle();
        self.graph_execs.insert(handle, exec);
        Ok(handle)
    }

    pub(crate) fn launch_graph(
        &mut self,
        context: usize,
        exec: usize,
        stream: usize,
    ) -> Result<()> {
        let found = self.graph_execs.get(&exec).ok_or(Status::InvalidHandle)?;
        let nodes = Arc::clone(&found.nodes);
        let allocates = found.allocates();
        let key = self.resolve(context, stream)?;
        if let Some(capture) = self.stream(key)?.capture {
            if allocates {
                // A child graph may not own memory.
                return Err(Status::NotSupported);
            }
            return self.add_nodes(capture, key, &nodes);
        }
        self.take_graph_memory(exec)?;
        let mut before = self.order_before(key)?;
        before.extend_from_slice(&self.graph_execs.get(&exec).ok_or(Status::InvalidHandle)?.last);
        let mut ids: Vec<OpId> = Vec::with_capacity(nodes.len());
        for node in &*nodes {
            let mut after: Vec<OpId> = node.after.iter().map(|index| ids[*index]).collect();
            if after.is_empty() {
                after.clone_from(&before);
            }
            let work = node.work.clone();
            ids.push(self.queue.push(crate::queue::Op { context, after, work }));
        }
        ids.extend(before);
        let end = self.submit_at(key, Work::Marker, &ids)?;
        if let Some(exec) = self.graph_execs.get_mut(&exec) {
            exec.last = vec![end];
        }
        Ok(())
    }

    /// Marks what a launch allocates and frees. What an earlier launch left must have been freed,
    /// unless the graph frees it by itself.
    fn take_graph_memory(&mut self, exec: usize) -> Result<()> {
        let exec = self.graph_execs.get(&exec).ok_or(Status::InvalidHandle)?;
        let live = &mut self.graph_memories.live;
        let mut allocated = exec.nodes.iter().filter_map(|node| match &node.work {
            Work::GraphAlloc(memory) => Some(memory),
            _ => None,
        });
        if !exec.auto_free && allocated.clone().any(|memory| live.contains_key(&memory.address)) {
            return Err(Status::InvalidValue);
        }
        allocated.by_ref().for_each(|memory| {
            live.insert(memory.address, Arc::clone(memory));
        });
        for node in &*exec.nodes {
            if let Work::GraphFree(memory) = &node.work {
                live.remove(&memory.address);
            }
        }
        Ok(())
    }

    /// Puts a graph's parameters into an executable one of the same shape.
    pub(crate) fn update(&mut self, exec: usize, graph: usize) -> Result<UpdateResult> {
        let nodes = Arc::clone(&self.graphs.get(&graph).ok_or(Status::InvalidValue)?.nodes);
        let exec = self.graph_execs.get_mut(&exec).ok_or(Status::InvalidHandle)?;
        let result = compare(&exec.nodes, &nodes);
        if result == UpdateResult::Success {
            exec.nodes = nodes;
        }
        Ok(result)
    }

    pub(crate) fn exec_flags(&self, exec: usize) -> Result<u64> {
        let exec = self.graph_execs.get(&exec).ok_or(Status::InvalidHandle)?;
        Ok(if exec.auto_free { AUTO_FREE_ON_LAUNCH } else { 0 })
    }

    pub(crate) fn destroy_graph(&mut self, graph: usize) -> Result<()> {
        self.graphs.remove(&graph).map(|_| ()).ok_or(Status::InvalidValue)
    }

    pub(crate) fn destroy_exec(&mut self, exec: usize) -> Result<()> {
        self.graph_execs.remove(&exec).map(|_| ()).ok_or(Status::InvalidHandle)
    }
}

impl GraphExec {
    fn memories(&self) -> impl Iterator<Item = u64> + '_ {
        self.nodes.iter().filter_map(|node| match &node.work {
            Work::GraphAlloc(memory) => Some(memory.address),
            _ => None,
        })
    }

    fn allocates(&self) -> bool {
        self.memories().next().is_some()
    }

    fn shares_memory(&self, other: &Self) -> bool {
        self.memories().any(|address| other.memories().any(|theirs| theirs == address))
    }
}

fn compare(old: &[Node], new: &[Node]) -> UpdateResult {
    if old.len() != new.len() {
        return UpdateResult::TopologyChanged;
    }
    for (old, new) in old.iter().zip(new) {
        if old.after != new.after {
            return UpdateResult::TopologyChanged;
        }
        if old.work.kind() != new.work.kind() {
            return UpdateResult::NodeTypeChanged;
        }
        match (&old.work, &new.work) {
            // A function of another context is what CUDA does not allow; one device has one.
            (Work::Launch(old), Work::Launch(new))
                if old.launch.cooperative != new.launch.cooperative =>
            {
                return UpdateResult::FunctionChanged;
            }
            (Work::GraphAlloc(_) | Work::GraphFree(_), _) => return UpdateResult::NotSupported,
            _ => {}
        }
    }
    UpdateResult::Success
}

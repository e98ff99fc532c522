//! Memory of allocation nodes: their addresses are fixed when the nodes are made, and accessible
//! from an allocation node on until what frees it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use vgpu::{Gpu, Kind, MemoryError};

use crate::{
    graph::{GraphExec, Node},
    state::State,
    status::{Result, Status},
    work::Work,
};

/// Memory of an allocation node. It is taken for as long as any graph names it, or the program has
/// not freed what a launch allocated.
pub(crate) struct GraphMemory {
    gpu: Arc<Gpu>,
    address: u64,
}

impl GraphMemory {
    /// The allocation node runs.
    pub(crate) fn begin(&self) -> std::result::Result<(), MemoryError> {
        self.gpu.memory().revive(self.address)
    }

    /// What frees it runs.
    pub(crate) fn end(&self) -> std::result::Result<(), MemoryError> {
        self.gpu.memory().park(self.address)
    }
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

impl State {
    /// Memory for an allocation node.
    pub(crate) fn graph_memory(&mut self, bytes: u64) -> Result<(u64, Arc<GraphMemory>)> {
        let address = self.allocate_on_device(bytes, Kind::Device)?;
        let memory = Arc::new(GraphMemory { gpu: Arc::clone(&self.gpu), address });
        memory.end().map_err(|_| Status::Unknown)?;
        self.graph_memories.known.retain(|_, memory| memory.strong_count() > 0);
        self.graph_memories.known.insert(address, Arc::downgrade(&memory));
        Ok((address, memory))
    }

    /// Memory of an allocation node that starts at an address.
    pub(crate) fn find_graph_memory(&self, address: u64) -> Option<Arc<GraphMemory>> {
        self.graph_memories.known.get(&address)?.upgrade()
    }

    /// Takes out, to be freed outside of any graph, what a launch allocated; `None` if no graph
    /// has the address.
    pub(crate) fn take_live(&mut self, address: u64) -> Option<Result<Arc<GraphMemory>>> {
        self.find_graph_memory(address)?;
        Some(self.graph_memories.live.remove(&address).ok_or(Status::InvalidValue))
    }

    /// Marks what a launch allocates and frees. What an earlier launch left must have been freed,
    /// unless the graph frees it by itself.
    pub(super) fn take_graph_memory(&mut self, exec: usize) -> Result<()> {
        let exec = self.graph_execs.get(&exec).ok_or(Status::InvalidHandle)?;
        let live = &mut self.graph_memories.live;
        if !exec.auto_free
            && allocated(&exec.nodes).any(|memory| live.contains_key(&memory.address))
        {
            return Err(Status::InvalidValue);
        }
        for memory in allocated(&exec.nodes) {
            live.insert(memory.address, Arc::clone(memory));
        }
        for node in &*exec.nodes {
            if let Work::GraphFree(memory) = &node.work {
                live.remove(&memory.address);
            }
        }
        Ok(())
    }
}

/// What the nodes allocate.
fn allocated(nodes: &[Node]) -> impl Iterator<Item = &Arc<GraphMemory>> {
    nodes.iter().filter_map(|node| match &node.work {
        Work::GraphAlloc(memory) => Some(memory),
        _ => None,
    })
}

impl GraphExec {
    pub(super) fn allocates(&self) -> bool {
        allocated(&self.nodes).next().is_some()
    }

    pub(super) fn shares_memory(&self, other: &Self) -> bool {
        allocated(&self.nodes)
            .any(|mine| allocated(&other.nodes).any(|theirs| theirs.address == mine.address))
    }
}

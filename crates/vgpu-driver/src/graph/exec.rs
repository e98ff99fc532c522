//! Executable graphs: instantiated, changed without changing their shape, launched again and again.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    graph::Node,
    queue::{Op, OpId},
    state::State,
    status::{Result, Status},
    work::Work,
};

/// `CUDA_GRAPH_INSTANTIATE_FLAG_*`.
const AUTO_FREE_ON_LAUNCH: u64 = 1;
const DEVICE_LAUNCH: u64 = 4;
const USE_NODE_PRIORITY: u64 = 8;

#[derive(Debug)]
pub(crate) struct GraphExec {
    pub(crate) context: usize,
    pub(super) nodes: Arc<[Node]>,
    /// The graph's node that each came from.
    origins: Vec<usize>,
    /// Nodes that do nothing for now.
    disabled: BTreeSet<usize>,
    pub(super) auto_free: bool,
    /// The end of the last launch: one at a time.
    last: Vec<OpId>,
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
    pub(crate) fn instantiate(&mut self, graph: usize, flags: u64) -> Result<usize> {
        if flags & !(AUTO_FREE_ON_LAUNCH | DEVICE_LAUNCH | USE_NODE_PRIORITY) != 0
            || flags & DEVICE_LAUNCH != 0 && flags & AUTO_FREE_ON_LAUNCH != 0
        {
            return Err(Status::InvalidValue);
        }
        if flags & DEVICE_LAUNCH != 0 {
            return Err(Status::NotSupported);
        }
        let graph = self.graph(graph)?;
        let (nodes, origins) = graph.ordered()?;
        let exec = GraphExec {
            context: graph.context,
            nodes: nodes.into(),
            origins,
            disabled: BTreeSet::new(),
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

    fn exec(&mut self, exec: usize) -> Result<&mut GraphExec> {
        self.graph_execs.get_mut(&exec).ok_or(Status::InvalidHandle)
    }

    pub(crate) fn launch_graph(
        &mut self,
        context: usize,
        exec: usize,
        stream: usize,
    ) -> Result<()> {
        let found = self.exec(exec)?;
        let nodes = found.enabled_nodes();
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
        before.extend_from_slice(&self.exec(exec)?.last);
        let mut ids: Vec<OpId> = Vec::with_capacity(nodes.len());
        for node in &*nodes {
            let mut after: Vec<OpId> = node.after.iter().map(|index| ids[*index]).collect();
            if after.is_empty() {
                after.clone_from(&before);
            }
            let work = node.work.clone();
            ids.push(self.queue.push(Op { context, after, work }));
        }
        ids.extend(before);
        let end = self.submit_at(key, Work::Marker, &ids)?;
        self.exec(exec)?.last = vec![end];
        Ok(())
    }

    /// Puts a graph's parameters into an executable one of the same shape. Gives the graph's node
    /// that does not fit, too.
    pub(crate) fn update(&mut self, exec: usize, graph: usize) -> Result<(UpdateResult, usize)> {
        let (nodes, origins) = self.graph(graph)?.ordered()?;
        let exec = self.exec(exec)?;
        let (result, misfit) = compare(&exec.nodes, &nodes);
        if result == UpdateResult::Success {
            exec.nodes = nodes.into();
        }
        Ok((result, misfit.map_or(0, |index| origins[index])))
    }

    /// Gives a node of an executable graph other work of the same shape.
    pub(crate) fn set_exec_work(&mut self, exec: usize, node: usize, work: Work) -> Result<()> {
        let exec = self.exec(exec)?;
        let index = exec.index_of(node)?;
        if !exec.nodes[index].work.fits(&work) {
            return Err(Status::InvalidValue);
        }
        let mut nodes = exec.nodes.to_vec();
        nodes[index].work = work;
        exec.nodes = nodes.into();
        Ok(())
    }

    /// Lets a kernel, copy or fill of an executable graph do nothing, or its work again.
    pub(crate) fn enable_node(&mut self, exec: usize, node: usize, enabled: bool) -> Result<()> {
        let exec = self.exec(exec)?;
        let index = exec.index_of(node)?;
        if !matches!(
            exec.nodes[index].work,
            Work::Launch(_) | Work::Copy { .. } | Work::Fill { .. }
        ) {
            return Err(Status::InvalidValue);
        }
        if enabled {
            exec.disabled.remove(&index);
        } else {
            exec.disabled.insert(index);
        }
        Ok(())
    }

    pub(crate) fn is_enabled(&mut self, exec: usize, node: usize) -> Result<bool> {
        let exec = self.exec(exec)?;
        let index = exec.index_of(node)?;
        Ok(!exec.disabled.contains(&index))
    }

    pub(crate) fn exec_flags(&mut self, exec: usize) -> Result<u64> {
        Ok(if self.exec(exec)?.auto_free { AUTO_FREE_ON_LAUNCH } else { 0 })
    }

    pub(crate) fn destroy_exec(&mut self, exec: usize) -> Result<()> {
        self.graph_execs.remove(&exec).map(|_| ()).ok_or(Status::InvalidHandle)
    }
}

impl GraphExec {
    fn index_of(&self, node: usize) -> Result<usize> {
        self.origins.iter().position(|origin| *origin == node).ok_or(Status::InvalidValue)
    }

    fn enabled_nodes(&self) -> Arc<[Node]> {
        if self.disabled.is_empty() {
            return Arc::clone(&self.nodes);
        }
        let mut nodes = self.nodes.to_vec();
        for index in &self.disabled {
            nodes[*index].work = Work::Marker;
        }
        nodes.into()
    }
}

/// Whether nodes of an executable graph can become others, and the first that cannot.
fn compare(old: &[Node], new: &[Node]) -> (UpdateResult, Option<usize>) {
    if old.len() != new.len() {
        return (UpdateResult::TopologyChanged, None);
    }
    for (index, (old, new)) in old.iter().zip(new).enumerate() {
        let result = if old.after != new.after {
            UpdateResult::TopologyChanged
        } else if old.work.kind() != new.work.kind() {
            UpdateResult::NodeTypeChanged
        } else {
            match (&old.work, &new.work) {
                // A function of another context is what CUDA does not allow; one device has one.
                (Work::Launch(old), Work::Launch(new))
                    if old.launch.cooperative != new.launch.cooperative =>
                {
                    UpdateResult::FunctionChanged
                }
                (Work::GraphAlloc(_) | Work::GraphFree(_), _) => UpdateResult::NotSupported,
                _ => continue,
            }
        };
        return (result, Some(index));
    }
    (UpdateResult::Success, None)
}

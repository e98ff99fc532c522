//! Graphs: nodes, and which come after which. Captures make them, or the program node by node.

mod exec;
mod memory;
mod parameters;

use std::collections::{BTreeSet, HashMap, VecDeque};

pub(crate) use exec::{GraphExec, UpdateResult};
pub(crate) use memory::{GraphMemories, GraphMemory};
pub(crate) use parameters::{CopyParameters, FillParameters, HostParameters, KernelParameters};

use crate::{
    state::State,
    status::{Result, Status},
    work::Work,
};

/// A node among others in an order in which they could run.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) work: Work,
    /// Indices of nodes of the same graph, all smaller than this one's.
    pub(crate) after: Vec<usize>,
}

/// A node that the program knows by its handle.
#[derive(Clone, Debug)]
pub(crate) struct GraphNode {
    handle: usize,
    pub(crate) work: Work,
    /// Handles of the nodes that it comes after.
    pub(crate) after: Vec<usize>,
    /// The node that it is a clone of.
    original: Option<usize>,
    /// Addresses of a kernel's parameters, once the program has asked for them.
    pub(crate) parameters: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) context: usize,
    nodes: Vec<GraphNode>,
}

impl Graph {
    pub(crate) fn handles(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.handle).collect()
    }

    /// Nodes that come after none.
    pub(crate) fn roots(&self) -> Vec<usize> {
        let roots = self.nodes.iter().filter(|node| node.after.is_empty());
        roots.map(|node| node.handle).collect()
    }

    /// Each node with one that comes after it.
    pub(crate) fn edges(&self) -> Vec<(usize, usize)> {
        let edges = |node: &GraphNode| {
            let handle = node.handle;
            node.after.clone().into_iter().map(move |before| (before, handle))
        };
        self.nodes.iter().flat_map(edges).collect()
    }

    /// The nodes in an order in which they could run, the oldest that can go first, and their
    /// handles. Fails if some wait for each other.
    fn ordered(&self) -> Result<(Vec<Node>, Vec<usize>)> {
        let mut nodes: Vec<Node> = Vec::with_capacity(self.nodes.len());
        let mut handles: Vec<usize> = Vec::with_capacity(self.nodes.len());
        let mut places: HashMap<usize, usize> = HashMap::new();
        let mut rest: VecDeque<&GraphNode> = self.nodes.iter().collect();
        while !rest.is_empty() {
            let ready = |node: &&GraphNode| node.after.iter().all(|n| places.contains_key(n));
            let next = rest.iter().position(ready).ok_or(Status::InvalidValue)?;
            let Some(node) = rest.remove(next) else { break };
            let mut after: Vec<usize> = node.after.iter().map(|before| places[before]).collect();
            after.sort_unstable();
            places.insert(node.handle, nodes.len());
            nodes.push(Node { work: node.work.clone(), after });
            handles.push(node.handle);
        }
        Ok((nodes, handles))
    }

    /// Graphs that own memory keep their shape.
    fn check_changeable(&self) -> Result<()> {
        let owns = |node: &GraphNode| matches!(node.work, Work::GraphAlloc(_) | Work::GraphFree(_));
        if self.nodes.iter().any(owns) { Err(Status::NotSupported) } else { Ok(()) }
    }

    fn node_mut(&mut self, handle: usize) -> Result<&mut GraphNode> {
        self.nodes.iter_mut().find(|node| node.handle == handle).ok_or(Status::InvalidValue)
    }

    fn has(&self, handle: usize) -> bool {
        self.nodes.iter().any(|node| node.handle == handle)
    }
}

impl State {
    pub(crate) fn graph(&self, graph: usize) -> Result<&Graph> {
        self.graphs.get(&graph).ok_or(Status::InvalidValue)
    }

    fn graph_mut(&mut self, graph: usize) -> Result<&mut Graph> {
        self.graphs.get_mut(&graph).ok_or(Status::InvalidValue)
    }

    pub(crate) fn create_graph(&mut self, context: usize) -> usize {
        let handle = self.new_handle();
        self.graphs.insert(handle, Graph { context, nodes: Vec::new() });
        handle
    }

    /// The graph that a capture has made.
    pub(crate) fn insert_captured(&mut self, context: usize, nodes: Vec<Node>) -> usize {
        let graph = self.create_graph(context);
        let handles: Vec<usize> = nodes.iter().map(|_| self.new_handle()).collect();
        let nodes = nodes.into_iter().zip(&handles).map(|(node, &handle)| GraphNode {
            handle,
            work: node.work,
            after: node.after.iter().map(|index| handles[*index]).collect(),
            original: None,
            parameters: Vec::new(),
        });
        let nodes = nodes.collect();
        self.graphs.insert(graph, Graph { context, nodes });
        graph
    }

    pub(crate) fn add_graph_node(
        &mut self,
        graph: usize,
        after: &[usize],
        work: Work,
    ) -> Result<usize> {
        let found = self.graph(graph)?;
        let distinct: BTreeSet<&usize> = after.iter().collect();
        if distinct.len() != after.len() || !after.iter().all(|node| found.has(*node)) {
            return Err(Status::InvalidValue);
        }
        let handle = self.new_handle();
        let after = after.to_vec();
        let node = GraphNode { handle, work, after, original: None, parameters: Vec::new() };
        self.graph_mut(graph)?.nodes.push(node);
        Ok(handle)
    }

    fn graph_of(&self, node: usize) -> Result<usize> {
        let found = self.graphs.iter().find(|(_, graph)| graph.has(node));
        found.map(|(handle, _)| *handle).ok_or(Status::InvalidValue)
    }

    pub(crate) fn graph_node(&mut self, node: usize) -> Result<&mut GraphNode> {
        let graph = self.graph_of(node)?;
        self.graph_mut(graph)?.node_mut(node)
    }

    /// Nodes that come after a node.
    pub(crate) fn dependents(&self, node: usize) -> Result<Vec<usize>> {
        let edges = self.graph(self.graph_of(node)?)?.edges();
        Ok(edges.into_iter().filter(|edge| edge.0 == node).map(|edge| edge.1).collect())
    }

    /// Gives a node other work of its kind.
    pub(crate) fn set_node_work(&mut self, node: usize, work: Work) -> Result<()> {
        let node = self.graph_node(node)?;
        if node.work.kind() != work.kind() {
            return Err(Status::InvalidValue);
        }
        node.work = work;
        node.parameters.clear();
        Ok(())
    }

    /// Adds what comes after what; all or nothing. Circles show when the graph is instantiated.
    pub(crate) fn add_edges(&mut self, graph: usize, edges: &[(usize, usize)]) -> Result<()> {
        let found = self.graph(graph)?;
        let mut all: BTreeSet<(usize, usize)> = found.edges().into_iter().collect();
        let fits = |&(from, to): &(usize, usize)| {
            from != to && found.has(from) && found.has(to) && all.insert((from, to))
        };
        if !edges.iter().all(fits) {
            return Err(Status::InvalidValue);
        }
        let graph = self.graph_mut(graph)?;
        for &(from, to) in edges {
            graph.node_mut(to)?.after.push(from);
        }
        Ok(())
    }

    pub(crate) fn remove_edges(&mut self, graph: usize, edges: &[(usize, usize)]) -> Result<()> {
        let graph = self.graph_mut(graph)?;
        graph.check_changeable()?;
        let mut all: BTreeSet<(usize, usize)> = graph.edges().into_iter().collect();
        if !edges.iter().all(|edge| all.remove(edge)) {
            return Err(Status::InvalidValue);
        }
        for &(from, to) in edges {
            graph.node_mut(to)?.after.retain(|before| *before != from);
        }
        Ok(())
    }

    pub(crate) fn destroy_node(&mut self, node: usize) -> Result<()> {
        let graph = self.graph_of(node)?;
        let graph = self.graph_mut(graph)?;
        graph.check_changeable()?;
        graph.nodes.retain(|other| other.handle != node);
        for other in &mut graph.nodes {
            other.after.retain(|before| *before != node);
        }
        Ok(())
    }

    pub(crate) fn clone_graph(&mut self, graph: usize) -> Result<usize> {
        let found = self.graph(graph)?;
        found.check_changeable()?;
        let (context, old) = (found.context, found.nodes.clone());
        let handles: Vec<usize> = old.iter().map(|_| self.new_handle()).collect();
        let renamed = |before: &usize| {
            let index = old.iter().position(|node| node.handle == *before);
            index.map_or(*before, |index| handles[index])
        };
        let nodes = old.iter().zip(&handles).map(|(node, &handle)| GraphNode {
            handle,
            work: node.work.clone(),
            after: node.after.iter().map(renamed).collect(),
            original: Some(node.handle),
            parameters: Vec::new(),
        });
        let nodes = nodes.collect();
        let clone = self.create_graph(context);
        self.graphs.insert(clone, Graph { context, nodes });
        Ok(clone)
    }

    /// The node of a clone that stands for a node of the graph that it was cloned from.
    pub(crate) fn find_in_clone(&self, original: usize, clone: usize) -> Result<usize> {
        let found = self.graph(clone)?.nodes.iter().find(|node| node.original == Some(original));
        found.map(|node| node.handle).ok_or(Status::InvalidValue)
    }

    pub(crate) fn destroy_graph(&mut self, graph: usize) -> Result<()> {
        self.graphs.remove(&graph).map(|_| ()).ok_or(Status::InvalidValue)
    }
}

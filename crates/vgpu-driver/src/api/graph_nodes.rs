//! Graphs node by node: nodes, what each does, and what comes after what.

use std::ffi::{c_int, c_uint};

use crate::{
    graph::{CopyParameters, FillParameters, HostParameters, KernelParameters},
    pointer::{In, Out},
    state::{State, call_in_context},
    status::{Result, Status},
    work::Work,
};

/// What a new node comes after.
fn dependencies(list: In<usize>, count: usize) -> Result<Vec<usize>> {
    (0..count).map(|index| list.at(index)).collect()
}

/// Gives a list as far as the caller has room, or its length if it has no place for a list.
fn give(list: &[usize], to: Out<usize>, count: Out<usize>) -> Result<()> {
    if to.is_null() {
        return count.set(list.len());
    }
    let room = count.input().get()?;
    for index in 0..room {
        to.set_at(index, list.get(index).copied().unwrap_or(0))?;
    }
    count.set(list.len().min(room))
}

/// `CUgraphEdgeData`: which parts of two nodes an edge joins. There are only whole nodes here.
type EdgeData = [u8; 8];

/// As [`give`], with the data of as many edges.
fn give_edges(
    list: &[usize],
    to: Out<usize>,
    data: Out<EdgeData>,
    count: Out<usize>,
) -> Result<()> {
    give(list, to, count)?;
    if !data.is_null() && !to.is_null() {
        for index in 0..count.input().get()? {
            data.set_at(index, EdgeData::default())?;
        }
    }
    Ok(())
}

/// The edges that a caller lists.
fn edges(
    from: In<usize>,
    to: In<usize>,
    data: In<EdgeData>,
    count: usize,
) -> Result<Vec<(usize, usize)>> {
    let whole = |index| Ok(data.is_null() || data.at(index)? == EdgeData::default());
    (0..count)
        .map(|index| {
            if whole(index)? {
                Ok((from.at(index)?, to.at(index)?))
            } else {
                Err(Status::NotSupported)
            }
        })
        .collect()
}

/// Adds a node whose work comes from what the caller passes.
fn add(
    name: &'static str,
    (node, graph): (Out<usize>, usize),
    (after, count): (In<usize>, usize),
    work: impl FnOnce(&mut State, usize) -> Result<Work>,
) -> c_int {
    call_in_context(name, |state, context| {
        let after = dependencies(after, count)?;
        state.graph(graph)?;
        let work = work(state, context)?;
        node.set(state.add_graph_node(graph, &after, work)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddKernelNode_v2(
    node: Out<usize>,
    graph: usize,
    after: In<usize>,
    count: usize,
    parameters: In<KernelParameters>,
) -> c_int {
    add("cuGraphAddKernelNode_v2", (node, graph), (after, count), |state, context| {
        parameters.get()?.work(state, context)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddMemcpyNode(
    node: Out<usize>,
    graph: usize,
    after: In<usize>,
    count: usize,
    parameters: In<CopyParameters>,
    context: usize,
) -> c_int {
    add("cuGraphAddMemcpyNode", (node, graph), (after, count), |state, _| {
        state.context(context)?;
        parameters.get()?.work(state)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddMemsetNode(
    node: Out<usize>,
    graph: usize,
    after: In<usize>,
    count: usize,
    parameters: In<FillParameters>,
    context: usize,
) -> c_int {
    add("cuGraphAddMemsetNode", (node, graph), (after, count), |state, _| {
        state.context(context)?;
        parameters.get()?.work(state)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddHostNode(
    node: Out<usize>,
    graph: usize,
    after: In<usize>,
    count: usize,
    parameters: In<HostParameters>,
) -> c_int {
    add("cuGraphAddHostNode", (node, graph), (after, count), |_, _| parameters.get()?.work())
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddEmptyNode(
    node: Out<usize>,
    graph: usize,
    after: In<usize>,
    count: usize,
) -> c_int {
    add("cuGraphAddEmptyNode", (node, graph), (after, count), |_, _| Ok(Work::Marker))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddDependencies_v2(
    graph: usize,
    from: In<usize>,
    to: In<usize>,
    data: In<EdgeData>,
    count: usize,
) -> c_int {
    call_in_context("cuGraphAddDependencies_v2", |state, _| {
        state.add_edges(graph, &edges(from, to, data, count)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphRemoveDependencies_v2(
    graph: usize,
    from: In<usize>,
    to: In<usize>,
    data: In<EdgeData>,
    count: usize,
) -> c_int {
    call_in_context("cuGraphRemoveDependencies_v2", |state, _| {
        state.remove_edges(graph, &edges(from, to, data, count)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroyNode(node: usize) -> c_int {
    call_in_context("cuGraphDestroyNode", |state, _| state.destroy_node(node))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeFindInClone(node: Out<usize>, original: usize, clone: usize) -> c_int {
    call_in_context("cuGraphNodeFindInClone", |state, _| {
        node.set(state.find_in_clone(original, clone)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphGetNodes(graph: usize, nodes: Out<usize>, count: Out<usize>) -> c_int {
    call_in_context("cuGraphGetNodes", |state, _| {
        give(&state.graph(graph)?.handles(), nodes, count)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphGetRootNodes(graph: usize, nodes: Out<usize>, count: Out<usize>) -> c_int {
    call_in_context("cuGraphGetRootNodes", |state, _| {
        give(&state.graph(graph)?.roots(), nodes, count)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphGetEdges_v2(
    graph: usize,
    from: Out<usize>,
    to: Out<usize>,
    data: Out<EdgeData>,
    count: Out<usize>,
) -> c_int {
    call_in_context("cuGraphGetEdges_v2", |state, _| {
        if from.is_null() != to.is_null() {
            return Err(Status::InvalidValue);
        }
        let (first, second): (Vec<usize>, Vec<usize>) =
            state.graph(graph)?.edges().into_iter().unzip();
        if !from.is_null() {
            for index in 0..count.input().get()? {
                from.set_at(index, first.get(index).copied().unwrap_or(0))?;
            }
        }
        give_edges(&second, to, data, count)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetDependencies_v2(
    node: usize,
    nodes: Out<usize>,
    data: Out<EdgeData>,
    count: Out<usize>,
) -> c_int {
    call_in_context("cuGraphNodeGetDependencies_v2", |state, _| {
        give_edges(&state.graph_node(node)?.after, nodes, data, count)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetDependentNodes_v2(
    node: usize,
    nodes: Out<usize>,
    data: Out<EdgeData>,
    count: Out<usize>,
) -> c_int {
    call_in_context("cuGraphNodeGetDependentNodes_v2", |state, _| {
        give_edges(&state.dependents(node)?, nodes, data, count)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetType(node: usize, kind: Out<c_int>) -> c_int {
    call_in_context("cuGraphNodeGetType", |state, _| {
        kind.set(state.graph_node(node)?.work.node_type())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeSetEnabled(exec: usize, node: usize, enabled: c_uint) -> c_int {
    call_in_context("cuGraphNodeSetEnabled", |state, _| state.enable_node(exec, node, enabled != 0))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetEnabled(exec: usize, node: usize, enabled: Out<c_uint>) -> c_int {
    call_in_context("cuGraphNodeGetEnabled", |state, _| {
        enabled.set(c_uint::from(state.is_enabled(exec, node)?))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphKernelNodeGetParams_v2(
    node: usize,
    parameters: Out<KernelParameters>,
) -> c_int {
    call_in_context("cuGraphKernelNodeGetParams_v2", |state, context| {
        parameters.set(KernelParameters::of(state.graph_node(node)?, context)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphKernelNodeSetParams_v2(
    node: usize,
    parameters: In<KernelParameters>,
) -> c_int {
    call_in_context("cuGraphKernelNodeSetParams_v2", |state, context| {
        let work = parameters.get()?.work(state, context)?;
        state.set_node_work(node, work)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecKernelNodeSetParams_v2(
    exec: usize,
    node: usize,
    parameters: In<KernelParameters>,
) -> c_int {
    call_in_context("cuGraphExecKernelNodeSetParams_v2", |state, context| {
        let work = parameters.get()?.work(state, context)?;
        state.set_exec_work(exec, node, work)
    })
}

/// The three calls for the parameters of a kind of node: those of a graph's node to read and to
/// set, and those of an executable graph's to set, which for copies and fills names a context.
macro_rules! parameters {
    ($type:ty, $get:ident, $set:ident, $exec_set:ident $(, $context:ident)?; $work:expr) => {
        #[unsafe(no_mangle)]
        extern "C" fn $get(node: usize, parameters: Out<$type>) -> c_int {
            call_in_context(stringify!($get), |state, _| {
                parameters.set(<$type>::of(&state.graph_node(node)?.work)?)
            })
        }

        #[unsafe(no_mangle)]
        extern "C" fn $set(node: usize, parameters: In<$type>) -> c_int {
            call_in_context(stringify!($set), |state, _| {
                let work = $work(parameters.get()?, state)?;
                state.set_node_work(node, work)
            })
        }

        #[unsafe(no_mangle)]
        extern "C" fn $exec_set(
            exec: usize,
            node: usize,
            parameters: In<$type>,
            $($context: usize,)?
        ) -> c_int {
            call_in_context(stringify!($exec_set), |state, _| {
                $(state.context($context)?;)?
                let work = $work(parameters.get()?, state)?;
                state.set_exec_work(exec, node, work)
            })
        }
    };
}

parameters!(
    CopyParameters,
    cuGraphMemcpyNodeGetParams,
    cuGraphMemcpyNodeSetParams,
    cuGraphExecMemcpyNodeSetParams,
    context;
    |parameters: CopyParameters, state: &mut State| parameters.work(state)
);

parameters!(
    FillParameters,
    cuGraphMemsetNodeGetParams,
    cuGraphMemsetNodeSetParams,
    cuGraphExecMemsetNodeSetParams,
    context;
    |parameters: FillParameters, state: &mut State| parameters.work(state)
);

parameters!(
    HostParameters,
    cuGraphHostNodeGetParams,
    cuGraphHostNodeSetParams,
    cuGraphExecHostNodeSetParams;
    |parameters: HostParameters, _: &mut State| parameters.work()
);

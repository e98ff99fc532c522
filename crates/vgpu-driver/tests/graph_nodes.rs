//! Graphs built node by node: what runs, in which order, and what is refused.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "calls of a C interface, with handles and places for results that each test makes"
)]

mod support;

use std::{
    ffi::c_void,
    ptr::{null, null_mut},
};

use cudarc::driver::sys::{
    self, CUDA_KERNEL_NODE_PARAMS as KernelNode, CUDA_MEMCPY3D as Copy3D,
    CUDA_MEMSET_NODE_PARAMS as FillNode, CUgraphNode as Node, CUgraphNodeType as Type,
    CUmemorytype as MemoryType,
};
use support::{
    Kernels, NON_BLOCKING, Scenario, context, gives, handle, launch, name, ok, out, read, stream,
    words,
};

const ORDERS: [&str; 5] = ["eager", "oldest", "newest", "random:1", "random:2"];

unsafe fn graph() -> sys::CUgraph {
    unsafe { handle(|to| sys::cuGraphCreate(to, 0)) }
}

/// Calls with what a kernel node of one thread is made of.
fn with_kernel<T>(
    function: sys::CUfunction,
    arguments: &mut [u64],
    call: impl FnOnce(&KernelNode) -> T,
) -> T {
    let mut pointers: Vec<*mut c_void> =
        arguments.iter_mut().map(|argument| (&raw mut *argument).cast()).collect();
    let mut node: KernelNode = unsafe { std::mem::zeroed() };
    node.func = function;
    (node.gridDimX, node.gridDimY, node.gridDimZ) = (1, 1, 1);
    (node.blockDimX, node.blockDimY, node.blockDimZ) = (1, 1, 1);
    node.kernelParams = pointers.as_mut_ptr();
    call(&node)
}

unsafe fn add_kernel(
    graph: sys::CUgraph,
    after: &[Node],
    function: sys::CUfunction,
    arguments: &mut [u64],
) -> Node {
    with_kernel(function, arguments, |node| unsafe {
        handle(|to| sys::cuGraphAddKernelNode_v2(to, graph, after.as_ptr(), after.len(), node))
    })
}

fn device_copy(to: u64, from: u64, bytes: usize) -> Copy3D {
    let mut copy = std::mem::MaybeUninit::<Copy3D>::zeroed();
    // Zero is no type of memory, so that those come before the rest is a value.
    let mut copy = unsafe {
        (*copy.as_mut_ptr()).srcMemoryType = MemoryType::CU_MEMORYTYPE_DEVICE;
        (*copy.as_mut_ptr()).dstMemoryType = MemoryType::CU_MEMORYTYPE_DEVICE;
        copy.assume_init()
    };
    (copy.srcDevice, copy.dstDevice) = (from, to);
    (copy.WidthInBytes, copy.Height, copy.Depth) = (bytes, 1, 1);
    copy
}

fn fill(to: u64, value: u32, count: usize) -> FillNode {
    FillNode { dst: to, pitch: 0, value, elementSize: 4, width: count, height: 1 }
}

unsafe fn instantiate(graph: sys::CUgraph) -> sys::CUgraphExec {
    unsafe { handle(|to| sys::cuGraphInstantiateWithFlags(to, graph, 0)) }
}

/// A list that a call gives: first its length, then its elements.
fn list(call: impl Fn(*mut Node, *mut usize) -> sys::CUresult) -> Vec<Node> {
    let mut count = out(|to| call(null_mut(), to));
    let mut nodes = vec![null_mut(); count];
    ok(call(nodes.as_mut_ptr(), &raw mut count));
    nodes
}

#[test]
fn every_kind_of_node_runs_after_what_it_depends_on() {
    extern "C" fn adds_three(word: *mut c_void) {
        // SAFETY: the argument is the pinned word of the test.
        unsafe { *word.cast::<u32>() += 3 };
    }
    for order in ORDERS {
        let scenario = Scenario::on_any_device("every_kind_of_node_runs_after_what_it_depends_on");
        scenario.with("VGPU_STREAMS", order).run(|| unsafe {
            let context = context();
            let copy_plus = Kernels::load().function("copy_plus");
            let lane = stream(NON_BLOCKING);
            let (a, b, c) = (words(&[0]), words(&[0]), words(&[0]));
            let pinned = handle(|to| sys::cuMemHostAlloc(to, 4, 0)).cast::<u32>();
            let graph = graph();
            // Made in an order that is not that of the work; the edges come last.
            let last = add_kernel(graph, &[], copy_plus, &mut [c, b, 100]);
            let mut out_of: Copy3D = device_copy(0, a, 4);
            out_of.dstMemoryType = MemoryType::CU_MEMORYTYPE_HOST;
            out_of.dstHost = pinned.cast();
            let to_host = handle(|to| {
                sys::cuGraphAddMemcpyNode(to, graph, null(), 0, &raw const out_of, context)
            });
            let host =
                sys::CUDA_HOST_NODE_PARAMS { fn_: Some(adds_three), userData: pinned.cast() };
            let on_host = handle(|to| {
                sys::cuGraphAddHostNode(to, graph, [to_host].as_ptr(), 1, &raw const host)
            });
            let mut into: Copy3D = device_copy(b, 0, 4);
            into.srcMemoryType = MemoryType::CU_MEMORYTYPE_HOST;
            into.srcHost = pinned.cast();
            let to_device = handle(|to| {
                let after = [on_host];
                sys::cuGraphAddMemcpyNode(to, graph, after.as_ptr(), 1, &raw const into, context)
            });
            let seven = fill(a, 7, 1);
            let first = handle(|to| {
                sys::cuGraphAddMemsetNode(to, graph, null(), 0, &raw const seven, context)
            });
            let joint = handle(|to| sys::cuGraphAddEmptyNode(to, graph, [to_device].as_ptr(), 1));
            let (from, to) = ([first, joint], [to_host, last]);
            ok(sys::cuGraphAddDependencies_v2(graph, from.as_ptr(), to.as_ptr(), null(), 2));
            let kinds = [last, to_host, on_host, first, joint].map(|node| {
                let mut kind = Type::CU_GRAPH_NODE_TYPE_GRAPH;
                ok(sys::cuGraphNodeGetType(node, &raw mut kind));
                kind
            });
            assert_eq!(
                kinds,
                [
                    Type::CU_GRAPH_NODE_TYPE_KERNEL,
                    Type::CU_GRAPH_NODE_TYPE_MEMCPY,
                    Type::CU_GRAPH_NODE_TYPE_HOST,
                    Type::CU_GRAPH_NODE_TYPE_MEMSET,
                    Type::CU_GRAPH_NODE_TYPE_EMPTY,
                ]
            );
            let exec = instantiate(graph);
            for _ in 0..2 {
                ok(sys::cuGraphLaunch(exec, lane));
            }
            ok(sys::cuStreamSynchronize(lane));
            assert_eq!((read(b, 1)[0], read(c, 1)[0]), (10, 110));
        });
    }
}

#[test]
fn nodes_and_edges_can_be_listed_changed_and_taken_away() {
    Scenario::on_any_device("nodes_and_edges_can_be_listed_changed_and_taken_away").run(
        || unsafe {
            context();
            let add_one = Kernels::load().function("add_one");
            let word = words(&[0]);
            let graph = graph();
            let a = add_kernel(graph, &[], add_one, &mut [word]);
            let b = add_kernel(graph, &[a], add_one, &mut [word]);
            let c = add_kernel(graph, &[a], add_one, &mut [word]);
            let d = add_kernel(graph, &[b, c], add_one, &mut [word]);
            assert_eq!(list(|to, count| sys::cuGraphGetNodes(graph, to, count)), [a, b, c, d]);
            assert_eq!(list(|to, count| sys::cuGraphGetRootNodes(graph, to, count)), [a]);
            let before = |node| {
                list(|to, count| sys::cuGraphNodeGetDependencies_v2(node, to, null_mut(), count))
            };
            let after = |node| {
                list(|to, count| sys::cuGraphNodeGetDependentNodes_v2(node, to, null_mut(), count))
            };
            assert_eq!((before(d), after(a)), (vec![b, c], vec![b, c]));
            let edges = || {
                let count =
                    |from, to, count| sys::cuGraphGetEdges_v2(graph, from, to, null_mut(), count);
                let mut length = out(|to| count(null_mut(), null_mut(), to));
                let (mut from, mut to) = (vec![null_mut(); length], vec![null_mut(); length]);
                ok(count(from.as_mut_ptr(), to.as_mut_ptr(), &raw mut length));
                from.into_iter().zip(to).collect::<Vec<_>>()
            };
            assert_eq!(edges(), [(a, b), (a, c), (b, d), (c, d)]);
            // A list that is longer than what there is ends in null.
            let mut room = [d; 6];
            let mut count = room.len();
            ok(sys::cuGraphGetNodes(graph, room.as_mut_ptr(), &raw mut count));
            assert_eq!((count, room), (4, [a, b, c, d, null_mut(), null_mut()]));
            let join = |from: Node, to: Node| {
                sys::cuGraphAddDependencies_v2(graph, [from].as_ptr(), [to].as_ptr(), null(), 1)
            };
            gives(join(a, b), "INVALID_VALUE");
            gives(join(a, a), "INVALID_VALUE");
            ok(sys::cuGraphRemoveDependencies_v2(graph, [b].as_ptr(), [d].as_ptr(), null(), 1));
            let again =
                sys::cuGraphRemoveDependencies_v2(graph, [b].as_ptr(), [d].as_ptr(), null(), 1);
            gives(again, "INVALID_VALUE");
            ok(sys::cuGraphDestroyNode(c));
            assert_eq!(edges(), [(a, b)]);
            assert_eq!(list(|to, count| sys::cuGraphGetRootNodes(graph, to, count)), [a, d]);
            gives(sys::cuGraphDestroyNode(c), "INVALID_VALUE");
        },
    );
}

#[test]
fn wrong_nodes_and_circles_are_refused() {
    Scenario::on_any_device("wrong_nodes_and_circles_are_refused").run(|| unsafe {
        let context = context();
        let add_one = Kernels::load().function("add_one");
        let word = words(&[0]);
        let (graph, other) = (graph(), graph());
        let a = add_kernel(graph, &[], add_one, &mut [word]);
        let foreign = add_kernel(other, &[], add_one, &mut [word]);
        let add = |after: &[Node], threads: u32| {
            with_kernel(add_one, &mut [word], |node| {
                let node = KernelNode { blockDimX: threads, ..*node };
                let (to, count) = (&mut null_mut(), after.len());
                name(sys::cuGraphAddKernelNode_v2(
                    to,
                    graph,
                    after.as_ptr(),
                    count,
                    &raw const node,
                ))
            })
        };
        assert_eq!(add(&[foreign], 1), "INVALID_VALUE");
        assert_eq!(add(&[a, a], 1), "INVALID_VALUE");
        assert_eq!(add(&[a], 2000), "INVALID_VALUE");
        let mut node = null_mut();
        let outside = fill(word, 1, 1000);
        let added =
            sys::cuGraphAddMemsetNode(&raw mut node, graph, null(), 0, &raw const outside, context);
        gives(added, "INVALID_VALUE");
        let rows = FillNode { height: 2, pitch: 8, ..fill(word, 1, 1) };
        let added =
            sys::cuGraphAddMemsetNode(&raw mut node, graph, null(), 0, &raw const rows, context);
        // Fills of several rows are legal on a GPU and not part of the virtual one.
        assert!(["CUDA_SUCCESS", "INVALID_VALUE", "NOT_SUPPORTED"].contains(&name(added).as_str()));
        let b = add_kernel(other, &[foreign], add_one, &mut [word]);
        ok(sys::cuGraphAddDependencies_v2(other, [b].as_ptr(), [foreign].as_ptr(), null(), 1));
        let mut exec = null_mut();
        let made = sys::cuGraphInstantiateWithFlags(&raw mut exec, other, 0);
        gives(made, "INVALID_VALUE");
        let mut parameters: sys::CUDA_GRAPH_INSTANTIATE_PARAMS = std::mem::zeroed();
        let made = sys::cuGraphInstantiateWithParams(&raw mut exec, other, &raw mut parameters);
        gives(made, "INVALID_VALUE");
        let invalid = sys::CUgraphInstantiateResult::CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
        assert_eq!(parameters.result_out, invalid);
        assert_eq!(read(word, 1), [0]);
    });
}

#[test]
fn parameters_are_read_back_and_changed_in_graphs_and_in_executable_ones() {
    let test = "parameters_are_read_back_and_changed_in_graphs_and_in_executable_ones";
    Scenario::on_any_device(test).run(|| unsafe {
        let context = context();
        let kernels = Kernels::load();
        let (add_one, copy_plus) = (kernels.function("add_one"), kernels.function("copy_plus"));
        let lane = stream(NON_BLOCKING);
        let (source, target) = (words(&[1, 50]), words(&[0, 0]));
        let graph = graph();
        let start = fill(target, 9, 2);
        let filled =
            handle(|to| sys::cuGraphAddMemsetNode(to, graph, null(), 0, &raw const start, context));
        let kernel = add_kernel(graph, &[filled], copy_plus, &mut [target, source, 10]);
        let mut found: KernelNode = std::mem::zeroed();
        ok(sys::cuGraphKernelNodeGetParams_v2(kernel, &raw mut found));
        assert_eq!((found.func, found.gridDimX, found.blockDimX), (copy_plus, 1, 1));
        let argument = |index: usize| found.kernelParams.add(index).read();
        assert_eq!(argument(0).cast::<u64>().read_unaligned(), target);
        assert_eq!(argument(2).cast::<u32>().read_unaligned(), 10);
        let mut back: FillNode = std::mem::zeroed();
        ok(sys::cuGraphMemsetNodeGetParams(filled, &raw mut back));
        assert_eq!((back.dst, back.value, back.width, back.elementSize), (target, 9, 2, 4));
        let exec = instantiate(graph);
        let launched = || {
            ok(sys::cuGraphLaunch(exec, lane));
            ok(sys::cuStreamSynchronize(lane));
            read(target, 2)
        };
        assert_eq!(launched(), [11, 9]);
        // A node of the graph changes what is instantiated later only.
        with_kernel(copy_plus, &mut [target, source, 30], |node| {
            ok(sys::cuGraphKernelNodeSetParams_v2(kernel, node));
        });
        assert_eq!(launched(), [11, 9]);
        let later = instantiate(graph);
        ok(sys::cuGraphLaunch(later, lane));
        ok(sys::cuStreamSynchronize(lane));
        assert_eq!(read(target, 2), [31, 9]);
        with_kernel(copy_plus, &mut [target + 4, source + 4, 20], |node| {
            ok(sys::cuGraphExecKernelNodeSetParams_v2(exec, kernel, node));
        });
        let other = fill(target, 8, 1);
        ok(sys::cuGraphExecMemsetNodeSetParams(exec, filled, &raw const other, context));
        ok(sys::cuMemsetD32Async(target, 0, 2, lane));
        assert_eq!(launched(), [8, 70]);
        // Another function, with other parameters.
        with_kernel(add_one, &mut [target], |node| {
            ok(sys::cuGraphExecKernelNodeSetParams_v2(exec, kernel, node));
            gives(sys::cuGraphExecKernelNodeSetParams_v2(exec, filled, node), "INVALID_VALUE");
        });
        assert_eq!(launched(), [9, 70]);
        ok(sys::cuGraphNodeSetEnabled(exec, kernel, 0));
        assert_eq!(out::<u32>(|to| sys::cuGraphNodeGetEnabled(exec, kernel, to)), 0);
        assert_eq!(launched(), [8, 70]);
        ok(sys::cuGraphNodeSetEnabled(exec, kernel, 1));
        assert_eq!(launched(), [9, 70]);
    });
}

#[test]
fn copies_in_executable_graphs_change_their_ends_but_not_the_kind_of_memory() {
    let test = "copies_in_executable_graphs_change_their_ends_but_not_the_kind_of_memory";
    Scenario::on_any_device(test).run(|| unsafe {
        let context = context();
        let lane = stream(NON_BLOCKING);
        let (source, target) = (words(&[1, 2, 3]), words(&[0, 0, 0]));
        let graph = graph();
        let mut copy = device_copy(target, source, 8);
        copy.srcXInBytes = 4;
        let node =
            handle(|to| sys::cuGraphAddMemcpyNode(to, graph, null(), 0, &raw const copy, context));
        let exec = instantiate(graph);
        ok(sys::cuGraphLaunch(exec, lane));
        ok(sys::cuStreamSynchronize(lane));
        assert_eq!(read(target, 3), [2, 3, 0]);
        let copy = device_copy(target + 8, source, 4);
        ok(sys::cuGraphExecMemcpyNodeSetParams(exec, node, &raw const copy, context));
        ok(sys::cuGraphLaunch(exec, lane));
        ok(sys::cuStreamSynchronize(lane));
        assert_eq!(read(target, 3), [2, 3, 1]);
        let pinned = handle(|to| sys::cuMemHostAlloc(to, 4, 0));
        let mut from_host = device_copy(target, 0, 4);
        from_host.srcMemoryType = MemoryType::CU_MEMORYTYPE_HOST;
        from_host.srcHost = pinned;
        let changed =
            sys::cuGraphExecMemcpyNodeSetParams(exec, node, &raw const from_host, context);
        gives(changed, "INVALID_VALUE");
    });
}

#[test]
fn a_clone_is_a_graph_of_its_own_whose_nodes_are_found() {
    Scenario::on_any_device("a_clone_is_a_graph_of_its_own_whose_nodes_are_found").run(|| unsafe {
        context();
        let copy_plus = Kernels::load().function("copy_plus");
        let lane = stream(NON_BLOCKING);
        let (source, target) = (words(&[1]), words(&[0]));
        let original = graph();
        let a = add_kernel(original, &[], copy_plus, &mut [target, source, 1]);
        let b = add_kernel(original, &[a], copy_plus, &mut [target, target, 10]);
        let clone = handle(|to| sys::cuGraphClone(to, original));
        let find = |node| handle(|to| sys::cuGraphNodeFindInClone(to, node, clone));
        let (in_clone, nodes) = (find(b), list(|to, count| sys::cuGraphGetNodes(clone, to, count)));
        assert_eq!(nodes, [find(a), in_clone]);
        assert!(!nodes.contains(&a) && !nodes.contains(&b));
        with_kernel(copy_plus, &mut [target, target, 100], |node| {
            ok(sys::cuGraphKernelNodeSetParams_v2(in_clone, node));
        });
        for (graph, result) in [(original, 12), (clone, 102)] {
            let exec = instantiate(graph);
            ok(sys::cuGraphLaunch(exec, lane));
            ok(sys::cuStreamSynchronize(lane));
            assert_eq!(read(target, 1), [result]);
        }
        ok(sys::cuGraphDestroyNode(in_clone));
        let mut missing = null_mut();
        gives(sys::cuGraphNodeFindInClone(&raw mut missing, b, clone), "INVALID_VALUE");
        ok(sys::cuGraphDestroy(original));
        assert_eq!(list(|to, count| sys::cuGraphGetNodes(clone, to, count)).len(), 1);
    });
}

#[test]
fn graphs_that_own_memory_keep_their_shape() {
    // NVIDIA's documentation says so, but not with which error.
    Scenario::new("graphs_that_own_memory_keep_their_shape").run(|| unsafe {
        context();
        let lane = stream(NON_BLOCKING);
        let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        ok(sys::cuStreamBeginCapture_v2(lane, relaxed));
        let own = out(|to| sys::cuMemAllocAsync(to, 4, lane));
        ok(sys::cuMemsetD32Async(own, 7, 1, lane));
        ok(sys::cuMemFreeAsync(own, lane));
        let captured = handle(|to| sys::cuStreamEndCapture(lane, to));
        let nodes = list(|to, count| sys::cuGraphGetNodes(captured, to, count));
        let kinds: Vec<Type> = nodes
            .iter()
            .map(|node| {
                let mut kind = Type::CU_GRAPH_NODE_TYPE_EMPTY;
                ok(sys::cuGraphNodeGetType(*node, &raw mut kind));
                kind
            })
            .collect();
        assert_eq!(
            kinds,
            [
                Type::CU_GRAPH_NODE_TYPE_MEM_ALLOC,
                Type::CU_GRAPH_NODE_TYPE_MEMSET,
                Type::CU_GRAPH_NODE_TYPE_MEM_FREE,
            ]
        );
        let mut clone = null_mut();
        gives(sys::cuGraphClone(&raw mut clone, captured), "NOT_SUPPORTED");
        gives(sys::cuGraphDestroyNode(nodes[1]), "NOT_SUPPORTED");
        let (from, to) = (&nodes[..1], &nodes[1..2]);
        let cut =
            sys::cuGraphRemoveDependencies_v2(captured, from.as_ptr(), to.as_ptr(), null(), 1);
        gives(cut, "NOT_SUPPORTED");
        let first = instantiate(captured);
        let mut second = null_mut();
        gives(sys::cuGraphInstantiateWithFlags(&raw mut second, captured, 0), "NOT_SUPPORTED");
        ok(sys::cuGraphExecDestroy(first));
        ok(sys::cuGraphExecDestroy(instantiate(captured)));
    });
}

#[test]
fn nodes_of_a_capture_can_be_read_and_changed_like_others() {
    Scenario::on_any_device("nodes_of_a_capture_can_be_read_and_changed_like_others").run(
        || unsafe {
            context();
            let copy_plus = Kernels::load().function("copy_plus");
            let lane = stream(NON_BLOCKING);
            let (source, target) = (words(&[1]), words(&[0]));
            let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
            ok(sys::cuStreamBeginCapture_v2(lane, relaxed));
            ok(sys::cuMemsetD32Async(target, 3, 1, lane));
            ok(launch(copy_plus, 1, 0, lane, &mut [target, target, 10]));
            let captured = handle(|to| sys::cuStreamEndCapture(lane, to));
            let nodes = list(|to, count| sys::cuGraphGetNodes(captured, to, count));
            let [filled, kernel] = nodes[..] else { panic!("{} nodes", nodes.len()) };
            assert_eq!(list(|to, count| sys::cuGraphGetRootNodes(captured, to, count)), [filled]);
            let exec = instantiate(captured);
            with_kernel(copy_plus, &mut [target, source, 40], |node| {
                ok(sys::cuGraphExecKernelNodeSetParams_v2(exec, kernel, node));
            });
            ok(sys::cuGraphLaunch(exec, lane));
            ok(sys::cuStreamSynchronize(lane));
            assert_eq!(read(target, 1), [41]);
            // A graph that is built by hand with the same shape updates it.
            let built = graph();
            let start = fill(target, 5, 1);
            let current = handle(|to| sys::cuCtxGetCurrent(to));
            let first = handle(|to| {
                sys::cuGraphAddMemsetNode(to, built, null(), 0, &raw const start, current)
            });
            add_kernel(built, &[first], copy_plus, &mut [target, target, 60]);
            let mut info: sys::CUgraphExecUpdateResultInfo = std::mem::zeroed();
            ok(sys::cuGraphExecUpdate_v2(exec, built, &raw mut info));
            ok(sys::cuGraphLaunch(exec, lane));
            ok(sys::cuStreamSynchronize(lane));
            assert_eq!(read(target, 1), [65]);
        },
    );
}

//! The C functions of the driver API, as `cuda.h` of CUDA 13.0 declares them.
//!
//! They take handles as integers and pointers as the types of [`crate::pointer`]; everything else
//! is in the modules that they call.

#![allow(non_snake_case, reason = "the names are those of cuda.h")]

mod context;
mod copy;
mod device;
mod event;
mod graph;
mod graph_nodes;
mod launch;
mod memory;
mod module;
mod stream;

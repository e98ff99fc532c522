//! Allocations of every kind, and the pools that asynchronous ones come from.

use std::collections::{BTreeMap, HashMap};

use vgpu::{Kind, MemoryError};

use crate::{
    fault,
    pointer::HostMemory,
    state::State,
    status::{Result, Status},
    work::{Place, Work},
};

/// An allocation that the program made.
#[derive(Clone, Copy, Debug)]
struct Allocation {
    context: usize,
    bytes: u64,
    kind: Kind,
    /// The pool, for asynchronous ones.
    pool: Option<usize>,
}

/// `CU_MEMPOOL_ATTR_*` that a program may set, and the counts that it may read.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) reuse: [i32; 3],
    pub(crate) release_threshold: u64,
    pub(crate) used: u64,
    pub(crate) used_high: u64,
    /// Whether the program made it and may destroy it.
    created: bool,
}

impl Pool {
    fn new(created: bool) -> Self {
        Self { reuse: [1; 3], release_threshold: 0, used: 0, used_high: 0, created }
    }
}

#[derive(Default)]
pub(crate) struct Allocations {
    live: BTreeMap<u64, Allocation>,
    pools: HashMap<usize, Pool>,
    default_pool: Option<usize>,
    current_pool: Option<usize>,
}

impl Allocations {
    /// Addresses and sizes of what a context still holds.
    pub(crate) fn of_context(&self, context: usize) -> Vec<(u64, u64)> {
        self.live
            .iter()
            .filter(|(_, allocation)| allocation.context == context)
            .map(|(address, allocation)| (*address, allocation.bytes))
            .collect()
    }

    pub(crate) fn all(&self) -> Vec<(u64, u64)> {
        self.live.iter().map(|(address, allocation)| (*address, allocation.bytes)).collect()
    }
}

impl State {
    /// Takes memory without noting an owner.
    pub(crate) fn allocate_on_device(&mut self, bytes: u64, kind: Kind) -> Result<u64> {
        self.gpu.memory().alloc(bytes, 256, kind).map_err(|error| match error {
            MemoryError::OutOfMemory { .. } => Status::OutOfMemory,
            _ => Status::InvalidValue,
        })
    }

    pub(crate) fn allocate(&mut self, context: usize, bytes: u64, kind: Kind) -> Result<u64> {
        self.forbid_in_capture()?;
        if bytes == 0 {
            return Err(Status::InvalidValue);
        }
        let address = self.allocate_on_device(bytes, kind)?;
        self.allocations.live.insert(address, Allocation { context, bytes, kind, pool: None });
        Ok(address)
    }

    /// Allocates in a stream's order; null for no bytes.
    pub(crate) fn allocate_async(
        &mut self,
        context: usize,
        bytes: u64,
        pool: Option<usize>,
        stream: usize,
    ) -> Result<u64> {
        let key = self.resolve(context, stream)?;
        if bytes == 0 {
            return Ok(0);
        }
        if let Some(capture) = self.stream(key)?.capture {
            self.nodes_before(capture, key)?;
            let (address, memory) = self.graph_memory(bytes)?;
            self.add_node(capture, key, Work::GraphAlloc(memory))?;
            return Ok(address);
        }
        let pool = match pool {
            Some(pool) => pool,
            None => self.current_pool(),
        };
        let address = self.allocate_on_device(bytes, Kind::Device)?;
        let account = self.pool(pool)?;
        account.used += bytes;
        account.used_high = account.used_high.max(account.used);
        let allocation = Allocation { context, bytes, kind: Kind::Device, pool: Some(pool) };
        self.allocations.live.insert(address, allocation);
        self.submit_at(key, Work::Marker, &[])?;
        Ok(address)
    }

    /// `cuMemFree`: waits for all work that might use the memory.
    pub(crate) fn free(&mut self, context: usize, address: u64) -> Result<()> {
        self.forbid_in_capture()?;
        if address == 0 {
            return Ok(());
        }
        if let Some(memory) = self.take_live(address) {
            let memory = memory?;
            self.synchronize_context(context)?;
            return memory.end().map_err(|_| Status::InvalidValue);
        }
        if !self.device_allocation(address) {
            return Err(self.bad_free("cuMemFree", address));
        }
        self.synchronize_context(context)?;
        self.forget(address);
        self.release(address)
    }

    pub(crate) fn free_async(&mut self, context: usize, address: u64, stream: usize) -> Result<()> {
        let key = self.resolve(context, stream)?;
        if address == 0 {
            return Ok(());
        }
        if let Some(capture) = self.stream(key)?.capture {
            // A free node can only free what an allocation node allocated.
            let memory = self.find_graph_memory(address).ok_or(Status::InvalidValue)?;
            return self.add_node(capture, key, Work::GraphFree(memory));
        }
        if let Some(memory) = self.take_live(address) {
            return self.submit_at(key, Work::GraphFree(memory?), &[]).map(|_| ());
        }
        if !self.device_allocation(address) {
            return Err(self.bad_free("cuMemFreeAsync", address));
        }
        self.forget(address);
        self.submit_at(key, Work::Free { address }, &[]).map(|_| ())
    }

    /// Frees pinned host memory, which waits like `cuMemFree`.
    pub(crate) fn free_host(&mut self, context: usize, address: u64) -> Result<()> {
        self.forbid_in_capture()?;
        let kind = self.allocations.live.get(&address).map(|allocation| allocation.kind);
        if kind != Some(Kind::Host) {
            return Err(self.bad_free("cuMemFreeHost", address));
        }
        self.synchronize_context(context)?;
        self.forget(address);
        self.release(address)
    }

    fn device_allocation(&self, address: u64) -> bool {
        let allocation = self.allocations.live.get(&address);
        allocation.is_some_and(|allocation| allocation.kind != Kind::Host)
    }

    fn bad_free(&mut self, call: &str, address: u64) -> Status {
        let why = if self.gpu.memory().was_freed(address) {
            "was freed already"
        } else if self.gpu.memory().find(address).is_some() {
            "does not start an allocation that this call frees"
        } else {
            "was never allocated"
        };
        fault::print(&format!("{call}: {address:#x} {why}"));
        self.counts.fault();
        Status::InvalidValue
    }

    fn forget(&mut self, address: u64) {
        let Some(allocation) = self.allocations.live.remove(&address) else { return };
        if let Some(pool) = allocation.pool.and_then(|pool| self.allocations.pools.get_mut(&pool)) {
            pool.used -= allocation.bytes;
        }
    }

    /// Gives memory back whose owner is gone.
    pub(crate) fn release(&mut self, address: u64) -> Result<()> {
        self.forget(address);
        self.gpu.memory().free(address).map_err(|_| Status::InvalidValue)
    }

    pub(crate) fn pool(&mut self, handle: usize) -> Result<&mut Pool> {
        self.allocations.pools.get_mut(&handle).ok_or(Status::InvalidValue)
    }

    pub(crate) fn create_pool(&mut self) -> usize {
        let handle = self.new_handle();
        self.allocations.pools.insert(handle, Pool::new(true));
        handle
    }

    pub(crate) fn destroy_pool(&mut self, handle: usize) -> Result<()> {
        if !self.pool(handle)?.created {
            return Err(Status::InvalidValue);
        }
        self.allocations.pools.remove(&handle);
        if self.allocations.current_pool == Some(handle) {
            self.allocations.current_pool = None;
        }
        Ok(())
    }

    pub(crate) fn default_pool(&mut self) -> usize {
        if let Some(pool) = self.allocations.default_pool {
            return pool;
        }
        let handle = self.new_handle();
        self.allocations.pools.insert(handle, Pool::new(false));
        self.allocations.default_pool = Some(handle);
        handle
    }

    pub(crate) fn current_pool(&mut self) -> usize {
        self.allocations.current_pool.unwrap_or_else(|| self.default_pool())
    }

    pub(crate) fn set_current_pool(&mut self, handle: usize) -> Result<()> {
        self.pool(handle)?;
        self.allocations.current_pool = Some(handle);
        Ok(())
    }

    /// Fails unless the range lies in one allocation, as a driver does before it queues a copy.
    /// Memory of a graph need not be allocated yet.
    pub(crate) fn check_range(&mut self, call: &str, address: u64, bytes: u64) -> Result<()> {
        if let Err(error) = self.gpu.memory().check_reserved(address, bytes) {
            fault::print(&format!("{call}: {error}"));
            self.counts.fault();
            return Err(Status::InvalidValue);
        }
        Ok(())
    }

    /// Whether host memory is pinned: copies then really are asynchronous.
    fn is_pinned(&self, memory: HostMemory) -> bool {
        let found = self.gpu.memory().find(memory.address());
        found.is_some_and(|allocation| matches!(allocation.kind, Kind::Host | Kind::Managed))
    }

    /// Copies to the device. Pageable memory is read before the call returns, except in a capture,
    /// whose graph reads it at each launch; pinned memory when the copy runs.
    pub(crate) fn copy_in(
        &mut self,
        context: usize,
        (to, from, bytes): (u64, HostMemory, usize),
        stream: usize,
    ) -> Result<()> {
        self.check_range("copy to the device", to, bytes as u64)?;
        let key = self.resolve(context, stream)?;
        let (pinned, captured) = (self.is_pinned(from), self.stream(key)?.capture.is_some());
        if captured && !pinned {
            say_pageable("reads");
        }
        let late = pinned || captured;
        let from =
            if late { Place::Host(from) } else { Place::Staged(from.snapshot(bytes)?.into()) };
        self.submit(context, stream, Work::Copy { to: Place::Device(to), from, bytes })
    }

    /// Copies from the device. Into pageable memory the call returns when the copy is done.
    pub(crate) fn copy_out(
        &mut self,
        context: usize,
        (to, from, bytes): (HostMemory, u64, usize),
        stream: usize,
    ) -> Result<()> {
        self.check_range("copy from the device", from, bytes as u64)?;
        let key = self.resolve(context, stream)?;
        let (pinned, captured) = (self.is_pinned(to), self.stream(key)?.capture.is_some());
        if captured && !pinned {
            say_pageable("writes");
        }
        let waits = !pinned && !captured;
        let work = Work::Copy { to: Place::Host(to), from: Place::Device(from), bytes };
        self.submit(context, stream, work)?;
        if waits { self.synchronize(context, stream) } else { Ok(()) }
    }

    pub(crate) fn copy_within(
        &mut self,
        context: usize,
        (to, from, bytes): (u64, u64, usize),
        stream: usize,
    ) -> Result<()> {
        self.check_range("copy within the device", from, bytes as u64)?;
        self.check_range("copy within the device", to, bytes as u64)?;
        let work = Work::Copy { to: Place::Device(to), from: Place::Device(from), bytes };
        self.submit(context, stream, work)
    }

    pub(crate) fn fill(
        &mut self,
        context: usize,
        address: u64,
        (pattern, count): (&[u8], u64),
        stream: usize,
    ) -> Result<()> {
        let work = self.fill_work(address, pattern, count)?;
        self.submit(context, stream, work)
    }

    pub(crate) fn fill_work(&mut self, address: u64, pattern: &[u8], count: u64) -> Result<Work> {
        if !address.is_multiple_of(pattern.len() as u64) {
            return Err(Status::InvalidValue);
        }
        self.check_range("memset", address, pattern.len() as u64 * count)?;
        Ok(Work::Fill { address, pattern: pattern.into(), count })
    }
}

/// NVIDIA does not say whether a capture takes a copy of pageable memory. This one does, and says
/// so, because the graph will use what lies there then.
fn say_pageable(what: &str) {
    fault::print(&format!("a captured copy {what} pageable memory at each launch of the graph"));
}

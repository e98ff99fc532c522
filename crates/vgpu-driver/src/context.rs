//! Contexts: which is current, and the error that sticks to one after a fault.

use crate::{
    fault,
    state::{State, current},
    status::{Result, Status},
};

#[derive(Debug, Default)]
pub(crate) struct Context {
    /// `cuDevicePrimaryCtxRetain` calls that are not released; 0 for other contexts.
    pub(crate) retained: u32,
    /// What a fault left; every call in the context gives it from then on.
    pub(crate) error: Option<Status>,
    /// Handle of the legacy default stream.
    pub(crate) legacy: usize,
    pub(crate) flags: u32,
}

impl State {
    /// The calling thread's context, if nothing has gone wrong in it.
    pub(crate) fn current_context(&self) -> Result<usize> {
        let handle = current(|stack| stack.last().copied()).ok_or(Status::InvalidContext)?;
        let context = self.contexts.get(&handle).ok_or(Status::ContextIsDestroyed)?;
        match context.error {
            Some(error) => Err(error),
            None => Ok(handle),
        }
    }

    pub(crate) fn context(&mut self, handle: usize) -> Result<&mut Context> {
        self.contexts.get_mut(&handle).ok_or(Status::InvalidContext)
    }

    pub(crate) fn create_context(&mut self, flags: u32) -> usize {
        let handle = self.new_handle();
        let legacy = self.create_legacy_stream(handle);
        self.contexts.insert(handle, Context { legacy, flags, ..Context::default() });
        handle
    }

    pub(crate) fn retain_primary(&mut self) -> Result<usize> {
        let handle = if let Some(handle) = self.primary {
            handle
        } else {
            let handle = self.create_context(0);
            self.primary = Some(handle);
            handle
        };
        self.context(handle)?.retained += 1;
        Ok(handle)
    }

    pub(crate) fn release_primary(&mut self) -> Result<()> {
        let handle = self.primary.ok_or(Status::InvalidContext)?;
        let context = self.context(handle)?;
        context.retained -= 1;
        if context.retained == 0 { self.reset_primary() } else { Ok(()) }
    }

    pub(crate) fn reset_primary(&mut self) -> Result<()> {
        match self.primary.take() {
            Some(handle) => self.destroy_context(handle),
            None => Ok(()),
        }
    }

    /// Ends a context: its work is finished, and what it holds is gone. Memory that the program
    /// did not free is named.
    pub(crate) fn destroy_context(&mut self, handle: usize) -> Result<()> {
        if !self.contexts.contains_key(&handle) {
            return Err(Status::InvalidContext);
        }
        self.run_until(&self.queue.of(handle));
        self.streams.retain(|_, stream| stream.context != handle);
        self.of_threads.retain(|(context, _), _| *context != handle);
        self.events.retain(|_, event| event.context != handle);
        self.functions.retain(|_, function| function.context != handle);
        self.modules.retain(|_, module| module.context != handle);
        self.graph_execs.retain(|_, graph| graph.context != handle);
        self.graphs.retain(|_, graph| graph.context != handle);
        self.captures.retain(|_, capture| capture.context != handle);
        let left = self.allocations.of_context(handle);
        if !left.is_empty() {
            let bytes: u64 = left.iter().map(|(_, bytes)| bytes).sum();
            let count = left.len();
            fault::print(&format!(
                "a context ends with {count} allocations of {bytes} bytes that were not freed"
            ));
            self.counts.leaked(&left);
        }
        for (address, _) in left {
            self.release(address)?;
        }
        self.contexts.remove(&handle);
        Ok(())
    }
}

//! Modules placed on a device, and their kernels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::PtxError;
use crate::memory::Memory;
use crate::program::Program;
use crate::ptx::ast;

/// One parameter of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the PTX.
    pub name: String,
    /// Where it starts in the parameter buffer.
    pub offset: usize,
    /// Its size in bytes.
    pub bytes: usize,
    /// Its alignment in bytes.
    pub align: usize,
}

/// A variable of a module in device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Global {
    /// Address of its first byte.
    pub address: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A kernel ready to be launched. Cheap to clone.
#[derive(Clone)]
pub struct Kernel {
    pub(crate) program: Arc<Program>,
    // Keeps the module's variables alive for as long as the kernel can run.
    _variables: Arc<Variables>,
}

impl Kernel {
    /// Name of the entry function.
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// Parameters in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.program.parameters
    }

    /// Bytes of the parameter buffer that a launch takes.
    pub fn parameter_bytes(&self) -> usize {
        self.program.parameter_bytes
    }

    /// Statically declared shared memory in bytes.
    pub fn static_shared_bytes(&self) -> u32 {
        self.program.static_shared
    }

    /// Local memory per thread in bytes, as the PTX declares it.
    pub fn local_bytes(&self) -> u32 {
        self.program.local_bytes
    }

    /// The CTA's largest size by `.maxntid`, as the product of its dimensions.
    pub fn max_threads(&self) -> Option<u32> {
        self.program.bounds.max_threads.map(|[x, y, z]| x * y * z)
    }

    /// The CTA's only size by `.reqntid`.
    pub fn required_threads(&self) -> Option<[u32; 3]> {
        self.program.bounds.required_threads
    }

    /// CTAs per SM that `.minnctapersm` asks for.
    pub fn min_blocks_per_multiprocessor(&self) -> Option<u32> {
        self.program.bounds.min_blocks
    }

    /// Registers per thread that `.maxnreg` allows.
    pub fn max_registers(&self) -> Option<u32> {
        self.program.bounds.max_registers
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Frees a module's variables when the last user goes.
pub(crate) struct Variables {
    memory: Arc<Memory>,
    pub(crate) by_name: HashMap<String, Global>,
}

impl Variables {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, by_name: HashMap::new() }
    }
}

impl Drop for Variables {
    fn drop(&mut self) {
        for global in self.by_name.values() {
            // Nothing else frees them; an error would mean that the table is already gone.
            let _ = self.memory.free(global.address);
        }
    }
}

/// A module whose variables have addresses.
///
/// Dropping it frees them, unless kernels of it are still held.
pub struct LoadedModule {
    pub(crate) module: Arc<ast::Module>,
    pub(crate) variables: Arc<Variables>,
    decoded: Mutex<HashMap<String, Arc<Program>>>,
}

impl LoadedModule {
    pub(crate) fn new(module: Arc<ast::Module>, variables: Arc<Variables>) -> Self {
        Self { module, variables, decoded: Mutex::default() }
    }

    /// Names of the module's kernels, in the order of the text.
    pub fn kernel_names(&self) -> impl Iterator<Item = &str> {
        self.module.functions.iter().filter(|f| f.is_entry).map(|f| f.name.as_str())
    }

    /// A kernel by name. It is decoded at the first call.
    ///
    /// # Errors
    /// [`PtxError`] if there is no such kernel, or at an instruction that is not supported.
    pub fn kernel(&self, name: &str) -> Result<Kernel, PtxError> {
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        let program = if let Some(program) = decoded.get(name) {
            Arc::clone(program)
        } else {
            let variables = &self.variables.by_name;
            let program = Arc::new(crate::decode::kernel(&self.module, name, variables)?);
            decoded.insert(name.to_owned(), Arc::clone(&program));
            program
        };
        Ok(Kernel { program, _variables: Arc::clone(&self.variables) })
    }

    /// A `.global` or `.const` variable by name.
    pub fn global(&self, name: &str) -> Option<Global> {
        self.variables.by_name.get(name).copied()
    }
}

//! The device: memory, modules, launches.

use std::sync::{Arc, Mutex, PoisonError};

use crate::check::global::GlobalRaces;
use crate::config::Config;
use crate::counters::Counters;
use crate::error::{Fault, FaultKind, MemoryError, PtxError};
use crate::kernel::{Global, Kernel, LoadedModule, Variables};
use crate::memory::{Kind, Memory};
use crate::ptx::{Module, ast};

/// A simulated device. It can be shared by threads; each launch runs in the caller's thread and
/// returns when the kernel has ended.
pub struct Gpu {
    config: Config,
    memory: Arc<Memory>,
    /// The history of an earlier launch, whose room the next one takes over.
    spare: Mutex<Option<Box<GlobalRaces>>>,
}

/// Shape and resources of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// CTAs in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a CTA in x, y, z.
    pub block: [u32; 3],
    /// Shared memory besides the static, in bytes.
    pub dynamic_shared_bytes: u32,
    /// Opt-in limit of the dynamic shared memory in bytes (`cuFuncSetAttribute`); without it,
    /// static and dynamic together may have 48 KiB.
    pub max_dynamic_shared_bytes: Option<u32>,
    /// All CTAs must be resident together, so that they may wait for each other.
    pub cooperative: bool,
    /// Registers per thread, as `ptxas` reports them; not checked if unknown.
    pub registers_per_thread: Option<u32>,
}

impl Launch {
    /// A launch without dynamic shared memory and other extras.
    pub fn new(grid: [u32; 3], block: [u32; 3]) -> Self {
        Self {
            grid,
            block,
            dynamic_shared_bytes: 0,
            max_dynamic_shared_bytes: None,
            cooperative: false,
            registers_per_thread: None,
        }
    }
}

/// What a launch did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Counts, if [`Config::counters`] is on.
    pub counters: Option<Counters>,
    /// CTAs that one SM holds at a time with this launch's resources.
    pub resident_blocks: u32,
}

impl Gpu {
    /// Makes a device; address space is reserved, memory is taken as it is used.
    ///
    /// # Errors
    /// [`MemoryError::Reserve`].
    pub fn new(config: Config) -> Result<Self, MemoryError> {
        let memory =
            Arc::new(Memory::new(config.device.memory_bytes, config.checks.uninitialised)?);
        Ok(Self { config, memory, spare: Mutex::new(None) })
    }

    /// How it was made.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device's memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Places a module's variables in memory.
    ///
    /// # Errors
    /// [`PtxError`] if a variable does not fit or its initialiser names something unknown.
    pub fn load(&self, module: &Module) -> Result<LoadedModule, PtxError> {
        let mut variables = Variables::new(Arc::clone(&self.memory));
        let placed = module.0.variables.iter().filter(|v| !v.is_shared() && v.bytes > 0);
        for variable in placed.clone() {
            let kind = match variable.space {
                ast::Space::Const => Kind::Constant,
                _ => Kind::Global,
            };
            let bytes = variable.bytes as u64;
            let address = self
                .memory
                .alloc(bytes, variable.align as u64, kind)
                .map_err(|error| PtxError::new(variable.line, error.to_string()))?;
            variables.by_name.insert(variable.name.clone(), Global { address, bytes });
        }
        for variable in placed {
            self.initialise(variable, &variables)?;
        }
        Ok(LoadedModule::new(Arc::clone(&module.0), Arc::new(variables)))
    }

    fn initialise(&self, variable: &ast::Variable, all: &Variables) -> Result<(), PtxError> {
        let failed = |error: MemoryError| PtxError::new(variable.line, error.to_string());
        let address = all.by_name[&variable.name].address;
        self.memory.write(address, &variable.initial).map_err(failed)?;
        for pointer in &variable.pointers {
            let target = all.by_name.get(&pointer.symbol).ok_or_else(|| {
                let text = format!("initialiser names the unknown variable {}", pointer.symbol);
                PtxError::new(variable.line, text)
            })?;
            let value = target.address.wrapping_add_signed(pointer.addend);
            let at = address + pointer.offset as u64;
            self.memory.write(at, &value.to_le_bytes()).map_err(failed)?;
        }
        Ok(())
    }

    /// Runs a kernel to its end. `params` is the parameter buffer as
    /// [`Kernel::parameters`] lays it out.
    ///
    /// # Errors
    /// The first [`Fault`]. Memory then holds what had been written before it.
    pub fn launch(&self, kernel: &Kernel, launch: &Launch, params: &[u8]) -> Result<Report, Fault> {
        let program = &kernel.program;
        let resident = crate::limits::check(&self.config.device, program, launch, params.len())
            .map_err(|message| Fault {
                kind: FaultKind::LaunchLimit,
                kernel: program.name.clone(),
                ptx_line: 0,
                instruction: String::new(),
                source_line: None,
                cta: [0; 3],
                thread: [0; 3],
                address: None,
                message,
            })?;
        let races = self.config.checks.global_races.then(|| Mutex::new(self.history()));
        let result =
            crate::exec::run(&self.config, &self.memory, program, launch, params, races.as_ref());
        if let Some(races) = races {
            let races = races.into_inner().unwrap_or_else(PoisonError::into_inner);
            *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = Some(races);
        }
        let counters = result?;
        Ok(Report { counters: self.config.counters.then_some(counters), resident_blocks: resident })
    }

    /// An empty history of global memory.
    fn history(&self) -> Box<GlobalRaces> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut races = spare.unwrap_or_default();
        races.reset();
        races
    }
}

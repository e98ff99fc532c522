//! Modules and their functions: PTX text is what this device runs.

use std::{ffi::CString, sync::Arc};

use vgpu::{Kernel, LoadedModule, Module};

use crate::{
    fault,
    pointer::In,
    state::State,
    status::{Result, Status},
};

/// The newest PTX that a CUDA 13.0 driver reads.
const NEWEST_PTX: (u32, u32) = (9, 0);

/// Compute capability of Thor as in `sm_110`.
const ARCHITECTURE: u32 = 110;

/// Beginnings of images that are not text: ELF (a cubin) and the magic number of a fat binary.
const ELF: [u8; 4] = *b"\x7fELF";
const FAT_BINARY: [u8; 4] = 0xba55_ed50_u32.to_le_bytes();

pub(crate) struct ModuleEntry {
    pub(crate) context: usize,
    pub(crate) loaded: Arc<LoadedModule>,
    version: (u32, u32),
    text: Arc<str>,
}

/// A kernel with what `cuFuncSetAttribute` chose for it.
pub(crate) struct Function {
    pub(crate) context: usize,
    module: usize,
    pub(crate) kernel: Kernel,
    pub(crate) name: CString,
    pub(crate) ptx_version: (u32, u32),
    pub(crate) dependence: Dependence,
    /// Opt-in limit of dynamic shared memory, bytes.
    pub(crate) dynamic_shared_limit: Option<u32>,
    /// Percentage of shared memory against L1, or -1.
    pub(crate) carveout: i32,
}

/// What a kernel says about kernels before and after it (`griddepcontrol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dependence {
    /// It waits for the kernel before, somewhere.
    pub(crate) waits: bool,
    /// It lets the kernel after it start.
    pub(crate) triggers: bool,
}

impl Function {
    pub(crate) fn module(&self) -> usize {
        self.module
    }
}

impl State {
    /// Loads an image that the program has in memory; its length is only in the image itself.
    pub(crate) fn load_image(
        &mut self,
        context: usize,
        image: In<std::ffi::c_char>,
    ) -> Result<usize> {
        self.forbid_in_capture()?;
        let magic: [u8; 4] = image.cast::<[u8; 4]>().get()?;
        if magic == ELF || magic == FAT_BINARY {
            fault::print(
                "the module is machine code (a cubin or a fat binary); the virtual GPU runs PTX",
            );
            return Err(Status::NoBinaryForGpu);
        }
        self.load_text(context, image.text().map_err(|_| Status::InvalidImage)?)
    }

    pub(crate) fn load_text(&mut self, context: usize, text: &str) -> Result<usize> {
        let Some(version) = version(text) else {
            fault::print("the module is no PTX: it has no .version");
            return Err(Status::InvalidImage);
        };
        if version > NEWEST_PTX {
            let ((major, minor), (newest, newer)) = (version, NEWEST_PTX);
            fault::print(&format!("PTX {major}.{minor}, at most {newest}.{newer} can be read"));
            return Err(Status::UnsupportedPtxVersion);
        }
        if !target_runs(text) {
            fault::print(&format!("the PTX has no .target that sm_{ARCHITECTURE} can run"));
            return Err(Status::NoBinaryForGpu);
        }
        let loaded = Module::parse(text).and_then(|module| self.gpu.load(&module));
        let loaded = loaded.map_err(|error| {
            fault::print(&error.to_string());
            Status::InvalidPtx
        })?;
        let handle = self.new_handle();
        self.modules.insert(
            handle,
            ModuleEntry { context, loaded: Arc::new(loaded), version, text: text.into() },
        );
        Ok(handle)
    }

    pub(crate) fn unload(&mut self, context: usize, module: usize) -> Result<()> {
        self.forbid_in_capture()?;
        // Kernels under way keep the module's variables; functions of it are no longer valid.
        self.synchronize_context(context)?;
        self.modules.remove(&module).ok_or(Status::InvalidHandle)?;
        self.functions.retain(|_, function| function.module != module);
        Ok(())
    }

    /// The function's handle, the same for each call with the same name.
    pub(crate) fn function(&mut self, module: usize, name: &str) -> Result<usize> {
        let entry = self.modules.get(&module).ok_or(Status::InvalidHandle)?;
        let context = entry.context;
        self.error_of(context)?;
        let known = self
            .functions
            .iter()
            .find(|(_, function)| function.module == module && function.kernel.name() == name);
        if let Some((handle, _)) = known {
            return Ok(*handle);
        }
        if !entry.loaded.kernel_names().any(|kernel| kernel == name) {
            return Err(Status::NotFound);
        }
        let kernel = entry.loaded.kernel(name).map_err(|error| {
            fault::print(&format!("kernel {name}: {error}"));
            Status::InvalidPtx
        })?;
        let function = Function {
            context,
            module,
            name: CString::new(name).map_err(|_| Status::NotFound)?,
            ptx_version: entry.version,
            dependence: dependence(&entry.text, name),
            kernel,
            dynamic_shared_limit: None,
            carveout: -1,
        };
        let handle = self.new_handle();
        self.functions.insert(handle, function);
        Ok(handle)
    }

    pub(crate) fn function_of(&mut self, handle: usize) -> Result<&mut Function> {
        self.functions.get_mut(&handle).ok_or(Status::InvalidHandle)
    }

    /// Address and size of a module's variable.
    pub(crate) fn variable(&self, module: usize, name: &str) -> Result<(u64, u64)> {
        let entry = self.modules.get(&module).ok_or(Status::InvalidHandle)?;
        let global = entry.loaded.global(name).ok_or(Status::NotFound)?;
        Ok((global.address, global.bytes))
    }
}

/// What the text of a kernel says; functions that it calls count as well if they follow it.
fn dependence(text: &str, kernel: &str) -> Dependence {
    let mut entries = text.split(".entry").skip(1);
    let body = entries.find(|entry| {
        let rest = entry.trim_start().strip_prefix(kernel);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['(', '{', '.']))
    });
    let says = |instruction| body.is_some_and(|body| body.contains(instruction));
    Dependence {
        waits: says("griddepcontrol.wait"),
        triggers: says("griddepcontrol.launch_dependents"),
    }
}

/// The rest of the first line that begins with a directive.
fn directive<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().map(str::trim_start).find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = directive(text, ".version")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split_whitespace().next()?.parse().ok()?))
}

/// Whether code for the text's target runs on Thor: older architectures without the letters that
/// bind code to one architecture (`a`) or one family (`f`), and Thor's own with them.
fn target_runs(text: &str) -> bool {
    let Some(target) = directive(text, ".target").and_then(|rest| rest.split(',').next()) else {
        return false;
    };
    let Some(architecture) = target.trim().strip_prefix("sm_") else { return false };
    let digits = architecture.trim_end_matches(['a', 'f']);
    let Ok(number) = digits.parse::<u32>() else { return false };
    if digits.len() == architecture.len() { number <= ARCHITECTURE } else { number == ARCHITECTURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: &str, target: &str) -> String {
        format!("//\n// Generated\n//\n.version {version}\n.target {target}\n.address_size 64\n")
    }

    #[test]
    fn the_version_is_read() {
        assert_eq!(version(&header("9.0", "sm_80")), Some((9, 0)));
        assert_eq!(version("no ptx"), None);
    }

    #[test]
    fn dependence_is_that_of_the_kernel_and_not_of_its_neighbours() {
        let text = ".entry first(\n) {\n griddepcontrol.wait;\n}\n\
                    .visible .entry first_of_all ( ) { griddepcontrol.launch_dependents; }\n\
                    .visible .entry last() .maxntid 32 { ret; }\n";
        let of = |kernel| dependence(text, kernel);
        assert_eq!(of("first"), Dependence { waits: true, triggers: false });
        assert_eq!(of("first_of_all"), Dependence { waits: false, triggers: true });
        assert_eq!(of("last"), Dependence::default());
    }

    #[test]
    fn only_targets_that_thor_runs_are_accepted() {
        for target in ["sm_52", "sm_80", "sm_90", "sm_110", "sm_110a", "sm_110f", "sm_80, debug"] {
            assert!(target_runs(&header("9.0", target)), "{target}");
        }
        for target in ["sm_90a", "sm_100a", "sm_100f", "sm_120", "sm_121a", "nonsense"] {
            assert!(!target_runs(&header("9.0", target)), "{target}");
        }
        assert!(!target_runs("no ptx"));
    }
}

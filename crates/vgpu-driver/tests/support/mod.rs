//! Runs each test in a process of its own: CUDA's state is one per process, an error sticks to it,
//! and the loader looks for libraries where it was told when the process started.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_push_string,
    reason = "parts of tests that are no test functions themselves"
)]

use std::{env, fs, io, path::PathBuf, process::Command};

use cudarc::driver::sys::{self, CUresult};

/// The names of `cargo xtask cuda`'s libraries.
const SONAMES: [&str; 5] =
    ["libcuda.so.1", "libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10", "libnvrtc.so.13"];

/// Says in the child which test it is.
const CHILD: &str = "VGPU_DRIVER_TEST";

/// Says which of a test's cases the child runs.
const CASE: &str = "VGPU_DRIVER_CASE";

pub(crate) struct Scenario {
    test: &'static str,
    case: Option<String>,
    settings: Vec<(&'static str, String)>,
    any_device: bool,
}

/// What came of a scenario.
pub(crate) struct Ran {
    pub(crate) success: bool,
    /// What it printed to standard output and to standard error.
    pub(crate) printed: String,
    pub(crate) errors: String,
}

impl Scenario {
    /// A test of this name that holds on the virtual GPU.
    pub(crate) fn new(test: &'static str) -> Self {
        Self { test, case: None, settings: Vec::new(), any_device: false }
    }

    /// One that must hold on hardware as well.
    pub(crate) fn on_any_device(test: &'static str) -> Self {
        Self { any_device: true, ..Self::new(test) }
    }

    /// One of several cases of a test, by a name that no other has.
    pub(crate) fn case(mut self, name: &str) -> Self {
        self.case = Some(name.to_owned());
        self
    }

    pub(crate) fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.settings.push((variable, value.to_owned()));
        self
    }

    /// Runs `body` in a new process, which must succeed, and gives what it printed to standard
    /// error; nothing in the new process itself, or where a real device is asked for in vain.
    pub(crate) fn run(self, body: impl FnOnce()) -> Option<String> {
        let ran = self.outcome(body)?;
        assert!(ran.success, "{}{}", ran.printed, ran.errors);
        Some(ran.errors)
    }

    /// As [`run`](Self::run), but says all that came of it.
    pub(crate) fn outcome(self, body: impl FnOnce()) -> Option<Ran> {
        if env::var(CHILD).as_deref() == Ok(self.test) {
            if self.case.is_none() || env::var(CASE).ok() == self.case {
                body();
            }
            return None;
        }
        let real = env::var("EITRI_GPU").as_deref() == Ok("real");
        if real && !self.any_device {
            skip("only the virtual GPU shows this");
            return None;
        }
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([self.test, "--exact", "--nocapture", "--test-threads=1"]);
        for variable in ["CHECKS", "SCHEDULE", "STREAMS", "NUMERIC", "REPORT", "RESOURCES"] {
            command.env_remove(format!("VGPU_{variable}"));
        }
        command.env(CHILD, self.test).envs(self.settings);
        if let Some(case) = self.case {
            command.env(CASE, case);
        }
        if !real {
            command.env("LD_LIBRARY_PATH", stand_in());
        }
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Ran {
            success: output.status.success(),
            printed: text(&output.stdout),
            errors: text(&output.stderr),
        })
    }
}

/// Says why a test proves nothing here.
pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
}

/// A folder with the stand-in under the names of NVIDIA's libraries.
fn stand_in() -> PathBuf {
    let built = env::current_exe().unwrap().parent().unwrap().to_owned();
    let folder = built.join("vgpu-driver-names");
    fs::create_dir_all(&folder).unwrap();
    for name in SONAMES {
        let linked = std::os::unix::fs::symlink("../libvgpu_driver.so", folder.join(name));
        assert!(
            linked.is_ok() || linked.unwrap_err().kind() == io::ErrorKind::AlreadyExists,
            "{name}"
        );
    }
    folder
}

/// What a call gave, by its name in `cuda.h`.
pub(crate) fn name(result: CUresult) -> String {
    format!("{result:?}").replace("CUDA_ERROR_", "")
}

/// Fails unless the call succeeded.
#[track_caller]
pub(crate) fn ok(result: CUresult) {
    assert_eq!(result, CUresult::CUDA_SUCCESS);
}

/// Fails unless the call gave this error.
#[track_caller]
pub(crate) fn gives(result: CUresult, error: &str) {
    assert_eq!(name(result), error);
}

/// A value that a C function writes.
pub(crate) fn out<T: Copy + Default>(call: impl FnOnce(*mut T) -> CUresult) -> T {
    let mut value = T::default();
    ok(call(&raw mut value));
    value
}

/// A handle that a C function writes.
pub(crate) fn handle<T>(call: impl FnOnce(*mut *mut T) -> CUresult) -> *mut T {
    let mut value = std::ptr::null_mut();
    ok(call(&raw mut value));
    value
}

/// Makes the primary context current.
pub(crate) fn context() -> sys::CUcontext {
    // SAFETY: plain calls of the driver API with places for their results.
    unsafe {
        ok(sys::cuInit(0));
        let context = handle(|to| sys::cuDevicePrimaryCtxRetain(to, 0));
        ok(sys::cuCtxSetCurrent(context));
        context
    }
}

pub(crate) fn stream(flags: u32) -> sys::CUstream {
    // SAFETY: a context is current.
    unsafe { handle(|to| sys::cuStreamCreate(to, flags)) }
}

pub(crate) const NON_BLOCKING: u32 = 1;

pub(crate) fn event() -> sys::CUevent {
    // SAFETY: a context is current.
    unsafe { handle(|to| sys::cuEventCreate(to, 0)) }
}

/// Device memory with these words.
pub(crate) fn words(values: &[u32]) -> u64 {
    // SAFETY: the allocation is as large as what is copied.
    unsafe {
        let address = out(|to| sys::cuMemAlloc_v2(to, size_of_val(values)));
        ok(sys::cuMemcpyHtoD_v2(address, values.as_ptr().cast(), size_of_val(values)));
        address
    }
}

/// Words from device memory, after everything of the context.
pub(crate) fn read(address: u64, count: usize) -> Vec<u32> {
    let mut values = vec![0_u32; count];
    // SAFETY: there is room for as many.
    unsafe {
        ok(sys::cuCtxSynchronize());
        ok(sys::cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), address, 4 * count));
    }
    values
}

/// A kernel of one thread whose parameters are addresses, each in a register of its name, and
/// numbers of 32 bits in such registers.
fn entry(name: &str, addresses: &[&str], numbers: &[&str], body: &str) -> String {
    let declared = |width: u32| move |name: &&str| format!(".param .u{width} {name}");
    let parameters: Vec<String> =
        addresses.iter().map(declared(64)).chain(numbers.iter().map(declared(32))).collect();
    let mut text = format!(".visible .entry {name}({})\n{{\n", parameters.join(", "));
    text += ".reg .b32 %r<4>;\n.reg .b64 %rd<2>;\n";
    for name in addresses {
        text += &format!(".reg .b64 %{name};\nld.param.u64 %{name}, [{name}];\n");
        text += &format!("cvta.to.global.u64 %{name}, %{name};\n");
    }
    for name in numbers {
        text += &format!(".reg .b32 %{name};\nld.param.u32 %{name}, [{name}];\n");
    }
    text + body + "\nret;\n}\n\n"
}

/// Kernels of the tests: `add_one(word)` and `copy_plus(to, from, value)`; `far(word)` writes far
/// outside of everything, `crooked(word)` at an odd address, `stop()` traps, `shared(word)` uses
/// dynamic shared memory; `first(word)` writes 5 and lets its successor start, which `second(to,
/// from)` and `second_waiting(to, from)` may be: both add 1, the latter waits.
fn ptx() -> String {
    let word = &["word"][..];
    let ends = &["to", "from"][..];
    let seven_at = |offset: &str| {
        format!("add.s64 %rd1, %word, {offset};\nmov.u32 %r1, 7;\nst.global.u32 [%rd1], %r1;")
    };
    let add_one = "ld.global.u32 %r1, [%from];\nadd.u32 %r2, %r1, 1;\nst.global.u32 [%to], %r2;";
    [
        ".version 8.0\n.target sm_90\n.address_size 64\n\n\
         .extern .shared .align 16 .b8 dynamic[];\n\n"
            .to_owned(),
        entry("add_one", word, &[], &add_one.replace("%from", "%word").replace("%to", "%word")),
        entry("copy_plus", ends, &["value"], &add_one.replace("%r1, 1;", "%r1, %value;")),
        entry("far", word, &[], &seven_at("1099511627776")),
        entry("crooked", word, &[], &seven_at("1")),
        entry("stop", &[], &[], "trap;"),
        entry(
            "first",
            word,
            &[],
            "griddepcontrol.launch_dependents;\nmov.u32 %r1, 5;\nst.global.u32 [%word], %r1;",
        ),
        entry("second", ends, &[], add_one),
        entry("second_waiting", ends, &[], &format!("griddepcontrol.wait;\n{add_one}")),
        entry(
            "shared",
            word,
            &[],
            "mov.u32 %r1, dynamic;\nld.global.u32 %r2, [%word];\nst.shared.u32 [%r1], %r2;\n\
             ld.shared.u32 %r3, [%r1];\nst.global.u32 [%word+4], %r3;",
        ),
    ]
    .concat()
}

/// A module of [`ptx`], of which functions are taken by name.
pub(crate) struct Kernels(sys::CUmodule);

impl Kernels {
    pub(crate) fn load() -> Self {
        let text = std::ffi::CString::new(ptx()).unwrap();
        // SAFETY: a context is current; the text ends with a zero.
        Self(unsafe { handle(|to| sys::cuModuleLoadData(to, text.as_ptr().cast())) })
    }

    pub(crate) fn module(&self) -> sys::CUmodule {
        self.0
    }

    pub(crate) fn function(&self, name: &str) -> sys::CUfunction {
        let name = std::ffi::CString::new(name).unwrap();
        // SAFETY: the module is loaded; the name ends with a zero.
        unsafe { handle(|to| sys::cuModuleGetFunction(to, self.0, name.as_ptr())) }
    }
}

/// Starts one block of `threads` threads.
pub(crate) fn launch(
    function: sys::CUfunction,
    threads: u32,
    shared: u32,
    stream: sys::CUstream,
    arguments: &mut [u64],
) -> CUresult {
    let mut pointers: Vec<*mut std::ffi::c_void> =
        arguments.iter_mut().map(|argument| (&raw mut *argument).cast()).collect();
    // SAFETY: as many parameters as the kernel has, each of at most eight bytes.
    unsafe {
        sys::cuLaunchKernel(
            function,
            1,
            1,
            1,
            threads,
            1,
            1,
            shared,
            stream,
            pointers.as_mut_ptr(),
            std::ptr::null_mut(),
        )
    }
}

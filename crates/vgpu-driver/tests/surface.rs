//! Initialisation, properties, memory, modules, limits and errors, through cudarc's binding.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "calls of a C interface, with handles and places for results that each test makes"
)]

mod support;

use std::{
    ffi::{CStr, CString, c_void},
    ptr::null_mut,
};

use cudarc::driver::{
    CudaContext,
    sys::{self, CUdevice_attribute as Attribute, CUfunction_attribute as FunctionAttribute},
};
use support::{Kernels, Scenario, context, gives, handle, launch, ok, out, read, words};

#[test]
fn the_device_is_a_thor() {
    Scenario::new("the_device_is_a_thor").run(|| {
        let context = CudaContext::new(0).unwrap();
        assert!(context.name().unwrap().contains("Thor"));
        assert_eq!(context.compute_capability().unwrap(), (11, 0));
        assert_eq!(CudaContext::device_count().unwrap(), 1);
        let of = |attribute| context.attribute(attribute).unwrap();
        assert_eq!(of(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 20);
        assert_eq!(of(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR), 1536);
        let opt_in = Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        assert_eq!(of(opt_in), 227 * 1024);
        assert_eq!(of(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED), 1);
        assert_eq!(of(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED), 1);
        assert!(context.total_mem().unwrap() > 100 << 30);
        let (free, total) = context.mem_get_info().unwrap();
        assert!(free <= total);
    });
}

#[test]
fn every_symbol_that_programs_link_against_is_there() {
    Scenario::new("every_symbol_that_programs_link_against_is_there").run(|| {
        let lists = [
            ("libcuda.so.1", include_str!("../symbols/cuda.txt")),
            ("libcublas.so.13", include_str!("../symbols/cublas.txt")),
            ("libcublasLt.so.13", include_str!("../symbols/cublasLt.txt")),
            ("libcurand.so.10", include_str!("../symbols/curand.txt")),
            ("libnvrtc.so.13", include_str!("../symbols/nvrtc.txt")),
        ];
        for (library, symbols) in lists {
            // SAFETY: loading runs no code of the library but its initialisers.
            let library = unsafe { libloading::Library::new(library) }.unwrap();
            assert!(symbols.lines().count() > 10);
            for symbol in symbols.lines() {
                // SAFETY: the symbol is only looked up.
                let found = unsafe { library.get::<*const c_void>(symbol.as_bytes()) };
                assert!(found.is_ok(), "{symbol}");
            }
        }
    });
}

#[test]
fn calls_in_the_wrong_order_give_what_cuda_gives() {
    Scenario::on_any_device("calls_in_the_wrong_order_give_what_cuda_gives").run(|| unsafe {
        let (mut count, mut address) = (0, 0);
        gives(sys::cuDeviceGetCount(&raw mut count), "NOT_INITIALIZED");
        ok(sys::cuInit(0));
        gives(sys::cuMemAlloc_v2(&raw mut address, 4), "INVALID_CONTEXT");
        gives(sys::cuDeviceGet(&raw mut count, 99), "INVALID_DEVICE");
        context();
        gives(sys::cuMemAlloc_v2(&raw mut address, 0), "INVALID_VALUE");
        gives(sys::cuMemAlloc_v2(&raw mut address, 1 << 50), "OUT_OF_MEMORY");
        gives(sys::cuMemAlloc_v2(null_mut(), 4), "INVALID_VALUE");
    });
}

#[test]
fn a_thread_without_a_context_may_ask_for_functions_only() {
    Scenario::on_any_device("a_thread_without_a_context_may_ask_for_functions_only").run(
        || unsafe {
            context();
            let module = Kernels::load().module().addr();
            let elsewhere = std::thread::spawn(move || {
                let module = std::ptr::with_exposed_provenance_mut(module);
                let function =
                    handle(|to| sys::cuModuleGetFunction(to, module, c"add_one".as_ptr()));
                let mut address = 0;
                gives(sys::cuMemAlloc_v2(&raw mut address, 4), "INVALID_CONTEXT");
                gives(launch(function, 1, 0, null_mut(), &mut [0]), "INVALID_CONTEXT");
            });
            elsewhere.join().unwrap();
        },
    );
}

#[test]
fn errors_have_names_and_texts() {
    Scenario::on_any_device("errors_have_names_and_texts").run(|| unsafe {
        let mut name = std::ptr::null();
        ok(sys::cuGetErrorName(sys::CUresult::CUDA_ERROR_MISALIGNED_ADDRESS, &raw mut name));
        assert_eq!(CStr::from_ptr(name).to_str().unwrap(), "CUDA_ERROR_MISALIGNED_ADDRESS");
        ok(sys::cuGetErrorString(sys::CUresult::CUDA_ERROR_ASSERT, &raw mut name));
        assert!(!CStr::from_ptr(name).is_empty());
    });
}

#[test]
fn memory_that_is_freed_twice_or_never_is_named() {
    let errors = Scenario::new("memory_that_is_freed_twice_or_never_is_named")
        .with("VGPU_REPORT", "calls")
        .run(|| unsafe {
            context();
            let address = words(&[1, 2, 3, 4]);
            gives(sys::cuMemFree_v2(address + 4), "INVALID_VALUE");
            ok(sys::cuMemFree_v2(address));
            gives(sys::cuMemFree_v2(address), "INVALID_VALUE");
            words(&[5; 6]);
        });
    if let Some(errors) = errors {
        assert!(errors.contains("was freed already"), "{errors}");
        assert!(errors.contains("1 allocations of 24 bytes were not freed"), "{errors}");
        assert!(errors.contains("3  cuMemFree_v2"), "{errors}");
    }
}

#[test]
fn copies_outside_of_allocations_are_refused() {
    Scenario::new("copies_outside_of_allocations_are_refused").run(|| unsafe {
        context();
        let address = words(&[1, 2]);
        let mut host = [0_u32; 4];
        let to = host.as_mut_ptr().cast::<c_void>();
        gives(sys::cuMemcpyDtoH_v2(to, address, 12), "INVALID_VALUE");
        gives(sys::cuMemcpyHtoD_v2(address + 4, to, 8), "INVALID_VALUE");
        gives(sys::cuMemcpyDtoD_v2(address, address + 64, 4), "INVALID_VALUE");
        gives(sys::cuMemsetD32_v2(address + 2, 0, 1), "INVALID_VALUE");
        ok(sys::cuMemsetD32_v2(address + 4, 9, 1));
        assert_eq!(read(address, 2), [1, 9]);
    });
}

#[test]
fn pinned_and_managed_memory_is_the_host_s_as_well() {
    Scenario::on_any_device("pinned_and_managed_memory_is_the_host_s_as_well").run(|| unsafe {
        context();
        let add_one = Kernels::load().function("add_one");
        let managed = out(|to| sys::cuMemAllocManaged(to, 4, 1));
        let word = std::ptr::with_exposed_provenance_mut::<u32>(managed as usize);
        word.write(41);
        ok(launch(add_one, 1, 0, null_mut(), &mut [managed]));
        ok(sys::cuCtxSynchronize());
        assert_eq!(word.read(), 42);
        let pinned = handle(|to| sys::cuMemHostAlloc(to, 4, 0));
        pinned.cast::<u32>().write(6);
        let device = out(|to| sys::cuMemHostGetDevicePointer_v2(to, pinned, 0));
        ok(launch(add_one, 1, 0, null_mut(), &mut [device]));
        ok(sys::cuCtxSynchronize());
        assert_eq!(pinned.cast::<u32>().read(), 7);
        gives(sys::cuMemFreeHost(word.cast()), "INVALID_VALUE");
        ok(sys::cuMemFreeHost(pinned));
        ok(sys::cuMemFree_v2(managed));
    });
}

#[test]
fn pools_count_what_they_gave() {
    Scenario::new("pools_count_what_they_gave").run(|| unsafe {
        use sys::CUmemPool_attribute_enum as Of;
        context();
        let pool = handle(|to| sys::cuDeviceGetDefaultMemPool(to, 0));
        let used = |of| out::<u64>(|to| sys::cuMemPoolGetAttribute(pool, of, to.cast()));
        let first = out(|to| sys::cuMemAllocAsync(to, 1000, null_mut()));
        let second = out(|to| sys::cuMemAllocAsync(to, 500, null_mut()));
        assert_eq!(used(Of::CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 1500);
        ok(sys::cuMemFreeAsync(first, null_mut()));
        assert_eq!(used(Of::CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 500);
        assert_eq!(used(Of::CU_MEMPOOL_ATTR_USED_MEM_HIGH), 1500);
        gives(sys::cuMemFreeAsync(first, null_mut()), "INVALID_VALUE");
        ok(sys::cuMemFree_v2(second));
        assert_eq!(used(Of::CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0);
        gives(sys::cuMemPoolDestroy(pool), "INVALID_VALUE");
    });
}

#[test]
fn images_that_are_no_ptx_of_this_device_are_refused() {
    Scenario::new("images_that_are_no_ptx_of_this_device_are_refused").run(|| unsafe {
        context();
        let load = |image: &[u8]| {
            let mut module = null_mut();
            let image = CString::new(image).unwrap();
            sys::cuModuleLoadData(&raw mut module, image.as_ptr().cast())
        };
        gives(load(b"\x7fELF\x02\x01\x01"), "NO_BINARY_FOR_GPU");
        gives(load(&0xba55_ed50_u32.to_le_bytes()), "NO_BINARY_FOR_GPU");
        gives(load(b"hello, this is no module"), "INVALID_IMAGE");
        gives(load(b".version 9.3\n.target sm_80\n"), "UNSUPPORTED_PTX_VERSION");
        gives(load(b".version 9.0\n.target sm_90a\n"), "NO_BINARY_FOR_GPU");
        gives(load(b".version 9.0\n.target sm_80\n.visible .entry x( {"), "INVALID_PTX");
        let module = Kernels::load().module();
        let mut function = null_mut();
        let missing = c"missing";
        let found = sys::cuModuleGetFunction(&raw mut function, module, missing.as_ptr());
        gives(found, "NOT_FOUND");
        ok(sys::cuModuleUnload(module));
        gives(sys::cuModuleUnload(module), "INVALID_HANDLE");
    });
}

#[test]
fn a_fault_sticks_to_the_context_until_it_is_reset() {
    let errors =
        Scenario::on_any_device("a_fault_sticks_to_the_context_until_it_is_reset").run(|| unsafe {
            context();
            let address = words(&[1]);
            let far = Kernels::load().function("far");
            ok(launch(far, 1, 0, null_mut(), &mut [address]));
            gives(sys::cuCtxSynchronize(), "ILLEGAL_ADDRESS");
            let mut other = 0;
            gives(sys::cuMemAlloc_v2(&raw mut other, 4), "ILLEGAL_ADDRESS");
            gives(launch(far, 1, 0, null_mut(), &mut [address]), "ILLEGAL_ADDRESS");
            gives(sys::cuMemFree_v2(address), "ILLEGAL_ADDRESS");
            ok(sys::cuDevicePrimaryCtxReset_v2(0));
            context();
            assert_eq!(read(words(&[5]), 1), [5]);
        });
    if let Some(errors) = errors
        && std::env::var("EITRI_GPU").as_deref() != Ok("real")
    {
        assert!(errors.contains("OutOfBounds in kernel far"), "{errors}");
        assert!(errors.contains("PTX line"), "{errors}");
    }
}

#[test]
fn faults_have_the_codes_of_hardware() {
    for (kernel, error) in [("crooked", "MISALIGNED_ADDRESS"), ("stop", "LAUNCH_FAILED")] {
        let scenario = Scenario::on_any_device("faults_have_the_codes_of_hardware");
        scenario.with("FAULT", kernel).run(|| unsafe {
            if std::env::var("FAULT").as_deref() != Ok(kernel) {
                return;
            }
            context();
            let address = words(&[1, 2]);
            let function = Kernels::load().function(kernel);
            let mut arguments = [address];
            let arguments = if kernel == "stop" { &mut [][..] } else { &mut arguments[..] };
            ok(launch(function, 1, 0, null_mut(), arguments));
            gives(sys::cuCtxSynchronize(), error);
        });
    }
}

#[test]
fn launch_limits_are_those_of_the_device() {
    Scenario::on_any_device("launch_limits_are_those_of_the_device").run(|| unsafe {
        context();
        let kernels = Kernels::load();
        let add_one = kernels.function("add_one");
        let word = words(&[3, 0]);
        gives(launch(add_one, 1025, 0, null_mut(), &mut [word]), "INVALID_VALUE");
        gives(launch(add_one, 0, 0, null_mut(), &mut [word]), "INVALID_VALUE");
        let shared = kernels.function("shared");
        ok(launch(shared, 1, 48 << 10, null_mut(), &mut [word]));
        assert_eq!(read(word, 2), [3, 3]);
        gives(launch(shared, 1, (48 << 10) + 4, null_mut(), &mut [word]), "INVALID_VALUE");
        let opt_in = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let limit = Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let most = out::<i32>(|to| sys::cuDeviceGetAttribute(to, limit, 0));
        gives(sys::cuFuncSetAttribute(shared, opt_in, most + 1), "INVALID_VALUE");
        ok(sys::cuFuncSetAttribute(shared, opt_in, most));
        assert_eq!(out::<i32>(|to| sys::cuFuncGetAttribute(to, opt_in, shared)), most);
        ok(launch(shared, 1, most as u32, null_mut(), &mut [word]));
        ok(sys::cuCtxSynchronize());
        let resident = out::<i32>(|to| {
            sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(to, shared, 32, most as usize)
        });
        assert_eq!(resident, 1);
    });
}

#[test]
fn registers_come_from_the_table_of_the_compiler() {
    let file = std::env::temp_dir().join(format!("registers-{}.tsv", std::process::id()));
    std::fs::write(&file, "add_one\t128\t0\n").unwrap();
    let scenario = Scenario::new("registers_come_from_the_table_of_the_compiler");
    scenario.with("VGPU_RESOURCES", file.to_str().unwrap()).run(|| unsafe {
        context();
        let add_one = Kernels::load().function("add_one");
        let registers = FunctionAttribute::CU_FUNC_ATTRIBUTE_NUM_REGS;
        assert_eq!(out::<i32>(|to| sys::cuFuncGetAttribute(to, registers, add_one)), 128);
        let word = words(&[1]);
        ok(launch(add_one, 512, 0, null_mut(), &mut [word]));
        let resources = launch(add_one, 544, 0, null_mut(), &mut [word]);
        gives(resources, "LAUNCH_OUT_OF_RESOURCES");
    });
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_function_of_the_host_may_not_call_cuda() {
    extern "C" fn allocates(result: *mut c_void) {
        let mut address = 0;
        // SAFETY: the argument is the word that the test passes and waits for.
        unsafe { result.cast::<u32>().write(sys::cuMemAlloc_v2(&raw mut address, 4) as u32) };
    }
    Scenario::on_any_device("a_function_of_the_host_may_not_call_cuda").run(|| unsafe {
        context();
        let mut result = 0_u32;
        ok(sys::cuLaunchHostFunc(null_mut(), Some(allocates), (&raw mut result).cast()));
        ok(sys::cuCtxSynchronize());
        assert_eq!(result, sys::CUresult::CUDA_ERROR_NOT_PERMITTED as u32);
    });
}

#[test]
fn what_is_not_part_of_the_device_says_so() {
    let errors = Scenario::new("what_is_not_part_of_the_device_says_so").run(|| unsafe {
        context();
        let mut green = null_mut();
        gives(sys::cuCtxFromGreenCtx(&raw mut green, null_mut()), "NOT_SUPPORTED");
    });
    if let Some(errors) = errors {
        assert!(errors.contains("cuCtxFromGreenCtx is not part of the virtual GPU"), "{errors}");
    }
}

#[test]
fn a_setting_that_is_not_understood_stops_the_program() {
    let scenario = Scenario::new("a_setting_that_is_not_understood_stops_the_program");
    let errors = scenario.with("VGPU_CHECKS", "everything").run(|| unsafe {
        gives(sys::cuInit(0), "UNKNOWN");
    });
    if let Some(errors) = errors {
        assert!(errors.contains("VGPU_CHECKS=\"everything\" is not understood"), "{errors}");
    }
}

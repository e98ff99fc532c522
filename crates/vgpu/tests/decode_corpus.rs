//! Every kernel of PTX files named by `VGPU_CORPUS` (a folder) decodes.

use std::path::PathBuf;

#[test]
fn every_kernel_of_the_corpus_decodes() {
    let Some(folder) = std::env::var_os("VGPU_CORPUS").map(PathBuf::from) else {
        eprintln!("skipped: VGPU_CORPUS names no folder of PTX files");
        return;
    };
    let gpu = vgpu::Gpu::new(vgpu::Config::default()).unwrap();
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "ptx") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let module = gpu.load(&vgpu::Module::parse(&text).unwrap()).unwrap();
        let names: Vec<_> = module.kernel_names().map(str::to_owned).collect();
        for name in names {
            count += 1;
            if let Err(error) = module.kernel(&name) {
                failures.push(format!("{} {name}: {error}", path.display()));
            }
        }
    }
    assert!(count > 0, "{} holds no kernels", folder.display());
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}

//! Quantised Hugging Face directories written from tiny models: what they hold, what they compute,
//! and what they are refused for.

use std::{collections::BTreeMap, fs, ops::ControlFlow, path::Path};

use eitri_kernels::Activations;
use eitri_models::{DirectoryOptions, ExportReport, ModelError, ModelFiles, export_directory};
use eitri_quant::{
    Checkpoint, Encoding, Matrix, QuantizationConfig,
    scheme::{Calibration, SCHEMES, Scheme},
};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::support::{
    harness::{Harness, random_tokens},
    tiny::{Experts, Shape, Tiny, Values, Width},
};

fn export(
    model: &Path,
    target: &Path,
    scheme: &str,
    calibration: Option<&[Vec<u32>]>,
) -> Result<ExportReport, ModelError> {
    let files = ModelFiles::open(model)?;
    let scheme = *Scheme::find(scheme).unwrap();
    let options = DirectoryOptions { scheme, calibration, threads: 2 };
    export_directory(&files, target, &options, &mut |_| ControlFlow::Continue(()))
}

fn dense() -> Shape {
    Shape { hidden: 256, heads: 8, head_dim: 32, intermediate: 384, tied: false, ..Shape::qwen3() }
}

/// The first layer is dense, the second has experts.
fn mixed() -> Shape {
    let shape = Shape::qwen3_moe(true);
    let moe = shape.moe.map(|moe| Experts { intermediate: 128, mlp_only_layers: vec![0], ..moe });
    Shape { moe, hidden: 256, heads: 8, head_dim: 32, intermediate: 256, ..shape }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn open(directory: &Path) -> Checkpoint {
    let config = json(&directory.join("config.json"));
    let config = QuantizationConfig::find(directory, config.as_object().unwrap()).unwrap();
    Checkpoint::open_safetensors(directory).unwrap().with_quantization(config)
}

fn names(folder: &Path) -> Vec<String> {
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// Modules that share a scale of the whole tensor: those that have the same inputs.
fn fused(module: &str) -> Vec<String> {
    let (parent, own) = module.rsplit_once('.').unwrap();
    let groups = [&["q_proj", "k_proj", "v_proj"][..], &["gate_proj", "up_proj"]];
    match groups.iter().find(|group| group.contains(&own)) {
        Some(group) => group.iter().map(|name| format!("{parent}.{name}")).collect(),
        None => vec![module.to_owned()],
    }
}

fn check_values(tiny: &Tiny, width: Width, directory: &Path, scheme: &Scheme) {
    let encoding = match width {
        Width::F32 => Encoding::F32,
        Width::F16 => Encoding::F16,
        Width::Bf16 => Encoding::BF16,
    };
    let checkpoint = open(directory);
    let mut modules = 0;
    for (name, Values { shape, data }) in &tiny.tensors {
        let Some(module) = name.strip_suffix(".weight").filter(|name| name.ends_with("_proj"))
        else {
            let copy = checkpoint.tensor(name).unwrap();
            assert_eq!((copy.shape, copy.encoding), (&**shape, encoding), "{name}");
            assert!(copy.bytes == width.bytes(data), "{name}");
            continue;
        };
        let all = fused(module)
            .into_iter()
            .flat_map(|module| tiny.tensors[&format!("{module}.weight")].data.iter().copied());
        let largest = all.fold(0.0, |most: f32, value| most.max(value.abs()));
        let scales = scheme.scale_encoding(encoding);
        let codes = scheme.round(data, [shape[0], shape[1]], largest, scales, 1);
        let matrix = Matrix::open(&checkpoint, module).unwrap();
        let (mut got, mut want) = (vec![0.0; shape[1]], vec![0.0; shape[1]]);
        for row in 0..shape[0] {
            matrix.dequantise_row(row, &mut got).unwrap();
            codes.decode_row(row, &mut want);
            assert!(got == want, "{}: {module}", scheme.name);
        }
        modules += 1;
    }
    assert!(modules > 10);
    assert_eq!(checkpoint.unused(), <[&str; 0]>::default());
}

fn logits(path: &Path, tokens: &[u32]) -> Vec<Vec<f32>> {
    Harness::open(path, Activations::Exact, 1).unwrap().prompt(tokens)
}

/// Relative difference.
fn off(got: &[Vec<f32>], want: &[Vec<f32>]) -> f64 {
    let pairs = || got.iter().flatten().zip(want.iter().flatten());
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = pairs().map(|(got, want)| square(got - want)).sum();
    (error / pairs().map(|(_, want)| square(*want)).sum::<f64>()).sqrt()
}

/// Every module is what rounding its values gives, to the bit; all else is copied; and the network
/// loads and computes nearly the same.
#[test]
fn every_scheme_is_written_and_read() {
    for (shape, width) in [
        (dense(), Width::Bf16),
        (mixed(), Width::F16),
        (Shape { tied: true, ..dense() }, Width::F32),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let tiny = shape.build(41).rounded(width);
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        tiny.write(&source, width);
        let tokens = random_tokens(24, shape.vocab, &mut StdRng::seed_from_u64(1));
        let wanted = logits(&source, &tokens);
        for scheme in &SCHEMES {
            let target = folder.path().join(scheme.name);
            let report = export(&source, &target, scheme.name, None).unwrap();
            check_values(&tiny, width, &target, scheme);
            let error = off(&logits(&target, &tokens), &wanted);
            let bound = match scheme.stored {
                "int8 packed" | "GPTQ 8-bit" => 0.1,
                "FP8" => 0.3,
                _ => 0.6,
            };
            assert!(error > 0.0 && error < bound, "{}: {error}", scheme.name);
            check_report(&report, &shape, scheme, &target);
        }
        assert_eq!(names(folder.path()).len(), 1 + SCHEMES.len(), "nothing else is left");
    }
}

fn check_report(report: &ExportReport, shape: &Shape, scheme: &Scheme, target: &Path) {
    let row = |kind| report.rows.iter().find(|row| row.kind == kind).unwrap();
    let attention = row("attention q,k,v");
    assert_eq!((attention.encoding, attention.tensors), (scheme.stored, 6));
    assert!(attention.relative_error() > 0.0 && attention.relative_error() < 0.2);
    assert_eq!(row("norms").relative_error(), 0.0);
    if shape.moe.is_some() {
        assert_eq!((row("experts down").tensors, row("router").tensors), (6, 1));
    }
    let files = names(target).into_iter().map(|name| target.join(name).metadata().unwrap().len());
    assert_eq!(report.file_bytes, files.sum::<u64>());
}

/// The files beside the weights, and the configuration as each producer writes it.
#[test]
fn files_beside_the_weights_come_along() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let mut tiny = mixed().build(42);
    tiny.config["some_unknown_key"] = json!({"kept": [1, 2]});
    tiny.write(&source, Width::Bf16);
    for (name, content) in [
        ("tokenizer.json", "{}"),
        ("merges.txt", "a b"),
        ("chat_template.jinja", "{{ x }}"),
        ("generation_config.json", "{\"top_k\": 20}"),
        ("README.md", "not copied"),
    ] {
        fs::write(source.join(name), content).unwrap();
    }
    let routers = json!(["model.layers.1.mlp.gate"]);
    let left = json!(["lm_head", "model.layers.1.mlp.gate"]);
    let expected: BTreeMap<&str, (&str, &str, Value, Option<&str>)> = BTreeMap::from([
        ("gptq-int4", ("gptq", "/lm_head", json!(false), Some("quantize_config.json"))),
        ("gptq-int8", ("gptq", "/bits", json!(8), Some("quantize_config.json"))),
        ("awq-int4", ("awq", "/modules_to_not_convert", routers, None)),
        ("fp8-dynamic", ("compressed-tensors", "/ignore", left.clone(), None)),
        ("w4a16", ("compressed-tensors", "/ignore", left.clone(), None)),
        ("w8a16", ("compressed-tensors", "/format", json!("pack-quantized"), None)),
        ("nvfp4-ct", ("compressed-tensors", "/ignore", left.clone(), None)),
        ("nvfp4", ("modelopt", "/ignore", left, Some("hf_quant_config.json"))),
        ("fp8-block", ("fp8", "/weight_block_size", json!([128, 128]), None)),
    ]);
    for (scheme, (method, pointer, value, side_file)) in expected {
        let target = folder.path().join(scheme);
        export(&source, &target, scheme, None).unwrap();
        let config = json(&target.join("config.json"));
        let quantization = &config["quantization_config"];
        assert_eq!(quantization["quant_method"], method);
        assert_eq!(quantization.pointer(pointer), Some(&value), "{scheme}");
        let mut without = config.clone();
        without.as_object_mut().unwrap().remove("quantization_config");
        assert_eq!(without, tiny.config);
        let mut files = vec![
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "merges.txt",
            "model.safetensors",
            "tokenizer.json",
        ];
        files.extend(side_file);
        files.sort_unstable();
        assert_eq!(names(&target), files, "{scheme}");
        assert_eq!(fs::read(target.join("chat_template.jinja")).unwrap(), b"{{ x }}");
        if let Some(file) = side_file {
            // A directory whose config.json says nothing is understood by this file.
            let plain = tiny.config.as_object().unwrap();
            QuantizationConfig::find(&target, plain).unwrap().expect(file);
        }
    }
    let config = json(&folder.path().join("fp8-block/config.json"));
    let names = config["quantization_config"]["modules_to_not_convert"].as_array().unwrap();
    for name in ["lm_head", "model.layers.1.mlp.gate", "model.layers.0.input_layernorm"] {
        assert!(names.contains(&json!(name)), "{name}");
    }
}

/// What transformers 5 keeps in one tensor is stored by expert.
#[test]
fn fused_experts_come_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (source, fused) = (folder.path().join("source"), folder.path().join("fused"));
    let tiny = mixed().build(43).rounded(Width::Bf16);
    let mut joined = tiny.clone();
    let experts = "model.layers.1.mlp.experts";
    let mut take = |expert: usize, name: &str| {
        joined.tensors.remove(&format!("{experts}.{expert}.{name}.weight")).unwrap().data
    };
    let (mut gate_up, mut down) = (Vec::new(), Vec::new());
    for expert in 0..6 {
        gate_up.extend(take(expert, "gate_proj"));
        gate_up.extend(take(expert, "up_proj"));
        down.extend(take(expert, "down_proj"));
    }
    let mut put = |name: &str, shape: [usize; 3], data| {
        joined.tensors.insert(format!("{experts}.{name}"), Values { shape: shape.to_vec(), data });
    };
    put("gate_up_proj", [6, 256, 256], gate_up);
    put("down_proj", [6, 256, 128], down);
    for (directory, model) in [(&source, &tiny), (&fused, &joined)] {
        fs::create_dir(directory).unwrap();
        model.write(directory, Width::Bf16);
    }
    for scheme in ["gptq-int4", "nvfp4"] {
        let target = folder.path().join(scheme);
        export(&fused, &target, scheme, None).unwrap();
        check_values(&tiny, Width::Bf16, &target, Scheme::find(scheme).unwrap());
    }
}

/// Some channels of the norms are large, as in trained models.
fn with_outliers(shape: &Shape, seed: u64) -> Tiny {
    let mut tiny = shape.build(seed);
    for (name, values) in &mut tiny.tensors {
        if name.ends_with("layernorm.weight") {
            values.data.iter_mut().step_by(31).for_each(|value| *value *= 12.0);
        }
    }
    tiny.rounded(Width::Bf16)
}

/// On the texts of the calibration, the network is nearer to the original than with weights that
/// are rounded to the nearest, with experts and without.
#[test]
fn calibration_lowers_the_error() {
    for shape in [dense(), mixed()] {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        with_outliers(&shape, 44).write(&source, Width::Bf16);
        let mut rng = StdRng::seed_from_u64(2);
        let texts: Vec<Vec<u32>> =
            [700, 40, 900, 3].map(|len| random_tokens(len, shape.vocab, &mut rng)).into();
        let wanted = logits(&source, &texts[2]);
        for scheme in &SCHEMES {
            let is_calibrated =
                matches!(scheme.calibration, Calibration::ErrorFeedback | Calibration::ScaleSearch);
            // With 8 bits, what is left of the error is tokens that go to another expert.
            if !is_calibrated || shape.moe.is_some() && scheme.name.contains('8') {
                continue;
            }
            let (plain, better) = (folder.path().join("plain"), folder.path().join(scheme.name));
            export(&source, &plain, scheme.name, None).unwrap();
            let report = export(&source, &better, scheme.name, Some(&texts)).unwrap();
            assert_eq!(report.calibration_tokens, 1643);
            assert!(report.unreached.is_empty(), "{:?}", report.unreached);
            let [plain_error, error] =
                [&plain, &better].map(|path| off(&logits(path, &texts[2]), &wanted));
            let bound = if scheme.name == "awq-int4" { 0.92 } else { 0.85 };
            assert!(error < bound * plain_error, "{}: {error} of {plain_error}", scheme.name);
            fs::remove_dir_all(&plain).unwrap();
        }
    }
}

/// The scales of activations are those of the largest input, which the first norm's output has.
#[test]
fn activations_get_scales_from_texts() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let tiny = mixed().build(45).rounded(Width::Bf16);
    tiny.write(&source, Width::Bf16);
    let texts = [vec![3, 9, 27, 81]];
    // The input of the first layer's queries, from its definition.
    let norm = &tiny.tensors["model.layers.0.input_layernorm.weight"].data;
    let rows = texts[0].iter().map(|&token| {
        &tiny.tensors["model.embed_tokens.weight"].data[token as usize * 256..][..256]
    });
    let largest = rows.map(|row| {
        let mean = row.iter().map(|x| x * x).sum::<f32>() / 256.0;
        let by = 1.0 / (mean + 1e-6).sqrt();
        row.iter().zip(norm).fold(0.0_f32, |most, (x, w)| most.max((x * by * w).abs()))
    });
    let largest = largest.fold(0.0, f32::max);
    for (scheme, suffix, expected) in [
        ("nvfp4", "input_scale", largest / 2688.0),
        ("nvfp4-ct", "input_global_scale", 2688.0 / largest),
    ] {
        let target = folder.path().join(scheme);
        let report = export(&source, &target, scheme, Some(&texts)).unwrap();
        let checkpoint = open(&target);
        let of = |module: &str| {
            let view = checkpoint.tensor(&format!("model.layers.{module}.{suffix}")).unwrap();
            f32::from_le_bytes(view.bytes.try_into().unwrap())
        };
        for name in ["q_proj", "k_proj", "v_proj"] {
            let got = of(&format!("0.self_attn.{name}"));
            assert!((got / expected - 1.0).abs() < 1e-5, "{got} is not {expected}");
        }
        // Four tokens reach at most eight of the experts' places: those that none reached are named.
        for expert in 0..6 {
            assert!(of(&format!("1.mlp.experts.{expert}.down_proj")) > 0.0);
        }
        assert!(report.unreached.iter().all(|name| name.starts_with("model.layers.1.mlp.experts")));
        assert!(logits(&target, &texts[0]).iter().flatten().all(|x| x.is_finite()));
        let config = json(&target.join("config.json"));
        let groups = &config["quantization_config"]["config_groups"]["group_0"];
        assert!(groups["input_activations"].is_object());
    }
}

/// One text that reaches few experts: the others are named and rounded to the nearest.
#[test]
fn modules_that_no_text_reaches_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let tiny = mixed().build(46).rounded(Width::Bf16);
    tiny.write(&source, Width::Bf16);
    let texts = [vec![7]];
    for scheme in ["gptq-int4", "awq-int4"] {
        let target = folder.path().join(scheme);
        let report = export(&source, &target, scheme, Some(&texts)).unwrap();
        // One token goes to two experts of six, which have three matrices each.
        assert_eq!(report.unreached.len(), 4 * 3);
        logits(&target, &texts[0]);
    }
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    let write = |tiny: &Tiny| tiny.write(&source, Width::F32);
    let fails = |scheme: &str, calibration: Option<&[Vec<u32>]>, parts: &[&str]| {
        let error = export(&source, &target, scheme, calibration).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert_eq!(names(folder.path()), ["source"], "{error}");
    };
    let name = "model.layers.1.mlp.down_proj.weight";
    let mut tiny = dense().build(47);
    tiny.tensors.get_mut(name).unwrap().data[7] = 1e9;
    write(&tiny);
    fails("gptq-int4", None, &["model.layers.1.mlp.down_proj", "too large for GPTQ 4-bit"]);
    tiny.tensors.get_mut(name).unwrap().data[7] = f32::NAN;
    write(&tiny);
    fails("w8a16", None, &[name, "not finite"]);
    tiny.tensors.remove(name);
    write(&tiny);
    fails("w8a16", None, &[name, "lacks tensors"]);
    write(&Shape { intermediate: 320, ..dense() }.build(47));
    fails("awq-int4", None, &["model.layers.0.mlp.down_proj", "[256, 320]", "columns of 128"]);
    write(&dense().build(47));
    fails("fp8-block", Some(&[vec![1]]), &["fp8-block has no use for calibration"]);
    fails("gptq-int4", Some(&[]), &["calibration texts must be at least one token"]);
    fails("gptq-int4", Some(&[vec![999]]), &["calibration token must be below 256, got 999"]);

    let files = ModelFiles::open(&source).unwrap();
    for left in [0, 5] {
        let mut left = left;
        let scheme = Scheme::find("w4a16").unwrap();
        let options = DirectoryOptions { scheme: *scheme, calibration: None, threads: 1 };
        let stopped = export_directory(&files, &target, &options, &mut |_| {
            left -= 1;
            if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(ModelError::Stopped)), "{stopped:?}");
        assert_eq!(names(folder.path()), ["source"]);
    }
}

#[test]
fn only_models_are_replaced_and_only_plain_weights_are_sources() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    dense().build(48).write(&source, Width::Bf16);
    let fails = |source: &Path, target: &Path, part: &str| {
        let error = export(source, target, "w4a16", None).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    fails(&source, &source, "it is the model that is read");
    fs::write(&target, "precious").unwrap();
    fails(&source, &target, "it is a file");
    fs::remove_file(&target).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("notes.txt"), "precious").unwrap();
    fails(&source, &target, "not a model to be replaced");
    assert_eq!(names(&target), ["notes.txt"]);
    fs::write(target.join("config.json"), "{}").unwrap();
    export(&source, &target, "w4a16", None).unwrap();
    assert_eq!(names(&target), ["config.json", "model.safetensors"]);
    fails(
        &target,
        &folder.path().join("again"),
        "is int4 packed, which is not supported as a source",
    );
    assert_eq!(names(folder.path()), ["source", "target"]);
}

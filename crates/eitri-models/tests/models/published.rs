//! Bytes of the published checkpoints by their configuration alone.

use eitri_kernels::Isa;
use eitri_models::{ModelFiles, PUBLISHED, Published, plan_of_config};
use serde_json::json;

use crate::support::{
    packed::{PackedModel, Packing},
    tiny::{Experts, Shape, Width},
};

/// Figures for a checkpoint that were worked out by hand from shapes and formats, before this code.
struct Expected {
    name: &'static str,
    /// Bytes of the file, GiB.
    file_gib: f64,
    /// Weights read per token at batch 1, GB.
    token_gb: f64,
    /// Weights, and keys and values of 2106 tokens (bf16), read by a step at batch 1, GB.
    step_gb: f64,
    /// Least milliseconds of that step at 273 and 243 GB/s.
    step_ms: [f64; 2],
    /// The same at batch 8; of sparse models with 51.6 of 128 experts.
    step_of_8_ms: [f64; 2],
}

const fn expected(
    name: &'static str,
    file_gib: f64,
    token_gb: f64,
    step_gb: f64,
    step_ms: [f64; 2],
    step_of_8_ms: [f64; 2],
) -> Expected {
    Expected { name, file_gib, token_gb, step_gb, step_ms, step_of_8_ms }
}

/// Two differences to the sources are meant. `Int8-W8A16`: the hand-made step of 8.61 GB assumed a
/// scale per 128 inputs; its files have one per row (their size tells), which is 8.50. `GGUF`: the
/// step was guessed for `Q4_K_M` and `Q8_0`; here are 5.42 GB of `Q5_K_M` and the same keys and values.
const EXPECTED: [Expected; 16] = [
    expected("Qwen3-8B", 15.27, 15.14, 15.45, [56.6, 63.6], [64.5, 72.5]),
    expected("Qwen3-8B-FP8", 8.80, 8.19, 8.50, [31.1, 35.0], [39.1, 43.9]),
    expected("Qwen3-8B-FP4", 5.97, 5.15, 5.46, [20.0, 22.5], [28.0, 31.4]),
    expected("Qwen3-8B-GPTQ-Int4", 5.69, 4.85, 5.16, [18.9, 21.2], [26.9, 30.2]),
    expected("Qwen3-8B-GPTQ-Int8", 8.95, 8.35, 8.66, [31.7, 35.7], [39.7, 44.6]),
    expected("Qwen3-8B-AWQ", 5.69, 4.85, 5.16, [18.9, 21.2], [26.9, 30.2]),
    expected("Qwen3-8B-Int4-W4A16", 5.67, 4.83, 5.14, [18.8, 21.1], [26.8, 30.1]),
    expected("Qwen3-8B-Int8-W8A16", 8.81, 8.19, 8.50, [31.1, 35.0], [39.1, 43.9]),
    expected("Qwen3-8B-GGUF", 5.445, 5.42, 5.73, [21.0, 23.6], [29.0, 32.5]),
    expected("Qwen3-32B-AWQ", 18.0, 17.77, 18.32, [67.1, 75.4], [81.3, 91.3]),
    expected("Qwen3-30B-A3B", 56.9, 6.08, 6.29, [23.0, 25.9], [100.7, 113.1]),
    expected("Qwen3-30B-A3B-FP8", 29.0, 3.37, 3.57, [13.1, 14.7], [54.6, 61.3]),
    expected("Qwen3-Coder-30B-A3B-Instruct-FP8", 29.0, 3.37, 3.57, [13.1, 14.7], [54.6, 61.3]),
    expected("Qwen3-Coder-30B-A3B-Instruct-AWQ-8bit", 30.8, 3.54, 3.74, [13.7, 15.4], [57.4, 64.5]),
    expected("Qwen3-Coder-30B-A3B-Instruct-AWQ-4bit", 16.9, 2.18, 2.38, [8.7, 9.8], [34.4, 38.6]),
    expected("Qwen3-Coder-30B-A3B-Instruct-Int4-W4A16", 15.6, 2.05, 2.26, [8.3, 9.3], [32.2, 36.2]),
];

/// Within the last digit of the figure, and 0.2 % for what is left out there or here: `g_idx`, norms,
/// scales of activations.
fn assert_near(got: f64, want: f64, digit: f64, what: &str) {
    assert!((got - want).abs() <= 0.51 * digit + 0.002 * want, "{what}: {got}, expected {want}");
}

#[test]
fn bytes_and_floors_are_those_worked_out_by_hand() {
    const CONTEXT: u64 = 2106;
    assert_eq!(PUBLISHED.len(), EXPECTED.len());
    for (published, want) in PUBLISHED.iter().zip(&EXPECTED) {
        assert_eq!(published.name, want.name);
        let plan = published.weight_plan(Isa::detect()).unwrap();
        let config = published.config().unwrap();
        let kv = (2 * 2 * config.layers * config.kv_heads * config.head_dim) as u64 * CONTEXT;
        let what = |figure: &str| format!("{}: {figure}", want.name);
        let gib = plan.file_bytes() as f64 / f64::from(1 << 30);
        let digit = if want.file_gib < 10.0 { 0.01 } else { 0.1 };
        assert_near(gib, want.file_gib, digit, &what("file"));
        let token = plan.file_bytes_per_step(1) as f64 / 1e9;
        assert_near(token, want.token_gb, 0.01, &what("token"));
        let step =
            |batch: usize| (plan.file_bytes_per_step(batch) + kv * batch as u64) as f64 / 1e9;
        assert_near(step(1), want.step_gb, 0.01, &what("step"));
        for (i, bandwidth) in [0.273, 0.243].into_iter().enumerate() {
            assert_near(step(1) / bandwidth, want.step_ms[i], 0.1, &what("floor"));
            assert_near(step(8) / bandwidth, want.step_of_8_ms[i], 0.1, &what("floor of 8"));
        }
    }
}

/// In memory scales are repeated for each 128 inputs and zeros take a byte; where zeros are all the
/// same, there are none.
#[test]
fn memory_differs_from_files_as_layouts_do() {
    let share = |name: &str| {
        let plan = Published::find(name).unwrap().weight_plan(Isa::detect()).unwrap();
        plan.bytes_per_step(1) as f64 / plan.file_bytes_per_step(1) as f64
    };
    let linears = 6.945e9;
    for (name, bytes_per_weight, file_bytes_per_weight) in [
        ("Qwen3-8B", 2.0, 2.0),
        ("Qwen3-8B-FP8", 1.0 + 2.0 / 128.0, 1.0),
        ("Qwen3-8B-Int8-W8A16", 1.0 + 2.0 / 128.0, 1.0),
        ("Qwen3-8B-GPTQ-Int8", 1.0 + 2.0 / 128.0, 1.0 + 3.0 / 128.0),
        ("Qwen3-8B-Int4-W4A16", 0.5 + 2.0 / 128.0, 0.5 + 2.0 / 128.0),
        ("Qwen3-8B-AWQ", 0.5 + 3.0 / 128.0, 0.5 + 2.5 / 128.0),
    ] {
        let head = 151_936.0 * 4096.0 * 2.0;
        let want = (linears * bytes_per_weight + head) / (linears * file_bytes_per_weight + head);
        assert!((share(name) - want).abs() < 2e-3, "{name}: {}, expected {want}", share(name));
    }
}

#[test]
fn names_are_found_with_owner_and_in_any_case() {
    for name in ["Qwen3-8B-FP4", "nvidia/Qwen3-8B-FP4", "qwen3-8b-fp4"] {
        assert_eq!(Published::find(name).unwrap().repository, "nvidia/Qwen3-8B-FP4");
    }
    assert!(Published::find("Qwen3-8").is_none() && Published::find("list").is_none());
    assert_eq!(Published::find("qwen3-8b-gguf").unwrap().describe(), "Qwen/Qwen3-8B-GGUF, Q5_K_M");
}

/// The configuration says beforehand what the tensors of its checkpoint turn out to be.
#[test]
fn plans_without_and_with_tensors_are_the_same() {
    let dense = Shape {
        hidden: 256,
        heads: 8,
        head_dim: 32,
        intermediate: 384,
        tied: false,
        ..Shape::qwen3()
    };
    let moe = Shape::qwen3_moe(true).moe.map(|moe| Experts { intermediate: 128, ..moe });
    let sparse = Shape { moe, architecture: "Qwen3MoeForCausalLM", ..dense };
    for packing in [
        Packing::Fp8Blocks(Width::Bf16),
        Packing::Packed(4, 128, false),
        Packing::Packed(4, 64, true),
        Packing::Packed(8, 0, false),
        Packing::Packed(8, 32, false),
        Packing::Gptq(4, 128, false, false, true),
        Packing::Gptq(4, 64, true, true, false),
        Packing::Gptq(8, 0, false, false, false),
        Packing::Awq(32),
        Packing::Nvfp4(true),
    ] {
        for shape in [&dense, &sparse] {
            let mut model = PackedModel::new(&shape.build(3), packing);
            model.config["torch_dtype"] = json!("bfloat16");
            let quantization = &mut model.config["quantization_config"];
            if quantization.get("ignore").is_some() {
                let gates = ["lm_head", "model.layers.0.mlp.gate", "model.layers.1.mlp.gate"];
                quantization["ignore"] = json!(gates);
            }
            let directory = tempfile::tempdir().unwrap();
            model.write(directory.path());
            let files = ModelFiles::open(directory.path()).unwrap();
            let declared = plan_of_config(&model.config.to_string(), None, Isa::detect()).unwrap();
            assert_eq!(declared, files.weight_plan(Isa::detect()).unwrap(), "{packing:?}");
        }
    }
}

#[test]
fn what_only_tensors_tell_is_refused() {
    for packing in [Packing::Fp8Rows, Packing::Nvfp4(false), Packing::Int8] {
        let mut model = PackedModel::new(&Shape::qwen3().build(3), Packing::Awq(32));
        model.config["quantization_config"] = packing.config();
        let error = plan_of_config(&model.config.to_string(), None, Isa::detect());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("with its weights"), "{error}");
    }
}

#[test]
fn exceptions_that_need_the_names_of_all_modules_are_refused() {
    let changes: [(Packing, &str, serde_json::Value); 5] = [
        (Packing::Packed(4, 32, false), "ignore", json!(["re:.*lm_head"])),
        (Packing::Nvfp4(true), "ignore", json!(["model.layers.*"])),
        (Packing::Awq(32), "modules_to_not_convert", json!(["mlp"])),
        (Packing::Gptq(4, 32, false, false, false), "dynamic", json!({"-:.*down": {}})),
        (Packing::Gptq(4, 32, false, false, false), "lm_head", json!(true)),
    ];
    for (packing, field, value) in changes {
        let mut config = Shape::qwen3().config();
        config["quantization_config"] = packing.config();
        plan_of_config(&config.to_string(), None, Isa::detect()).unwrap();
        config["quantization_config"][field] = value;
        let error = plan_of_config(&config.to_string(), None, Isa::detect()).unwrap_err();
        assert!(error.to_string().contains("with its weights"), "{field}: {error}");
    }
}

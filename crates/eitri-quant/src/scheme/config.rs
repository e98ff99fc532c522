//! What the producers write about a quantisation: `quantization_config` of `config.json`, and the
//! file that some put beside it. Field sets are those of compressed-tensors 0.20
//! (`QuantizationConfig`), `GPTQModel` 2 (`QuantizeConfig`), `AutoAWQ` 0.2 (`AwqConfig`), `ModelOpt`
//! 0.33 (`hf_quant_config.json`) and Qwen's FP8 checkpoints.

use serde_json::{Value, json};

use super::{Calibration, Scheme, grid::Grid, layout::Layout};

/// What stays as it was in a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unquantised {
    /// Norms of all layers, for formats that list them.
    pub norms: Vec<String>,
    /// Routers of mixtures of experts.
    pub routers: Vec<String>,
}

/// Share of the mean of the Hessian's diagonal that is added to it.
pub(super) const DAMPING: f64 = 0.01;

impl Unquantised {
    /// The head and routers: modules that would be quantised if they were not named.
    fn modules(&self) -> Vec<&str> {
        std::iter::once("lm_head").chain(self.routers.iter().map(String::as_str)).collect()
    }
}

impl Scheme {
    /// `quantization_config` for `config.json`. `has_inputs` is whether scales of activations are
    /// stored.
    pub fn config(&self, unquantised: &Unquantised, has_inputs: bool) -> Value {
        match self.layout {
            Layout::BlockFp8 => {
                let mut names = unquantised.modules();
                names.extend(unquantised.norms.iter().map(String::as_str));
                json!({
                    "activation_scheme": "dynamic",
                    "fmt": "e4m3",
                    "modules_to_not_convert": names,
                    "quant_method": "fp8",
                    "weight_block_size": [self.grid.rows(), self.grid.rows()],
                })
            }
            Layout::FloatQuantized => compressed_tensors(
                "float-quantized",
                &arguments(8, "float", "channel", None, &json!(false)),
                &arguments(8, "float", "token", None, &json!(true)),
                unquantised,
            ),
            Layout::PackQuantized => {
                let (bits, group) = self.integers();
                let strategy = if group.is_some() { "group" } else { "channel" };
                let weights = arguments(bits, "int", strategy, group, &json!(false));
                compressed_tensors("pack-quantized", &weights, &Value::Null, unquantised)
            }
            Layout::Nvfp4Pack => {
                let of = |dynamic: &Value| {
                    let mut arguments = arguments(4, "float", "tensor_group", Some(16), dynamic);
                    arguments["scale_dtype"] = json!("torch.float8_e4m3fn");
                    arguments["zp_dtype"] = json!("torch.float8_e4m3fn");
                    arguments
                };
                let inputs = if has_inputs { of(&json!("local")) } else { Value::Null };
                compressed_tensors("nvfp4-pack-quantized", &of(&json!(false)), &inputs, unquantised)
            }
            Layout::Gptq => self.gptq_config(),
            Layout::Awq => {
                let routers = &unquantised.routers;
                let skipped = if routers.is_empty() { Value::Null } else { json!(routers) };
                json!({
                    "bits": 4,
                    "group_size": self.integers().1,
                    "modules_to_not_convert": skipped,
                    "quant_method": "awq",
                    "version": "gemm",
                    "zero_point": true,
                })
            }
            Layout::ModelOpt => {
                let numbers = json!({
                    "dynamic": false, "num_bits": 4, "type": "float", "group_size": 16,
                });
                let inputs = if has_inputs { numbers.clone() } else { Value::Null };
                json!({
                    "config_groups": {"group_0": {
                        "input_activations": inputs,
                        "weights": numbers,
                        "targets": ["Linear"],
                    }},
                    "ignore": unquantised.modules(),
                    "quant_algo": modelopt_algorithm(has_inputs),
                    "producer": modelopt(),
                    "quant_method": "modelopt",
                })
            }
        }
    }

    /// The file beside `config.json` that says the same, in formats that have one.
    pub fn side_file(
        &self,
        unquantised: &Unquantised,
        has_inputs: bool,
    ) -> Option<(&'static str, Value)> {
        match self.layout {
            Layout::Gptq => Some(("quantize_config.json", self.gptq_config())),
            Layout::ModelOpt => {
                let content = json!({
                    "producer": modelopt(),
                    "quantization": {
                        "quant_algo": modelopt_algorithm(has_inputs),
                        "kv_cache_quant_algo": null,
                        "group_size": 16,
                        "exclude_modules": unquantised.modules(),
                    },
                });
                Some(("hf_quant_config.json", content))
            }
            _ => None,
        }
    }

    /// Whether scales of activations are stored when there are calibration texts.
    pub fn has_input_scales(&self) -> bool {
        self.calibration == Calibration::InputScale
    }

    fn integers(&self) -> (u32, Option<usize>) {
        match self.grid {
            Grid::Integer { bits, group, .. } => (bits, group),
            Grid::Fp8 { block } => (8, block),
            Grid::Nvfp4 { .. } => (4, Some(16)),
        }
    }

    fn gptq_config(&self) -> Value {
        let (bits, group) = self.integers();
        json!({
            "bits": bits,
            "checkpoint_format": "gptq",
            "desc_act": false,
            "group_size": group,
            "lm_head": false,
            "meta": {
                "quantizer": [concat!("eitri:", env!("CARGO_PKG_VERSION"))],
                "damp_percent": DAMPING,
            },
            "pack_dtype": "int32",
            "quant_method": "gptq",
            "sym": true,
            "true_sequential": false,
        })
    }
}

/// Loaders know the format by this name, whoever wrote the file.
fn modelopt() -> Value {
    json!({"name": "modelopt", "version": "0.33.0"})
}

/// Without scales of activations only weights are in 4 bits.
fn modelopt_algorithm(has_inputs: bool) -> &'static str {
    if has_inputs { "NVFP4" } else { "W4A16_NVFP4" }
}

/// `QuantizationArgs` of compressed-tensors.
fn arguments(
    bits: u32,
    kind: &str,
    strategy: &str,
    group: Option<usize>,
    dynamic: &Value,
) -> Value {
    let observer = if *dynamic == json!(false) { json!("minmax") } else { Value::Null };
    json!({
        "actorder": null,
        "block_structure": null,
        "dynamic": dynamic,
        "group_size": group,
        "num_bits": bits,
        "observer": observer,
        "observer_kwargs": {},
        "strategy": strategy,
        "symmetric": true,
        "type": kind,
    })
}

fn compressed_tensors(
    format: &str,
    weights: &Value,
    inputs: &Value,
    unquantised: &Unquantised,
) -> Value {
    json!({
        "config_groups": {"group_0": {
            "input_activations": inputs,
            "output_activations": null,
            "targets": ["Linear"],
            "weights": weights,
        }},
        "format": format,
        "global_compression_ratio": null,
        "ignore": unquantised.modules(),
        "kv_cache_scheme": null,
        "quant_method": "compressed-tensors",
        "quantization_status": "compressed",
    })
}

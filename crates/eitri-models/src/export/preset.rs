//! Which tensor is stored in which type.

use eitri_quant::Encoding;

use crate::ModelConfig;

/// A choice of types for the tensors of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct GgufPreset {
    /// Its name, as in `q4_k_m`.
    pub name: &'static str,
    /// `general.file_type` (`enum llama_ftype`).
    pub(super) file_type: u32,
    /// Type of most matrices.
    pub(super) base: Encoding,
    /// Type of the output matrix, also where it is the embedding table.
    pub(super) output: Encoding,
    /// Whether some matrices that matter more get more bits.
    pub(super) mixed: bool,
}

const fn pure(name: &'static str, file_type: u32, encoding: Encoding) -> GgufPreset {
    GgufPreset { name, file_type, base: encoding, output: encoding, mixed: false }
}

const fn mixed(name: &'static str, file_type: u32, base: Encoding) -> GgufPreset {
    GgufPreset { name, file_type, base, output: Encoding::Q6_K, mixed: true }
}

/// All presets, from the most exact to the smallest.
pub static GGUF_PRESETS: [GgufPreset; 11] = [
    pure("f32", 0, Encoding::F32),
    pure("f16", 1, Encoding::F16),
    pure("bf16", 32, Encoding::BF16),
    pure("q8_0", 7, Encoding::Q8_0),
    pure("q6_k", 18, Encoding::Q6_K),
    GgufPreset::Q5_K_M,
    pure("q5_1", 9, Encoding::Q5_1),
    pure("q5_0", 8, Encoding::Q5_0),
    mixed("q4_k_m", 15, Encoding::Q4_K),
    pure("q4_1", 3, Encoding::Q4_1),
    pure("q4_0", 2, Encoding::Q4_0),
];

impl GgufPreset {
    /// `Q5_K_M` of llama.cpp.
    pub(crate) const Q5_K_M: Self = mixed("q5_k_m", 17, Encoding::Q5_K);

    /// The preset of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        GGUF_PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The type of a tensor by its GGUF name and its shape, outermost dimension first.
    pub(super) fn choose(&self, name: &str, shape: &[usize], config: &ModelConfig) -> Choice {
        if !is_matrix(name, shape) {
            return Choice { encoding: Encoding::F32, is_fallback: false };
        }
        let k = shape.last().copied().unwrap_or(1);
        let is_output = is_output(name, config);
        let wanted = if is_output { self.output } else { self.wanted(name, config) };
        let encoding = if is_output && !k.is_multiple_of(self.base.block) {
            fitting(Encoding::Q8_0, k)
        } else {
            fitting(wanted, k)
        };
        Choice { encoding, is_fallback: encoding != wanted }
    }

    /// The type that [`Self::choose`] chooses.
    pub(crate) fn encoding(&self, name: &str, shape: &[usize], config: &ModelConfig) -> Encoding {
        self.choose(name, shape, config).encoding
    }

    /// The type of a matrix other than the output (`llama_tensor_get_type_impl`).
    fn wanted(&self, name: &str, config: &ModelConfig) -> Encoding {
        if !self.mixed {
            return self.base;
        }
        let few_experts = config.moe.as_ref().is_some_and(|moe| moe.experts == 8);
        let is = |part: &str| name.contains(part);
        if is("attn_v.") || is("attn_qkv.") || is("attn_k.") {
            // Small beside eight experts, so that it costs little to keep them nearly exact.
            if few_experts {
                return Encoding::Q8_0;
            }
            if is("attn_k.") {
                return self.base;
            }
            if more_bits(name, config.layers) {
                return Encoding::Q6_K;
            }
            // Eight query heads share each value head in Llama with 70 billion parameters.
            let is_70b = config.architecture.gguf == "llama" && config.layers == 80;
            return if is_70b && self.base == Encoding::Q4_K { Encoding::Q5_K } else { self.base };
        }
        if is("attn_output.") && few_experts && self.base == Encoding::Q4_K {
            return Encoding::Q5_K;
        }
        if is("ffn_down") && more_bits(name, config.layers) {
            return Encoding::Q6_K;
        }
        self.base
    }
}

/// The type of one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) encoding: Encoding,
    /// Whether its rows do not divide by the blocks of the type that it should have.
    pub(super) is_fallback: bool,
}

fn is_output(name: &str, config: &ModelConfig) -> bool {
    name == "output.weight" || config.tie_word_embeddings && name == "token_embd.weight"
}

/// Whether the tensor is multiplied with activations; others stay F32: vectors, norms and routers.
fn is_matrix(name: &str, shape: &[usize]) -> bool {
    shape.len() > 1
        && name.ends_with(".weight")
        && !name.ends_with("_norm.weight")
        && !name.contains("ffn_gate_inp.")
}

/// Whether the layer of this tensor is among those that keep more bits: the first and the last
/// eighth, and every third between.
fn more_bits(name: &str, layers: usize) -> bool {
    let number = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next());
    let Some(layer) = number.and_then(|number| number.parse::<usize>().ok()) else { return false };
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// The type itself, or one of smaller blocks for rows that it does not divide
/// (`tensor_type_fallback`).
fn fitting(wanted: Encoding, k: usize) -> Encoding {
    if k.is_multiple_of(wanted.block) {
        return wanted;
    }
    let smaller = match wanted {
        Encoding::Q4_K => Encoding::Q5_0,
        Encoding::Q5_K => Encoding::Q5_1,
        Encoding::Q6_K => Encoding::Q8_0,
        other => other,
    };
    if k.is_multiple_of(smaller.block) { smaller } else { Encoding::F16 }
}

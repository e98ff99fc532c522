//! The tensors of a model under their GGUF names, with rows in GGUF's order.

use eitri_kernels::RopeScaling;
use eitri_quant::{Checkpoint, Matrix};

use crate::{
    ModelConfig, ModelError, ModelFiles, MoeConfig,
    config::ROPE_FACTORS,
    weights::{Naming, Slot, Weights},
};

/// A tensor to be written.
pub(super) struct SourceTensor<'a> {
    pub(super) name: String,
    /// Outermost dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) values: Values<'a>,
}

pub(super) enum Values<'a> {
    Vector(Vec<f32>),
    Matrix(Matrix<'a>),
}

impl SourceTensor<'_> {
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// What the tensor is for; small ones have one name together.
    pub(super) fn kind(&self) -> &'static str {
        const KINDS: [(&str, &str); 14] = [
            ("token_embd", "embedding"),
            ("ffn_gate_inp", "router"),
            ("_norm", "norms"),
            ("attn_q", "attention q,k,v"),
            ("attn_k", "attention q,k,v"),
            ("attn_v", "attention q,k,v"),
            ("attn_output", "attention output"),
            ("ffn_gate_up_exps", "experts gate,up"),
            ("ffn_gate_exps", "experts gate,up"),
            ("ffn_up_exps", "experts gate,up"),
            ("ffn_down_exps", "experts down"),
            ("ffn_gate", "feed-forward gate,up"),
            ("ffn_up", "feed-forward gate,up"),
            ("ffn_down", "feed-forward down"),
        ];
        let found = KINDS.iter().find(|(part, _)| self.name.contains(part));
        let kind = found.map(|&(_, kind)| kind);
        kind.unwrap_or(if self.name.starts_with("output.") { "output" } else { "others" })
    }
}

/// All tensors, in the order of the network or of the GGUF file they come from.
pub(super) fn tensors(files: &ModelFiles) -> Result<Vec<SourceTensor<'_>>, ModelError> {
    let weights = files.weights();
    let tensors = match files.naming() {
        Naming::HuggingFace => hugging_face(&weights)?,
        Naming::Gguf => gguf(files.checkpoint())?,
    };
    for tensor in &tensors {
        if let Values::Matrix(matrix) = &tensor.values
            && !["F32", "F16", "BF16"].contains(&matrix.stored())
        {
            return Err(ModelError::Unsupported {
                file: files.checkpoint().name().to_owned(),
                field: matrix.name().to_owned(),
                value: matrix.stored().to_owned(),
                hint: " as a source; start from F32, F16 or BF16".to_owned(),
            });
        }
    }
    Ok(tensors)
}

/// A GGUF file has every name and order already.
fn gguf(checkpoint: &Checkpoint) -> Result<Vec<SourceTensor<'_>>, ModelError> {
    let tensor = |name: &str| {
        let shape = checkpoint.tensor(name)?.shape.to_vec();
        let values = match *shape {
            [len] => Values::Vector(checkpoint.vector(name, len)?),
            _ => Values::Matrix(Matrix::open(checkpoint, name)?),
        };
        Ok(SourceTensor { name: name.to_owned(), shape, values })
    };
    checkpoint.names().into_iter().map(tensor).collect()
}

fn hugging_face<'a>(weights: &Weights<'a>) -> Result<Vec<SourceTensor<'a>>, ModelError> {
    let config = weights.config();
    let mut list = List { weights, layer: 0, tensors: Vec::new() };
    if let Some(factors) = rope_factors(config) {
        list.vector(ROPE_FACTORS.to_owned(), factors);
    }
    list.matrix(Slot::Embedding, weights.embedding()?);
    for layer in 0..config.layers {
        list.layer = layer;
        list.attention(config)?;
        list.norm(Slot::FeedForwardNorm)?;
        match &config.moe {
            Some(moe) if moe.is_sparse(layer) => list.experts(moe)?,
            _ => {
                for (slot, matrix) in
                    [Slot::Gate, Slot::Up].into_iter().zip(weights.gate_up(layer)?)
                {
                    list.matrix(slot, matrix);
                }
                list.matrix(Slot::Down, weights.down(layer)?);
            }
        }
    }
    list.norm(Slot::OutputNorm)?;
    if let Some(output) = weights.output()? {
        list.matrix(Slot::Output, output);
    }
    Ok(list.tensors)
}

/// Tensors in the making.
struct List<'w, 'a> {
    weights: &'w Weights<'a>,
    layer: usize,
    tensors: Vec<SourceTensor<'a>>,
}

impl<'a> List<'_, 'a> {
    fn vector(&mut self, name: String, values: Vec<f32>) {
        let shape = vec![values.len()];
        self.tensors.push(SourceTensor { name, shape, values: Values::Vector(values) });
    }

    fn norm(&mut self, slot: Slot) -> Result<(), ModelError> {
        let values = self.weights.norm(slot, self.layer)?;
        self.vector(self.name(slot), values);
        Ok(())
    }

    fn matrix(&mut self, slot: Slot, matrix: Matrix<'a>) {
        self.push(slot, vec![matrix.n(), matrix.k()], matrix);
    }

    fn stack(&mut self, slot: Slot, matrix: Matrix<'a>) {
        self.push(slot, vec![matrix.experts(), matrix.n(), matrix.k()], matrix);
    }

    fn push(&mut self, slot: Slot, shape: Vec<usize>, matrix: Matrix<'a>) {
        let (name, values) = (self.name(slot), Values::Matrix(matrix));
        self.tensors.push(SourceTensor { name, shape, values });
    }

    fn name(&self, slot: Slot) -> String {
        format!("{}.weight", Naming::Gguf.module(slot, self.layer))
    }

    fn attention(&mut self, config: &ModelConfig) -> Result<(), ModelError> {
        let (weights, layer) = (self.weights, self.layer);
        self.norm(Slot::AttentionNorm)?;
        let shape = config.head_shape();
        let mut start = 0;
        let slots = [Slot::Query, Slot::Key, Slot::Value];
        let heads = [shape.heads, shape.kv_heads, shape.kv_heads];
        for (i, (slot, heads)) in slots.into_iter().zip(heads).enumerate() {
            let rows = start..start + heads * shape.head_dim;
            start = rows.end;
            let mut parts = weights.qkv(layer)?;
            let matrix =
                if parts.len() == 1 { parts.remove(0).slice_rows(rows) } else { parts.remove(i) };
            let is_turned = config.architecture.gguf_interleaved && slot != Slot::Value;
            self.matrix(slot, if is_turned { interleave(matrix, config.head_dim) } else { matrix });
        }
        if config.qk_norm {
            self.norm(Slot::QueryNorm)?;
            self.norm(Slot::KeyNorm)?;
        }
        self.matrix(Slot::AttentionOutput, weights.attention_output(layer)?);
        Ok(())
    }

    fn experts(&mut self, moe: &MoeConfig) -> Result<(), ModelError> {
        let (weights, layer, n) = (self.weights, self.layer, moe.intermediate_size);
        self.matrix(Slot::Router, weights.router(layer, moe)?);
        self.stack(Slot::ExpertGate, weights.expert_gate_up(layer, moe)?.slice_rows(0..n));
        self.stack(Slot::ExpertUp, weights.expert_gate_up(layer, moe)?.slice_rows(n..2 * n));
        self.stack(Slot::ExpertDown, weights.expert_down(layer, moe)?);
        Ok(())
    }
}

/// The two dimensions of a head that turn together are half a head apart in training, and
/// neighbours in GGUF files of Llama.
fn interleave(matrix: Matrix<'_>, head_dim: usize) -> Matrix<'_> {
    let half = head_dim / 2;
    matrix.permute_rows(move |row| {
        let (first, i) = (row / head_dim * head_dim, row % head_dim);
        first + half * (i % 2) + i / 2
    })
}

/// What Llama 3 scaling divides each frequency by; GGUF has it as a tensor instead of parameters.
fn rope_factors(config: &ModelConfig) -> Option<Vec<f32>> {
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max } =
        config.rope_scaling
    else {
        return None;
    };
    let half = config.head_dim / 2;
    let of_pair = |i: usize| {
        let wave = std::f64::consts::TAU * config.rope_theta.powf(i as f64 / half as f64);
        let rotations = original_max as f64 / wave;
        let smooth = (rotations - low_freq_factor) / (high_freq_factor - low_freq_factor);
        let smooth = smooth.clamp(0.0, 1.0);
        (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
    };
    Some((0..half).map(of_pair).collect())
}

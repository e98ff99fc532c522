//! The tensors of a network under their Hugging Face names: linear modules, which are quantised,
//! and the others, which are copied.

use std::{ops::Range, rc::Rc};

use eitri_quant::{Encoding, Matrix, scheme::Unquantised};

use crate::{
    ModelConfig, ModelError, ModelFiles, MoeConfig,
    weights::{Naming, Slot, Weights},
};

/// Whose inputs: all modules of a point have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Point {
    /// Of queries, keys and values.
    Attention,
    /// Of the attention's output projection.
    Attended,
    /// Of a dense feed-forward network, or of all experts and the router.
    FeedForward,
    /// Of the second half of a dense feed-forward network.
    Activated,
    /// Of one expert.
    Expert(usize),
    /// Of the second half of one expert.
    ExpertActivated(usize),
}

/// Modules that other programs fuse: they have the same inputs and, in some formats, one scale.
pub(super) struct Group<'a> {
    pub(super) point: Point,
    pub(super) kind: &'static str,
    pub(super) modules: Vec<Module<'a>>,
}

/// A matrix that is quantised.
#[derive(Clone)]
pub(super) struct Module<'a> {
    pub(super) name: String,
    matrix: Rc<Matrix<'a>>,
    /// Its rows in the matrix, counted over all experts.
    rows: Range<usize>,
}

impl Module<'_> {
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.rows.len(), self.matrix.k()]
    }

    pub(super) fn count(&self) -> usize {
        self.rows.len() * self.matrix.k()
    }

    /// The type of the stored values.
    pub(super) fn encoding(&self) -> Encoding {
        match self.matrix.stored() {
            "F32" => Encoding::F32,
            "F16" => Encoding::F16,
            _ => Encoding::BF16,
        }
    }

    /// All values.
    pub(super) fn values(&self) -> Result<Vec<f32>, ModelError> {
        let k = self.matrix.k();
        let mut values = vec![0.0; self.count()];
        for (row, out) in self.rows.clone().zip(values.chunks_exact_mut(k)) {
            self.matrix.dequantise_row(row, out)?;
        }
        Ok(values)
    }

    /// Gives back the memory of the file pages that it was read from.
    pub(super) fn release(&self) {
        self.matrix.release();
    }
}

/// A tensor that stays as it is.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub(super) name: String,
    pub(super) kind: &'static str,
}

/// One layer.
pub(super) struct Layer<'a> {
    pub(super) copied: Vec<Copied>,
    pub(super) groups: Vec<Group<'a>>,
}

/// All tensors.
pub(super) struct Network<'a> {
    pub(super) layers: Vec<Layer<'a>>,
    /// Embedding, last norm and head.
    pub(super) others: Vec<Copied>,
    pub(super) unquantised: Unquantised,
}

impl<'a> Network<'a> {
    /// The network of a Hugging Face directory.
    ///
    /// # Errors
    /// When it is of another kind or quantised already.
    pub(super) fn new(files: &'a ModelFiles) -> Result<Self, ModelError> {
        let weights = files.weights();
        let unsupported = |field: &str, value: &str| ModelError::Unsupported {
            file: files.checkpoint().name().to_owned(),
            field: field.to_owned(),
            value: value.to_owned(),
            hint: " as a source of this format; start from the Hugging Face directory of F32, F16 \
                   or BF16 weights"
                .to_owned(),
        };
        if files.naming() != Naming::HuggingFace {
            return Err(unsupported("the file", "GGUF"));
        }
        let config = weights.config();
        let mut network =
            Self { layers: Vec::new(), others: Vec::new(), unquantised: Unquantised::default() };
        for layer in 0..config.layers {
            let layer = layer_of(&weights, layer, &mut network.unquantised)?;
            network.layers.push(layer);
        }
        network.others.push(copied(Slot::Embedding, 0, "embedding"));
        network.others.push(copied(Slot::OutputNorm, 0, "norms"));
        if weights.output()?.is_some() {
            network.others.push(copied(Slot::Output, 0, "output"));
        }
        let groups = network.layers.iter().flat_map(|layer| &layer.groups);
        for module in groups.flat_map(|group| &group.modules) {
            let stored = module.matrix.stored();
            if !["F32", "F16", "BF16"].contains(&stored) {
                return Err(unsupported(module.matrix.name(), stored));
            }
        }
        Ok(network)
    }
}

fn copied(slot: Slot, layer: usize, kind: &'static str) -> Copied {
    Copied { name: format!("{}.weight", Naming::HuggingFace.module(slot, layer)), kind }
}

fn layer_of<'a>(
    weights: &Weights<'a>,
    layer: usize,
    unquantised: &mut Unquantised,
) -> Result<Layer<'a>, ModelError> {
    let config = weights.config();
    let mut norms = vec![Slot::AttentionNorm, Slot::FeedForwardNorm];
    unquantised.norms.extend(norms.iter().map(|&slot| Naming::HuggingFace.module(slot, layer)));
    if config.qk_norm {
        norms.extend([Slot::QueryNorm, Slot::KeyNorm]);
    }
    let mut made = Layer {
        copied: norms.into_iter().map(|slot| copied(slot, layer, "norms")).collect(),
        groups: attention(weights, layer, config)?,
    };
    match &config.moe {
        Some(moe) if moe.is_sparse(layer) => {
            // Shape and presence are checked here; the tensor itself is copied.
            weights.router(layer, moe)?;
            unquantised.routers.push(Naming::HuggingFace.module(Slot::Router, layer));
            made.copied.push(copied(Slot::Router, layer, "router"));
            made.groups.extend(experts(weights, layer, moe)?);
        }
        _ => made.groups.extend(feed_forward(weights, layer)?),
    }
    Ok(made)
}

fn whole(slot: Slot, layer: usize, matrix: Matrix<'_>) -> Module<'_> {
    let rows = 0..matrix.n();
    Module { name: Naming::HuggingFace.module(slot, layer), matrix: Rc::new(matrix), rows }
}

fn attention<'a>(
    weights: &Weights<'a>,
    layer: usize,
    config: &ModelConfig,
) -> Result<Vec<Group<'a>>, ModelError> {
    let shape = config.head_shape();
    let parts: Vec<_> = weights.qkv(layer)?.into_iter().map(Rc::new).collect();
    let mut start = 0;
    let slots = [Slot::Query, Slot::Key, Slot::Value];
    let heads = [shape.heads, shape.kv_heads, shape.kv_heads];
    let modules = slots.into_iter().zip(heads).enumerate().map(|(i, (slot, heads))| {
        let len = heads * shape.head_dim;
        let (matrix, rows) = match &*parts {
            [fused] => (fused, start..start + len),
            parts => (&parts[i], 0..len),
        };
        start += len;
        let name = Naming::HuggingFace.module(slot, layer);
        Module { name, matrix: matrix.clone(), rows }
    });
    let modules = modules.collect();
    let output = whole(Slot::AttentionOutput, layer, weights.attention_output(layer)?);
    Ok(vec![
        Group { point: Point::Attention, kind: "attention q,k,v", modules },
        Group { point: Point::Attended, kind: "attention output", modules: vec![output] },
    ])
}

fn feed_forward<'a>(weights: &Weights<'a>, layer: usize) -> Result<Vec<Group<'a>>, ModelError> {
    let slots = [Slot::Gate, Slot::Up];
    let parts = slots.into_iter().zip(weights.gate_up(layer)?);
    let modules = parts.map(|(slot, matrix)| whole(slot, layer, matrix)).collect();
    let down = whole(Slot::Down, layer, weights.down(layer)?);
    Ok(vec![
        Group { point: Point::FeedForward, kind: "feed-forward gate,up", modules },
        Group { point: Point::Activated, kind: "feed-forward down", modules: vec![down] },
    ])
}

/// Each expert under its own name, also where the source has them in one tensor.
fn experts<'a>(
    weights: &Weights<'a>,
    layer: usize,
    moe: &MoeConfig,
) -> Result<Vec<Group<'a>>, ModelError> {
    let gate_up = Rc::new(weights.expert_gate_up(layer, moe)?);
    let down = Rc::new(weights.expert_down(layer, moe)?);
    let (wide, hidden) = (moe.intermediate_size, down.n());
    let mut groups = Vec::with_capacity(2 * moe.experts);
    for expert in 0..moe.experts {
        let module = |slot, matrix: &Rc<Matrix<'a>>, rows| Module {
            name: Naming::HuggingFace.expert(slot, layer, expert),
            matrix: matrix.clone(),
            rows,
        };
        let first = 2 * wide * expert;
        let modules = vec![
            module(Slot::ExpertGate, &gate_up, first..first + wide),
            module(Slot::ExpertUp, &gate_up, first + wide..first + 2 * wide),
        ];
        groups.push(Group { point: Point::Expert(expert), kind: "experts gate,up", modules });
        let modules = vec![module(Slot::ExpertDown, &down, hidden * expert..hidden * (expert + 1))];
        groups.push(Group { point: Point::ExpertActivated(expert), kind: "experts down", modules });
    }
    Ok(groups)
}

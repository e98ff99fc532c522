//! Plain tensors of a checkpoint: what its formats mean, for whoever wants to check our reading.

use std::{ops::ControlFlow, path::Path, rc::Rc};

use eitri_kernels::Isa;
use eitri_quant::{Checkpoint, Encoding, Matrix, PlainTensor, WriteProgress, write_plain};

use crate::{
    ModelError, ModelFiles,
    weights::{Naming, Slot, Weights},
};

/// What [`dequantise`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DequantiseReport {
    /// How tensors were stored, such as `GPTQ 4-bit`, and how many so.
    pub stored: Vec<(&'static str, usize)>,
    /// Tensors of no use in a plain checkpoint, such as scales of activations, sorted.
    pub left_out: Vec<String>,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// Writes all tensors of a safetensors or GGUF file, or of a directory of them, to the safetensors
/// file `target`, with floats of type `floats` (F32 or BF16) and under the names that an unquantised
/// checkpoint has. It need not be a whole model; a GGUF file of one whose architecture is known gets
/// the names and rows of Hugging Face transformers, others keep theirs. `progress` is called now and
/// then, and may stop it; the file appears when it is complete.
///
/// # Errors
/// When there is no checkpoint, it is damaged, a weight is stored in a way that is not supported or
/// not finite, or the file cannot be written.
pub fn dequantise(
    path: &Path,
    target: &Path,
    floats: Encoding,
    progress: &mut dyn FnMut(WriteProgress) -> ControlFlow<()>,
) -> Result<DequantiseReport, ModelError> {
    if let Some(files) = gguf_model(path) {
        let tensors = hugging_face(&files)?;
        return write(files.checkpoint(), &tensors, target, floats, progress);
    }
    let checkpoint = Checkpoint::open(path)?;
    let tensors = checkpoint.plain_tensors()?;
    write(&checkpoint, &tensors, target, floats, progress)
}

fn write(
    checkpoint: &Checkpoint,
    tensors: &[PlainTensor<'_>],
    target: &Path,
    floats: Encoding,
    progress: &mut dyn FnMut(WriteProgress) -> ControlFlow<()>,
) -> Result<DequantiseReport, ModelError> {
    let mut report = DequantiseReport::default();
    for stored in tensors.iter().map(PlainTensor::stored) {
        match report.stored.iter_mut().find(|(known, _)| *known == stored) {
            Some((_, count)) => *count += 1,
            None => report.stored.push((stored, 1)),
        }
    }
    let left_out = [checkpoint.unused(), checkpoint.passed_over()].concat();
    report.left_out = left_out.into_iter().map(str::to_owned).collect();
    report.left_out.sort_unstable();
    report.file_bytes = write_plain(target, tensors, floats, progress)?;
    Ok(report)
}

/// A GGUF file that has all tensors of a network that is known.
fn gguf_model(path: &Path) -> Option<ModelFiles> {
    let files = ModelFiles::open(path).ok()?;
    let is_whole = files.naming() == Naming::Gguf && files.weight_plan(Isa::detect()).is_ok();
    is_whole.then_some(files)
}

/// The tensors of a GGUF model as transformers names them, one matrix for each expert.
fn hugging_face(files: &ModelFiles) -> Result<Vec<PlainTensor<'_>>, ModelError> {
    let (weights, config) = (files.weights(), files.config());
    let mut list = List { weights: &weights, checkpoint: files.checkpoint(), tensors: Vec::new() };
    list.matrix(Slot::Embedding, 0, weights.embedding()?);
    for layer in 0..config.layers {
        list.norm(Slot::AttentionNorm, layer)?;
        if config.qk_norm {
            list.norm(Slot::QueryNorm, layer)?;
            list.norm(Slot::KeyNorm, layer)?;
        }
        list.attention(layer)?;
        list.matrix(Slot::AttentionOutput, layer, weights.attention_output(layer)?);
        list.norm(Slot::FeedForwardNorm, layer)?;
        match &config.moe {
            Some(moe) if moe.is_sparse(layer) => {
                list.matrix(Slot::Router, layer, weights.router(layer, moe)?);
                let n = moe.intermediate_size;
                let gate_up = weights.expert_gate_up(layer, moe)?;
                list.experts(layer, gate_up, &[(Slot::ExpertGate, n), (Slot::ExpertUp, n)]);
                let down = weights.expert_down(layer, moe)?;
                list.experts(layer, down, &[(Slot::ExpertDown, config.hidden_size)]);
            }
            _ => {
                let parts = weights.gate_up(layer)?;
                for (slot, matrix) in [Slot::Gate, Slot::Up].into_iter().zip(parts) {
                    list.matrix(slot, layer, matrix);
                }
                list.matrix(Slot::Down, layer, weights.down(layer)?);
            }
        }
    }
    list.norm(Slot::OutputNorm, 0)?;
    if let Some(output) = weights.output()? {
        list.matrix(Slot::Output, 0, output);
    }
    Ok(list.tensors)
}

/// Tensors in the making.
struct List<'w, 'a> {
    weights: &'w Weights<'a>,
    checkpoint: &'a Checkpoint,
    tensors: Vec<PlainTensor<'a>>,
}

impl<'a> List<'_, 'a> {
    fn matrix(&mut self, slot: Slot, layer: usize, matrix: Matrix<'a>) {
        let n = matrix.n();
        self.rows(&Naming::HuggingFace.module(slot, layer), &Rc::new(matrix), 0, n);
    }

    fn rows(&mut self, module: &str, matrix: &Rc<Matrix<'a>>, first: usize, n: usize) {
        let (name, shape) = (format!("{module}.weight"), vec![n, matrix.k()]);
        self.tensors.push(PlainTensor::rows(name, shape, matrix.clone(), first));
    }

    fn norm(&mut self, slot: Slot, layer: usize) -> Result<(), ModelError> {
        let name = |naming: Naming| format!("{}.weight", naming.module(slot, layer));
        let view = self.checkpoint.tensor(&name(self.weights.naming))?;
        let mut tensor = PlainTensor::copied(view)?;
        tensor.name = name(Naming::HuggingFace);
        self.tensors.push(tensor);
        Ok(())
    }

    fn attention(&mut self, layer: usize) -> Result<(), ModelError> {
        let shape = self.weights.config().head_shape();
        let slots = [
            (Slot::Query, shape.heads * shape.head_dim),
            (Slot::Key, shape.kv_heads * shape.head_dim),
            (Slot::Value, shape.kv_heads * shape.head_dim),
        ];
        let parts: Vec<_> = self.weights.qkv(layer)?.into_iter().map(Rc::new).collect();
        let mut first = 0;
        for (i, (slot, n)) in slots.into_iter().enumerate() {
            let module = Naming::HuggingFace.module(slot, layer);
            match parts.as_slice() {
                [fused] => self.rows(&module, fused, first, n),
                parts => self.rows(&module, &parts[i], 0, n),
            }
            first += n;
        }
        Ok(())
    }

    /// The parts, of so many rows, that each expert of a stack has one after the other.
    fn experts(&mut self, layer: usize, stack: Matrix<'a>, parts: &[(Slot, usize)]) {
        let stack = Rc::new(stack);
        for expert in 0..stack.experts() {
            let mut first = expert * stack.n();
            for &(slot, n) in parts {
                self.rows(&Naming::HuggingFace.expert(slot, layer, expert), &stack, first, n);
                first += n;
            }
        }
    }
}

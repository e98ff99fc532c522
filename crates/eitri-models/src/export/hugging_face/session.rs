//! What is common to all ways of writing a directory: modules and copies go into the files and into
//! the report.

use std::{ops::ControlFlow, thread};

use eitri_quant::{
    Encoding,
    gguf::NewTensor,
    safetensors::SafeTensorsDirectory,
    scheme::{Codes, Scheme, StoredTensor},
};

use super::{
    super::{
        ExportProgress, ExportReport,
        report::{Amount, Squares},
    },
    network::{Copied, Module, Network},
};
use crate::{ModelError, ModelFiles};

/// An export in the making.
pub(super) struct Session<'a> {
    pub(super) files: &'a ModelFiles,
    pub(super) scheme: Scheme,
    pub(super) threads: usize,
    /// Whether scales of activations are stored.
    pub(super) has_inputs: bool,
    pub(super) writer: SafeTensorsDirectory,
    pub(super) report: ExportReport,
    pub(super) progress: &'a mut dyn FnMut(ExportProgress) -> ControlFlow<()>,
    pub(super) state: ExportProgress,
}

/// The tensors of all files in the order of the network.
pub(super) fn tensors(
    files: &ModelFiles,
    network: &Network<'_>,
    scheme: &Scheme,
    has_inputs: bool,
) -> Result<Vec<NewTensor>, ModelError> {
    let mut tensors = Vec::new();
    let copy = |tensors: &mut Vec<NewTensor>, copied: &[Copied]| -> Result<(), ModelError> {
        for Copied { name, .. } in copied {
            let view = files.checkpoint().tensor(name)?;
            let (encoding, shape) = (view.encoding, view.shape.to_vec());
            tensors.push(NewTensor { name: name.clone(), encoding, shape });
        }
        Ok(())
    };
    for layer in &network.layers {
        copy(&mut tensors, &layer.copied)?;
        for module in layer.groups.iter().flat_map(|group| &group.modules) {
            scheme.check(&module.name, module.shape())?;
            tensors.extend(module_tensors(module, scheme, has_inputs));
        }
    }
    copy(&mut tensors, &network.others)?;
    Ok(tensors)
}

/// The tensors of a module, without data.
pub(super) fn module_tensors(
    module: &Module<'_>,
    scheme: &Scheme,
    has_inputs: bool,
) -> impl Iterator<Item = NewTensor> {
    let scales = scheme.scale_encoding(module.encoding());
    let tensors = scheme.tensors(module.shape(), scales, has_inputs);
    let name = module.name.clone();
    tensors.into_iter().map(move |(suffix, encoding, shape)| NewTensor {
        name: format!("{name}.{suffix}"),
        encoding,
        shape,
    })
}

impl Session<'_> {
    /// Copies a tensor's bytes.
    pub(super) fn copy(&mut self, copied: &Copied) -> Result<(), ModelError> {
        let view = self.files.checkpoint().tensor(&copied.name)?;
        let values = view.shape.iter().product::<usize>() as u64;
        self.writer.write(&copied.name, view.bytes)?;
        let amount = Amount { values, bytes: view.bytes.len() as u64 };
        self.report.add(copied.kind, view.encoding.name, amount, Squares::default());
        self.advance(values)
    }

    /// Writes new values of a tensor in its own type.
    pub(super) fn replace(&mut self, copied: &Copied, values: &[f32]) -> Result<(), ModelError> {
        let encoding = self.files.checkpoint().tensor(&copied.name)?.encoding;
        let bytes = dense(values, encoding)?;
        self.writer.write(&copied.name, &bytes)?;
        let amount = Amount { values: values.len() as u64, bytes: bytes.len() as u64 };
        self.report.add(copied.kind, encoding.name, amount, Squares::default());
        self.advance(values.len() as u64)
    }

    /// Writes the codes of a module whose values were these. Returns what was written.
    pub(super) fn put(
        &mut self,
        kind: &'static str,
        module: &Module<'_>,
        values: &[f32],
        codes: &Codes,
        largest_input: Option<f32>,
    ) -> Result<Vec<StoredTensor>, ModelError> {
        let squares = squares(values, codes, self.threads);
        if !squares.errors.is_finite() {
            let (tensor, encoding) = (module.name.clone(), self.scheme.stored);
            return Err(ModelError::TooLarge { tensor, encoding });
        }
        let stored = self.scheme.store(codes, largest_input);
        let mut bytes = 0;
        for StoredTensor { suffix, bytes: data } in &stored {
            self.writer.write(&format!("{}.{suffix}", module.name), data)?;
            bytes += data.len() as u64;
        }
        module.release();
        let amount = Amount { values: values.len() as u64, bytes };
        self.report.add(kind, self.scheme.stored, amount, squares);
        self.advance(values.len() as u64)?;
        Ok(stored)
    }

    /// Says how far the export is; fails when the caller wants no more of it.
    pub(super) fn advance(&mut self, values: u64) -> Result<(), ModelError> {
        self.state.done += values;
        match (self.progress)(self.state) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ModelError::Stopped),
        }
    }
}

/// Values in a type without blocks.
pub(super) fn dense(values: &[f32], encoding: Encoding) -> Result<Vec<u8>, ModelError> {
    let mut bytes = vec![0; encoding.size(values.len()).unwrap_or(0)];
    eitri_quant::quantize::encode(encoding, values, &mut bytes)?;
    Ok(bytes)
}

/// What rounding lost.
fn squares(values: &[f32], codes: &Codes, threads: usize) -> Squares {
    let [n, k] = codes.shape();
    let share = n.div_ceil(threads.max(1)).max(1);
    let of_rows = |first: usize, values: &[f32]| {
        let mut squares = Squares::default();
        let mut decoded = vec![0.0; k];
        for (row, values) in values.chunks_exact(k).enumerate() {
            codes.decode_row(first + row, &mut decoded);
            values.iter().zip(&decoded).for_each(|(&value, &got)| squares.add(value, got));
        }
        squares
    };
    let of_rows = &of_rows;
    thread::scope(|scope| {
        let parts = values.chunks(share * k).enumerate();
        let workers: Vec<_> =
            parts.map(|(i, values)| scope.spawn(move || of_rows(i * share, values))).collect();
        let mut all = Squares::default();
        for worker in workers {
            match worker.join() {
                Ok(squares) => all += squares,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

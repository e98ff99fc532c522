//! Writing a model as a quantised Hugging Face directory: tensors and configuration are those of
//! the producers of each format ([`Scheme`]), so that programs that load theirs load these.

mod calibrator;
mod directory;
mod folding;
mod inputs;
mod network;
mod session;

use std::{ops::ControlFlow, path::Path};

use eitri_kernels::Isa;
use eitri_quant::{
    Checkpoint, FileBytes, QuantizationConfig,
    gguf::NewTensor,
    safetensors::{SafeTensorsDirectory, serialize},
    scheme::{Calibration, Codes, Feedback, Scheme},
};
use serde_json::json;

pub use calibrator::{CALIBRATION_TEXT_TOKENS, CALIBRATION_TOKENS};

use super::{ExportProgress, ExportReport};
use crate::{
    ModelError, ModelFiles,
    weights::{Naming, Source, Weights},
};
use calibrator::{Calibrator, LayerInputs};
use directory::{PartialDirectory, check_target, with_quantization};
use folding::Folding;
use inputs::Wanted;
use network::{Group, Layer, Module, Network, Point};
use session::{Session, module_tensors, tensors};

/// Largest file of weights, as `save_pretrained` of transformers writes them.
const SHARD_BYTES: u64 = 5_000_000_000;

/// What the export of a directory shall be like.
#[derive(Debug)]
pub struct DirectoryOptions<'a> {
    /// How modules are stored.
    pub scheme: Scheme,
    /// Texts as tokens, whose activations say how to quantise; weights are rounded to the nearest
    /// without. Texts are cut at [`CALIBRATION_TEXT_TOKENS`], and all of them at
    /// [`CALIBRATION_TOKENS`].
    pub calibration: Option<&'a [Vec<u32>]>,
    /// Threads that compute.
    pub threads: usize,
}

/// Writes a Hugging Face model of F32, F16 or BF16 weights as the directory `target`, whose linear
/// modules, routers and head apart, are quantised. The directory appears when it is complete; a
/// model that lies there is replaced then. `progress` is called now and then, and may stop the
/// export.
///
/// # Errors
/// When the source is another kind of file or quantised already, a tensor is missing, not finite
/// or of a shape that the format cannot store, the format has no use for calibration, `target` is
/// something else than a model, or files cannot be written.
pub fn export_directory(
    files: &ModelFiles,
    target: &Path,
    options: &DirectoryOptions<'_>,
    progress: &mut dyn FnMut(ExportProgress) -> ControlFlow<()>,
) -> Result<ExportReport, ModelError> {
    let scheme = options.scheme;
    if options.calibration.is_some() && scheme.calibration == Calibration::None {
        return Err(ModelError::NoCalibration { scheme: scheme.name });
    }
    // Names all that is missing, and whatever else headers can tell.
    files.weight_plan(Isa::detect())?;
    check_target(target, files.directory())?;
    let network = Network::new(files)?;
    let has_inputs = options.calibration.is_some() && scheme.has_input_scales();
    let tensors = tensors(files, &network, &scheme, has_inputs)?;
    let partial = PartialDirectory::create(target)?;
    let mut beside = 0;
    for (name, content) in files.companions()? {
        beside += partial.add(&name, &content)?;
    }
    let unquantised = &network.unquantised;
    let config = with_quantization(files.config_json()?, scheme.config(unquantised, has_inputs));
    beside += partial.add_json("config.json", &config)?;
    if let Some((name, content)) = scheme.side_file(unquantised, has_inputs) {
        beside += partial.add_json(name, &content)?;
    }
    let writer = SafeTensorsDirectory::create(partial.path(), &tensors, SHARD_BYTES)?;
    let total = total(&network, files)?;
    let mut session = Session {
        files,
        scheme,
        threads: options.threads,
        has_inputs,
        writer,
        report: ExportReport::default(),
        progress,
        state: ExportProgress { done: 0, total },
    };
    match options.calibration {
        None => session.round(&network)?,
        Some(texts) => session.calibrate(&network, texts)?,
    }
    for copied in &network.others {
        session.copy(copied)?;
    }
    let Session { writer, mut report, .. } = session;
    report.file_bytes = writer.finish()? + beside;
    report.ignored = files.checkpoint().unused().into_iter().map(str::to_owned).collect();
    partial.finish()?;
    Ok(report)
}

/// Values of all tensors.
fn total(network: &Network<'_>, files: &ModelFiles) -> Result<u64, ModelError> {
    let mut total = 0;
    let layers = network.layers.iter();
    for copied in layers.flat_map(|layer| &layer.copied).chain(&network.others) {
        total += files.checkpoint().tensor(&copied.name)?.shape.iter().product::<usize>() as u64;
    }
    let groups = network.layers.iter().flat_map(|layer| &layer.groups);
    let modules = groups.flat_map(|group| &group.modules);
    Ok(total + modules.map(|module| module.count() as u64).sum::<u64>())
}

/// A layer's tensors as they were written.
type Written = Vec<(NewTensor, Vec<u8>)>;

impl Session<'_> {
    /// Rounds everything to the nearest.
    fn round(&mut self, network: &Network<'_>) -> Result<(), ModelError> {
        for layer in &network.layers {
            for copied in &layer.copied {
                self.copy(copied)?;
            }
            for group in &layer.groups {
                let values = values(group, None)?;
                self.round_group(group, &values, None)?;
            }
        }
        Ok(())
    }

    fn round_group(
        &mut self,
        group: &Group<'_>,
        values: &[Vec<f32>],
        largest_input: Option<f32>,
    ) -> Result<Written, ModelError> {
        let of_all = largest(values.iter().flatten());
        let mut written = Written::new();
        for (module, values) in group.modules.iter().zip(values) {
            let codes = self.nearest(module, values, of_all);
            written.extend(self.store(group, module, values, &codes, largest_input)?);
        }
        Ok(written)
    }

    fn nearest(&self, module: &Module<'_>, values: &[f32], of_all: f32) -> Codes {
        let scales = self.scheme.scale_encoding(module.encoding());
        self.scheme.round(values, module.shape(), of_all, scales, self.threads)
    }

    fn store(
        &mut self,
        group: &Group<'_>,
        module: &Module<'_>,
        values: &[f32],
        codes: &Codes,
        largest_input: Option<f32>,
    ) -> Result<Written, ModelError> {
        let stored = self.put(group.kind, module, values, codes, largest_input)?;
        let tensors = module_tensors(module, &self.scheme, self.has_inputs);
        Ok(tensors.zip(stored).map(|(tensor, stored)| (tensor, stored.bytes)).collect())
    }

    /// Quantises layer after layer with the inputs that texts give them.
    fn calibrate(&mut self, network: &Network<'_>, texts: &[Vec<u32>]) -> Result<(), ModelError> {
        let files = self.files;
        let mut calibrator = Calibrator::new(files, texts, self.threads)?;
        self.report.calibration_tokens = calibrator.tokens();
        let feeds_back = self.scheme.calibration == Calibration::ErrorFeedback;
        let wanted = Wanted {
            hessian: feeds_back,
            sample: self.scheme.calibration == Calibration::ScaleSearch,
        };
        for (number, layer) in network.layers.iter().enumerate() {
            self.advance(0)?;
            // Layers behind one that was rounded with feedback see what it really computes, as in
            // GPTQ; the others see the inputs of the original model, as in AutoAWQ.
            let inputs = calibrator.observe(files.weights(), number, wanted, !feeds_back)?;
            match self.scheme.calibration {
                Calibration::ErrorFeedback => {
                    let written = self.feed_back(layer, inputs)?;
                    self.pass_on(&mut calibrator, number, layer, written)?;
                }
                Calibration::ScaleSearch => self.fold(layer, number, &inputs)?,
                Calibration::InputScale | Calibration::None => self.scale(layer, &inputs)?,
            }
        }
        Ok(())
    }

    /// Rounds a layer with error feedback.
    fn feed_back(
        &mut self,
        layer: &Layer<'_>,
        mut inputs: LayerInputs,
    ) -> Result<Written, ModelError> {
        let mut written = Written::new();
        for copied in &layer.copied {
            self.copy(copied)?;
        }
        for group in &layer.groups {
            let hessian = inputs.remove(&group.point).and_then(|inputs| inputs.hessian);
            let feedback = hessian.map(Feedback::new).transpose()?.flatten();
            if feedback.is_none() {
                self.unreached(group);
            }
            for module in &group.modules {
                let values = module.values()?;
                let codes = match &feedback {
                    Some(feedback) => {
                        let scales = self.scheme.scale_encoding(module.encoding());
                        let (shape, threads) = (module.shape(), self.threads);
                        self.scheme
                            .round_with_feedback(&values, shape, feedback, scales, threads)?
                    }
                    None => self.nearest(module, &values, 0.0),
                };
                written.extend(self.store(group, module, &values, &codes, None)?);
            }
        }
        Ok(written)
    }

    /// Sends the texts through the layer that was written.
    fn pass_on(
        &mut self,
        calibrator: &mut Calibrator<'_>,
        number: usize,
        layer: &Layer<'_>,
        mut written: Written,
    ) -> Result<(), ModelError> {
        for copied in &layer.copied {
            let view = self.files.checkpoint().tensor(&copied.name)?;
            let (name, encoding, shape) = (copied.name.clone(), view.encoding, view.shape.to_vec());
            written.push((NewTensor { name, encoding, shape }, view.bytes.to_vec()));
        }
        let config = json!({"quantization_config":
            self.scheme.config(&eitri_quant::scheme::Unquantised::default(), false)});
        let config = config
            .as_object()
            .map(|config| QuantizationConfig::in_config("the quantised layer", config));
        let name = format!("quantised layer {number}");
        let checkpoint = Checkpoint::from_bytes(&name, FileBytes::Owned(serialize(&written)?))?
            .with_quantization(config.transpose()?.flatten());
        drop(written);
        let config = self.files.config();
        let (source, naming) = (Source::Checkpoint(&checkpoint), Naming::HuggingFace);
        calibrator.advance(Weights { source, config, naming }, number)
    }

    /// Rounds a layer after scaling inputs that matter.
    fn fold(
        &mut self,
        layer: &Layer<'_>,
        number: usize,
        inputs: &LayerInputs,
    ) -> Result<(), ModelError> {
        let folding = folding::fold(self, layer, number, inputs)?;
        for copied in &layer.copied {
            match folding.replaced.get(&copied.name) {
                Some(values) => self.replace(copied, values)?,
                None => self.copy(copied)?,
            }
        }
        for group in &layer.groups {
            if inputs.get(&group.point).is_none_or(|inputs| inputs.rows() == 0) {
                self.unreached(group);
            }
            let values = values(group, Some(&folding))?;
            self.round_group(group, &values, None)?;
        }
        Ok(())
    }

    /// Rounds a layer to the nearest, with scales of its inputs.
    fn scale(&mut self, layer: &Layer<'_>, inputs: &LayerInputs) -> Result<(), ModelError> {
        for copied in &layer.copied {
            self.copy(copied)?;
        }
        let seen = |point: Point| inputs.get(&point).map(|inputs| inputs.largest);
        let experts = |is_half: fn(Point) -> bool| {
            let halves = inputs.iter().filter(|(point, _)| is_half(**point));
            halves.map(|(_, inputs)| inputs.largest).reduce(f32::max)
        };
        for group in &layer.groups {
            let largest = seen(group.point).or_else(|| {
                // An expert that no text reached gets the scale of those that were.
                self.unreached(group);
                match group.point {
                    Point::ExpertActivated(_) => {
                        experts(|point| matches!(point, Point::ExpertActivated(_)))
                    }
                    _ => seen(Point::FeedForward),
                }
            });
            let values = values(group, None)?;
            self.round_group(group, &values, Some(largest.unwrap_or(0.0)))?;
        }
        Ok(())
    }

    fn unreached(&mut self, group: &Group<'_>) {
        let names = group.modules.iter().map(|module| module.name.clone());
        self.report.unreached.extend(names);
    }
}

/// The values of each module of a group.
fn values(group: &Group<'_>, folding: Option<&Folding>) -> Result<Vec<Vec<f32>>, ModelError> {
    let modules = group.modules.iter();
    let values = modules.map(|module| match folding {
        Some(folding) => folding.values(group.point, module),
        None => module.values(),
    });
    values.collect()
}

fn largest<'v>(values: impl Iterator<Item = &'v f32>) -> f32 {
    values.fold(0.0, |most, value| most.max(value.abs()))
}

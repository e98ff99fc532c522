//! A checkpoint as plain tensors: what its formats mean, written out under the names that an
//! unquantised checkpoint has.

use std::{ops::ControlFlow, path::Path, rc::Rc};

use half::{bf16, f16};

use crate::{
    Checkpoint, Encoding, Matrix, NewTensor, QuantError, TensorView, safetensors::SafeTensorsWriter,
};

/// Values that are converted before they are written.
const CHUNK: usize = 1 << 16;

/// A tensor of a checkpoint, with floats for values wherever it is not of integers.
#[derive(Debug)]
pub struct PlainTensor<'a> {
    /// Its unquantised name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    values: Values<'a>,
}

#[derive(Debug)]
enum Values<'a> {
    /// Rows of a matrix from this one on, counted over all experts.
    Rows(Rc<Matrix<'a>>, usize),
    Floats(TensorView<'a>),
    /// Integers, which stay as they are.
    Stored(TensorView<'a>),
}

/// How much of a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteProgress {
    /// Values written.
    pub done: u64,
    /// Values in all.
    pub total: u64,
}

impl<'a> PlainTensor<'a> {
    /// The rows of `matrix` from `first` (counted over all experts) on, as many as `shape` has.
    pub fn rows(name: String, shape: Vec<usize>, matrix: Rc<Matrix<'a>>, first: usize) -> Self {
        Self { name, shape, values: Values::Rows(matrix, first) }
    }

    /// A tensor that is not a matrix of weights: floats, or integers that are copied.
    ///
    /// # Errors
    /// When it is of codes, which mean nothing alone.
    pub fn copied(view: TensorView<'a>) -> Result<Self, QuantError> {
        let is_float = FLOATS.contains(&view.encoding);
        let is_integer = ["BOOL", "I16", "U16", "I32", "U32", "I64", "U64"];
        let values = if is_float {
            Values::Floats(view)
        } else if is_integer.contains(&view.encoding.name) {
            Values::Stored(view)
        } else {
            return Err(QuantError::Stored {
                file: view.file.to_owned(),
                tensor: view.name.to_owned(),
                message: format!(
                    "is {} and belongs to no quantised weight that is understood",
                    view.encoding.name
                ),
            });
        };
        Ok(Self { name: view.name.to_owned(), shape: view.shape.to_vec(), values })
    }

    /// How it is stored in the checkpoint, such as `GPTQ 4-bit`.
    pub fn stored(&self) -> &'static str {
        match &self.values {
            Values::Rows(matrix, _) => matrix.stored(),
            Values::Floats(view) | Values::Stored(view) => view.encoding.name,
        }
    }

    fn encoding(&self, floats: Encoding) -> Encoding {
        if let Values::Stored(view) = &self.values { view.encoding } else { floats }
    }

    fn count(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }

    /// Hands all values to `sink`, in order, encoded.
    fn write(&self, floats: Encoding, sink: &mut Sink<'_>) -> Result<(), QuantError> {
        match &self.values {
            Values::Rows(matrix, first) => {
                let mut row = vec![0.0; matrix.k()];
                let rows = self.count() as usize / matrix.k();
                for at in *first..first + rows {
                    matrix.dequantise_row(at, &mut row)?;
                    sink(&encode(&row, floats), row.len())?;
                }
                matrix.release();
            }
            Values::Floats(view) => {
                for chunk in view.bytes.chunks(CHUNK * view.encoding.bytes) {
                    let values = decode(view.encoding, chunk);
                    sink(&encode(&values, floats), values.len())?;
                }
            }
            Values::Stored(view) => sink(view.bytes, self.count() as usize)?,
        }
        Ok(())
    }
}

impl Checkpoint {
    /// All tensors as plain ones, without knowing what model they are of. A tensor of scales, zeros or
    /// the like is part of the weight it belongs to. What is of no use is left out; see
    /// [`Self::passed_over`].
    ///
    /// # Errors
    /// When a weight is stored in a way that no format reads, or is incomplete.
    pub fn plain_tensors(&self) -> Result<Vec<PlainTensor<'_>>, QuantError> {
        let mut tensors = Vec::new();
        for name in self.names() {
            let Some((module, plain)) = self.weight(name) else { continue };
            let matrix = Matrix::open(self, module)?;
            let shape = match matrix.experts() {
                1 => vec![matrix.n(), matrix.k()],
                experts => vec![experts, matrix.n(), matrix.k()],
            };
            tensors.push(PlainTensor::rows(plain, shape, Rc::new(matrix), 0));
        }
        for name in self.unused() {
            tensors.push(PlainTensor::copied(self.tensor(name)?)?);
        }
        Ok(tensors)
    }

    /// The module whose weight begins with this tensor, and the plain name of the weight.
    fn weight<'n>(&self, name: &'n str) -> Option<(&'n str, String)> {
        let entry = self.peek(name)?;
        let (module, suffix) = name.rsplit_once('.').unwrap_or(("", name));
        let weight =
            if module.is_empty() { "weight".to_owned() } else { format!("{module}.weight") };
        match suffix {
            "qweight" | "weight_packed" => Some((module, weight)),
            // A matrix by its own name: in GGUF files these need not end in `.weight`.
            _ if entry.block > 1 => Some((name, name.to_owned())),
            "weight" if !FLOATS.contains(&entry) => Some((module, weight)),
            _ => None,
        }
    }
}

/// Writes the safetensors file `target` with all floats as `floats`, F32 or BF16. It appears when it
/// is complete; an existing one is replaced then. `progress` is called now and then, and may stop it.
/// Returns the bytes of the file.
///
/// # Errors
/// When a weight is not finite, the file cannot be written, or `progress` stopped it.
pub fn write_plain(
    target: &Path,
    tensors: &[PlainTensor<'_>],
    floats: Encoding,
    progress: &mut dyn FnMut(WriteProgress) -> ControlFlow<()>,
) -> Result<u64, QuantError> {
    // Larger elements first, so that each tensor lies at a multiple of its element's size.
    let mut tensors: Vec<&PlainTensor<'_>> = tensors.iter().collect();
    tensors.sort_by_key(|tensor| std::cmp::Reverse(tensor.encoding(floats).bytes));
    let header = tensors.iter().map(|tensor| NewTensor {
        name: tensor.name.clone(),
        encoding: tensor.encoding(floats),
        shape: tensor.shape.clone(),
    });
    let mut writer = SafeTensorsWriter::create(target, &header.collect::<Vec<_>>())?;
    let total = tensors.iter().map(|tensor| tensor.count()).sum();
    let mut done = 0;
    for tensor in tensors {
        tensor.write(floats, &mut |data, count| {
            writer.write(data)?;
            done += count as u64;
            match progress(WriteProgress { done, total }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(QuantError::Stopped),
            }
        })?;
    }
    writer.finish()
}

/// Takes encoded values and their number.
type Sink<'a> = dyn FnMut(&[u8], usize) -> Result<(), QuantError> + 'a;

const FLOATS: [Encoding; 4] = [Encoding::F64, Encoding::F32, Encoding::F16, Encoding::BF16];

fn encode(values: &[f32], encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::BF16 => {
            values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect()
        }
        _ => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

fn decode(encoding: Encoding, bytes: &[u8]) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter();
    match encoding {
        Encoding::F16 => halves().map(|&half| f16::from_le_bytes(half).to_f32()).collect(),
        Encoding::BF16 => halves().map(|&half| bf16::from_le_bytes(half).to_f32()).collect(),
        Encoding::F64 => {
            bytes.as_chunks::<8>().0.iter().map(|&value| f64::from_le_bytes(value) as f32).collect()
        }
        _ => bytes.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect(),
    }
}

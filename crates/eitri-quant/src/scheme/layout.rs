//! The tensors that each producer makes of codes and scales. Sources: as for the readers in
//! `formats`, whose inverses these are.

use half::{bf16, f16};

use eitri_kernels::minifloat::to_e4m3;

use super::{codes::Codes, grid::Grid};
use crate::Encoding;

/// Which producer's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Qwen and `DeepSeek`: `weight`, `weight_scale_inv`.
    BlockFp8,
    /// compressed-tensors: `weight`, `weight_scale`.
    FloatQuantized,
    /// compressed-tensors: `weight_packed`, `weight_scale`, `weight_shape`.
    PackQuantized,
    /// `GPTQModel`, version 1: `qweight`, `qzeros`, `scales`, `g_idx`.
    Gptq,
    /// `AutoAWQ` `gemm`: `qweight`, `qzeros`, `scales`.
    Awq,
    /// `ModelOpt`: `weight`, `weight_scale`, `weight_scale_2`, `input_scale`.
    ModelOpt,
    /// compressed-tensors: `weight_packed`, `weight_scale`, `weight_global_scale`,
    /// `input_global_scale`.
    Nvfp4Pack,
}

/// A tensor of a module with its data.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTensor {
    /// Its name after the module's and a dot.
    pub suffix: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Which output of eight stands in each 4-bit field of an AWQ word, the lowest first.
const AWQ_ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
const IN_ORDER: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// Name, type and shape of a tensor.
type Entry = (&'static str, Encoding, Vec<usize>);

impl Layout {
    /// What the numbers of rows and of columns must be multiples of.
    pub(super) fn multiples(self, grid: Grid) -> (usize, usize) {
        let group = match grid {
            Grid::Integer { group, .. } => group.unwrap_or(32),
            // The kernels of this program take 32 at a time.
            Grid::Fp8 { .. } | Grid::Nvfp4 { .. } => 32,
        };
        let rows = if matches!(self, Self::Gptq | Self::Awq) { 8 } else { 1 };
        (rows, group)
    }

    pub(super) fn tensors(
        self,
        grid: Grid,
        shape: [usize; 2],
        scales: Encoding,
        has_inputs: bool,
    ) -> Vec<Entry> {
        let [n, k] = shape;
        let [scale_rows, groups] = grid.scales(shape);
        let by_row = vec![scale_rows, groups];
        let bits = bits(grid);
        let entry = |suffix, encoding, shape: &[usize]| (suffix, encoding, shape.to_vec());
        let mut tensors = match self {
            Self::BlockFp8 => vec![
                entry("weight", Encoding::F8_E4M3, &[n, k]),
                ("weight_scale_inv", scales, by_row),
            ],
            Self::FloatQuantized => {
                vec![entry("weight", Encoding::F8_E4M3, &[n, k]), ("weight_scale", scales, by_row)]
            }
            Self::PackQuantized => vec![
                entry("weight_packed", Encoding::I32, &[n, k * bits / 32]),
                ("weight_scale", scales, by_row),
                entry("weight_shape", Encoding::I64, &[2]),
            ],
            Self::Gptq => vec![
                entry("qweight", Encoding::I32, &[k * bits / 32, n]),
                entry("qzeros", Encoding::I32, &[groups, n * bits / 32]),
                entry("scales", scales, &[groups, n]),
                entry("g_idx", Encoding::I32, &[k]),
            ],
            Self::Awq => vec![
                entry("qweight", Encoding::I32, &[k, n / 8]),
                entry("qzeros", Encoding::I32, &[groups, n / 8]),
                entry("scales", scales, &[groups, n]),
            ],
            Self::ModelOpt => vec![
                entry("weight", Encoding::U8, &[n, k / 2]),
                ("weight_scale", Encoding::F8_E4M3, by_row),
                entry("weight_scale_2", Encoding::F32, &[]),
            ],
            Self::Nvfp4Pack => vec![
                entry("weight_packed", Encoding::U8, &[n, k / 2]),
                ("weight_scale", Encoding::F8_E4M3, by_row),
                entry("weight_global_scale", Encoding::F32, &[1]),
            ],
        };
        match self {
            Self::ModelOpt if has_inputs => {
                tensors.push(entry("input_scale", Encoding::F32, &[]));
            }
            Self::Nvfp4Pack if has_inputs => {
                tensors.push(entry("input_global_scale", Encoding::F32, &[1]));
            }
            _ => {}
        }
        tensors
    }

    pub(super) fn store(self, codes: &Codes, largest_input: Option<f32>) -> Vec<StoredTensor> {
        let tensor = |suffix, bytes| StoredTensor { suffix, bytes };
        let f32 = |value: f32| value.to_le_bytes().to_vec();
        let input = largest_input.map(|largest| codes.grid.tensor_scale(largest));
        let scales = || floats(codes.scales.iter().copied(), codes.scale_encoding);
        match self {
            Self::BlockFp8 => {
                vec![tensor("weight", codes.values.clone()), tensor("weight_scale_inv", scales())]
            }
            Self::FloatQuantized => {
                vec![tensor("weight", codes.values.clone()), tensor("weight_scale", scales())]
            }
            Self::PackQuantized => {
                let shape = codes.shape.iter().flat_map(|&size| (size as u64).to_le_bytes());
                vec![
                    tensor("weight_packed", pack_rows(codes)),
                    tensor("weight_scale", scales()),
                    tensor("weight_shape", shape.collect()),
                ]
            }
            Self::Gptq => {
                let group = codes.grid.columns(codes.shape[1]);
                let g_idx = (0..codes.shape[1]).flat_map(|k| ((k / group) as u32).to_le_bytes());
                vec![
                    tensor("qweight", pack_inputs(codes)),
                    tensor("qzeros", pack_zeros(codes, &IN_ORDER, true)),
                    tensor("scales", scales_by_group(codes)),
                    tensor("g_idx", g_idx.collect()),
                ]
            }
            Self::Awq => vec![
                tensor("qweight", pack_outputs(codes)),
                tensor("qzeros", pack_zeros(codes, &AWQ_ORDER, false)),
                tensor("scales", scales_by_group(codes)),
            ],
            Self::ModelOpt => {
                let whole = [
                    tensor("weight", nibbles(&codes.values)),
                    tensor("weight_scale", e4m3(&codes.scales)),
                    tensor("weight_scale_2", f32(codes.tensor_scale)),
                ];
                let input = input.map(|scale| tensor("input_scale", f32(scale)));
                whole.into_iter().chain(input).collect()
            }
            Self::Nvfp4Pack => {
                let whole = [
                    tensor("weight_packed", nibbles(&codes.values)),
                    tensor("weight_scale", e4m3(&codes.scales)),
                    tensor("weight_global_scale", f32(codes.tensor_scale)),
                ];
                let input = input.map(|scale| tensor("input_global_scale", f32(scale)));
                whole.into_iter().chain(input).collect()
            }
        }
    }
}

fn bits(grid: Grid) -> usize {
    match grid {
        Grid::Integer { bits, .. } => bits as usize,
        Grid::Fp8 { .. } => 8,
        Grid::Nvfp4 { .. } => 4,
    }
}

fn floats(values: impl Iterator<Item = f32>, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::F16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        Encoding::BF16 => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        _ => values.flat_map(f32::to_le_bytes).collect(),
    }
}

fn e4m3(scales: &[f32]) -> Vec<u8> {
    scales.iter().map(|&scale| to_e4m3(scale)).collect()
}

/// Two codes to a byte, the even one low.
fn nibbles(codes: &[u8]) -> Vec<u8> {
    codes.as_chunks::<2>().0.iter().map(|[low, high]| low | high << 4).collect()
}

/// Codes of a row one after the other, the lowest bits first.
fn pack_rows(codes: &Codes) -> Vec<u8> {
    if bits(codes.grid) == 4 { nibbles(&codes.values) } else { codes.values.clone() }
}

/// `[k * bits / 32, n]` words of inputs that follow each other.
fn pack_inputs(codes: &Codes) -> Vec<u8> {
    let [n, k] = codes.shape;
    let rows = pack_rows(codes);
    let words = k * bits(codes.grid) / 32;
    let mut out = Vec::with_capacity(rows.len());
    for word in 0..words {
        for row in 0..n {
            let at = 4 * (row * words + word);
            out.extend_from_slice(&rows[at..at + 4]);
        }
    }
    out
}

/// `[k, n / 8]` words of eight outputs in AWQ's order.
fn pack_outputs(codes: &Codes) -> Vec<u8> {
    let [n, k] = codes.shape;
    let mut out = Vec::with_capacity(n * k / 2);
    for input in 0..k {
        for first in (0..n).step_by(8) {
            let code = |output: usize| codes.values[(first + output) * k + input];
            out.extend(fields(AWQ_ORDER.map(code)));
        }
    }
    out
}

/// A word of 4-bit fields, the lowest first.
fn fields(codes: [u8; 8]) -> [u8; 4] {
    std::array::from_fn(|i| codes[2 * i] | codes[2 * i + 1] << 4)
}

/// `[groups, n * bits / 32]` words of zeros; version 1 of GPTQ subtracts one, in whole words.
fn pack_zeros(codes: &Codes, order: &[usize; 8], less_one: bool) -> Vec<u8> {
    let n = codes.shape[0];
    let groups = codes.zeros.len() / n;
    let bits = bits(codes.grid);
    let one: u32 = match (less_one, bits) {
        (false, _) => 0,
        (true, 4) => 0x1111_1111,
        (true, _) => 0x0101_0101,
    };
    let mut out = Vec::with_capacity(codes.zeros.len() * bits / 8);
    for group in 0..groups {
        for first in (0..n).step_by(32 / bits) {
            let zero = |output: usize| codes.zeros[(first + output) * groups + group];
            let word = if bits == 4 { fields(order.map(zero)) } else { std::array::from_fn(zero) };
            out.extend(u32::from_le_bytes(word).wrapping_sub(one).to_le_bytes());
        }
    }
    out
}

/// `[groups, n]`.
fn scales_by_group(codes: &Codes) -> Vec<u8> {
    let n = codes.shape[0];
    let groups = codes.scales.len() / n;
    let scales = (0..groups).flat_map(|g| (0..n).map(move |row| codes.scales[row * groups + g]));
    floats(scales, codes.scale_encoding)
}

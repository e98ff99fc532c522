//! Round-to-nearest writers of the quantised safetensors formats, from their definitions.

use std::{collections::BTreeMap, path::Path};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use super::tiny::{Tiny, Values, Width};

/// A stored tensor.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// How the linear modules of a model are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// 128 x 128 blocks with `weight_scale_inv`.
    Fp8Blocks(Width),
    /// compressed-tensors, a scale per row.
    Fp8Rows,
    /// `ModelOpt`, a scale per tensor.
    Fp8Tensor,
    /// compressed-tensors `pack-quantized`: bits, group (0: whole rows), zeros.
    Packed(usize, usize, bool),
    /// compressed-tensors W8A8.
    Int8,
    /// Bits, group (0: whole rows), zeros, version 2, `desc_act`.
    Gptq(usize, usize, bool, bool, bool),
    /// Group.
    Awq(usize),
    /// By `ModelOpt`, or else by compressed-tensors.
    Nvfp4(bool),
    Mxfp4,
}

type Tensors = BTreeMap<&'static str, Stored>;

/// A checkpoint and the values that it stands for.
pub(crate) struct PackedModel {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, Stored>,
    pub(crate) meant: Tiny,
}

impl PackedModel {
    /// Stores every linear module of the layers but routers in this way, all else in bf16.
    pub(crate) fn new(tiny: &Tiny, packing: Packing) -> Self {
        let mut model = Self::mixed(tiny, |module| module.ends_with("_proj").then_some(packing));
        model.config["quantization_config"] = packing.config();
        model
    }

    /// Stores every module as `packing` has it, and in bf16 where it has none.
    pub(crate) fn mixed(tiny: &Tiny, packing: impl Fn(&str) -> Option<Packing>) -> Self {
        let mut meant = tiny.rounded(Width::Bf16);
        let mut tensors = BTreeMap::new();
        for (name, values) in &mut meant.tensors {
            let module = name.strip_suffix(".weight").unwrap();
            if let Some(packing) = packing(module) {
                let (parts, stands_for) = packing.pack(&tiny.tensors[name], seed_of(name));
                values.data = stands_for;
                for (suffix, stored) in parts {
                    tensors.insert(format!("{module}.{suffix}"), stored);
                }
            } else {
                let bytes = Width::Bf16.bytes(&values.data);
                let stored = Stored { dtype: Dtype::BF16, shape: values.shape.clone(), bytes };
                tensors.insert(name.clone(), stored);
            }
        }
        Self { config: tiny.config.clone(), tensors, meant }
    }

    pub(crate) fn write(&self, directory: &Path) {
        std::fs::write(directory.join("config.json"), self.config.to_string()).unwrap();
        let views = self.tensors.iter().map(|(name, stored)| {
            let Stored { dtype, shape, bytes } = stored;
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        std::fs::write(directory.join("model.safetensors"), bytes).unwrap();
    }
}

/// Queries, keys and values of a layer see the same inputs, and so have the same order of them.
fn seed_of(name: &str) -> u64 {
    let shared = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"];
    u64::from(!shared.iter().any(|part| name.contains(part)))
}

impl Packing {
    /// `quantization_config` as the producers write it.
    pub(crate) fn config(self) -> Value {
        let compressed = |format: &str, weights: Value| {
            json!({"quant_method": "compressed-tensors", "format": format,
                "quantization_status": "compressed", "ignore": ["lm_head"],
                "kv_cache_scheme": null, "global_compression_ratio": null,
                "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": null,
                    "output_activations": null, "weights": weights}}})
        };
        let group = |group: usize| if group == 0 { Value::Null } else { json!(group) };
        match self {
            Self::Fp8Blocks(_) => json!({"activation_scheme": "dynamic", "fmt": "e4m3",
                "quant_method": "fp8", "weight_block_size": [128, 128],
                "modules_to_not_convert": ["lm_head", "model.layers.0.mlp.gate"]}),
            Self::Fp8Rows => compressed(
                "float-quantized",
                json!({"num_bits": 8, "type": "float",
                "symmetric": true, "strategy": "channel", "group_size": null}),
            ),
            Self::Fp8Tensor => json!({"quant_method": "modelopt", "quant_algo": "FP8",
                "kv_cache_scheme": {"num_bits": 8, "type": "float"}, "ignore": ["lm_head"]}),
            Self::Packed(bits, size, zero) => compressed(
                "pack-quantized",
                json!({
                "num_bits": bits, "type": "int", "symmetric": !zero, "group_size": group(size),
                "strategy": if size == 0 { "channel" } else { "group" }, "actorder": null,
                "block_structure": null, "dynamic": false, "observer": "minmax"}),
            ),
            Self::Int8 => compressed(
                "int-quantized",
                json!({"num_bits": 8, "type": "int",
                "symmetric": true, "strategy": "channel", "group_size": null}),
            ),
            Self::Gptq(bits, size, zero, second, desc_act) => json!({"quant_method": "gptq",
                "bits": bits, "group_size": if size == 0 { json!(-1) } else { json!(size) },
                "sym": !zero, "desc_act": desc_act, "lm_head": false, "pack_dtype": "int32",
                "checkpoint_format": if second { "gptq_v2" } else { "gptq" }}),
            Self::Awq(size) => json!({"quant_method": "awq", "bits": 4, "group_size": size,
                "zero_point": true, "version": "gemm", "modules_to_not_convert": null}),
            Self::Nvfp4(true) => json!({"quant_method": "modelopt", "quant_algo": "NVFP4",
                "producer": {"name": "modelopt", "version": "0.33.0"}, "ignore": ["lm_head"]}),
            Self::Nvfp4(false) => compressed(
                "nvfp4-pack-quantized",
                json!({"num_bits": 4,
                "type": "float", "symmetric": true, "strategy": "tensor_group",
                "group_size": 16}),
            ),
            Self::Mxfp4 => compressed(
                "mxfp4-pack-quantized",
                json!({"num_bits": 4,
                "type": "float", "symmetric": true, "strategy": "group", "group_size": 32}),
            ),
        }
    }

    /// The tensors of a module, and the values that they stand for.
    fn pack(self, values: &Values, seed: u64) -> (Tensors, Vec<f32>) {
        let (n, k) = (values.shape[0], values.shape[1]);
        match self {
            Self::Fp8Blocks(width) => {
                let (codes, meant, scales) = fp8(&values.data, [n, k], [128, 128], width);
                let shape = vec![n.div_ceil(128), k.div_ceil(128)];
                let parts =
                    [("weight", codes), ("weight_scale_inv", floats(width, &scales, shape))];
                (parts.into(), meant)
            }
            Self::Fp8Rows => {
                let (codes, meant, scales) = fp8(&values.data, [n, k], [1, k], Width::Bf16);
                let scales = floats(Width::Bf16, &scales, vec![n, 1]);
                ([("weight", codes), ("weight_scale", scales)].into(), meant)
            }
            Self::Fp8Tensor => {
                let (codes, meant, scales) = fp8(&values.data, [n, k], [n, k], Width::F32);
                let scales = floats(Width::F32, &scales, vec![]);
                let input = floats(Width::F32, &[0.02], vec![]);
                let parts = [("weight", codes), ("weight_scale", scales), ("input_scale", input)];
                (parts.into(), meant)
            }
            Self::Packed(bits, size, zero) => packed(values, bits, size, zero),
            Self::Int8 => {
                let integers = Integers::new(values, 8, 0, false, Width::Bf16, None);
                let codes = integers.codes.iter().map(|code| *code as u8 ^ 0x80).collect();
                let codes = Stored { dtype: Dtype::I8, shape: vec![n, k], bytes: codes };
                let scales = floats(Width::Bf16, &integers.scales, vec![n, 1]);
                ([("weight", codes), ("weight_scale", scales)].into(), integers.meant)
            }
            Self::Gptq(bits, size, zero, second, desc_act) => {
                gptq(values, (bits, size), zero, second, desc_act.then_some(seed))
            }
            Self::Awq(size) => awq(values, size),
            Self::Nvfp4(modelopt) => nvfp4(&values.data, [n, k], modelopt),
            Self::Mxfp4 => mxfp4(&values.data, [n, k]),
        }
    }
}

fn floats(width: Width, values: &[f32], shape: Vec<usize>) -> Stored {
    let dtype = match width {
        Width::F32 => Dtype::F32,
        Width::F16 => Dtype::F16,
        Width::Bf16 => Dtype::BF16,
    };
    Stored { dtype, shape, bytes: width.bytes(values) }
}

fn words(words: &[u32], shape: Vec<usize>) -> Stored {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Stored { dtype: Dtype::I32, shape, bytes }
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |most, value| most.max(value.abs()))
}

fn e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude =
        if exponent == 0 { mantissa / 512.0 } else { (8.0 + mantissa) * 2_f32.powi(exponent - 10) };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// Index of the magnitude, of an ascending list, that is nearest to that of `value`.
fn nearest(value: f32, magnitudes: &[f32]) -> u8 {
    let between = magnitudes.windows(2).map(|pair| f32::midpoint(pair[0], pair[1]));
    between.collect::<Vec<_>>().partition_point(|&middle| middle < value.abs()) as u8
}

fn to_e4m3(value: f32) -> u8 {
    let exponent = value.abs().log2().floor().clamp(-6.0, 8.0);
    // Eight steps to a power of two; rounding up to the next one carries into the exponent.
    let steps = (value.abs() / 2_f32.powf(exponent - 3.0)).round() as u8;
    let code = (steps + (exponent as i8 + 6) as u8 * 8).min(0x7E);
    code | if value < 0.0 { 0x80 } else { 0 }
}

fn to_e2m1(value: f32) -> u8 {
    nearest(value, &E2M1) | if value < 0.0 { 8 } else { 0 }
}

/// Codes, meant values and scales of blocks of this size.
fn fp8(
    values: &[f32],
    [n, k]: [usize; 2],
    [rows, columns]: [usize; 2],
    width: Width,
) -> (Stored, Vec<f32>, Vec<f32>) {
    let per_row = k.div_ceil(columns);
    let block = |at: usize| at / k / rows * per_row + at % k / columns;
    let mut scales = vec![0.0_f32; n.div_ceil(rows) * per_row];
    for (at, value) in values.iter().enumerate() {
        let most = &mut scales[block(at)];
        *most = most.max(value.abs());
    }
    for most in &mut scales {
        *most = width.round(*most / 448.0);
    }
    let codes: Vec<u8> =
        values.iter().enumerate().map(|(at, value)| to_e4m3(value / scales[block(at)])).collect();
    let meant = codes.iter().enumerate().map(|(at, &code)| e4m3(code) * scales[block(at)]);
    let meant = meant.collect();
    (Stored { dtype: Dtype::F8_E4M3, shape: vec![n, k], bytes: codes }, meant, scales)
}

/// Unsigned codes, zeros and scales in groups along k.
struct Integers {
    codes: Vec<u32>,
    /// `[n, groups]`.
    zeros: Vec<u32>,
    scales: Vec<f32>,
    groups: usize,
    meant: Vec<f32>,
}

impl Integers {
    /// `size` 0 means whole rows; `group_of` is the group of each input if not by its place.
    fn new(
        values: &Values,
        bits: usize,
        size: usize,
        zero: bool,
        width: Width,
        group_of: Option<&[usize]>,
    ) -> Self {
        let (n, k) = (values.shape[0], values.shape[1]);
        let size = if size == 0 { k } else { size };
        let groups = k.div_ceil(size);
        let group = |i: usize| group_of.map_or(i / size, |group_of| group_of[i]);
        let most = (1 << bits) - 1;
        let mut made = Self {
            codes: vec![0; n * k],
            zeros: vec![0; n * groups],
            scales: vec![0.0; n * groups],
            groups,
            meant: vec![0.0; n * k],
        };
        for (row, x) in values.data.chunks_exact(k).enumerate() {
            for g in 0..groups {
                let members: Vec<usize> = (0..k).filter(|&i| group(i) == g).collect();
                let at = |&i: &usize| x[i];
                let (scale, zero) = if zero {
                    let least = members.iter().map(at).fold(0.0, f32::min);
                    let scale = (members.iter().map(at).fold(0.0, f32::max) - least) / most as f32;
                    let scale = width.round(scale);
                    (scale, (-least / scale).round() as i32)
                } else {
                    let half = most as f32 / 2.0;
                    (width.round(largest(members.iter().map(at)) / half), (most + 1) / 2)
                };
                let zero = zero.clamp(0, most);
                (made.scales[row * groups + g], made.zeros[row * groups + g]) =
                    (scale, zero as u32);
                for i in members {
                    let code = ((x[i] / scale).round() as i32 + zero).clamp(0, most);
                    made.codes[row * k + i] = code as u32;
                    made.meant[row * k + i] = (code - zero) as f32 * scale;
                }
            }
        }
        made
    }
}

/// Fields of `bits`, the lowest first.
fn pack(fields: &[u32], bits: usize) -> Vec<u32> {
    let word = |fields: &[u32]| {
        fields.iter().enumerate().fold(0, |word, (i, field)| word | field << (bits * i))
    };
    fields.chunks(32 / bits).map(word).collect()
}

fn transposed<T: Copy>(values: &[T], columns: usize) -> Vec<T> {
    let rows = values.len() / columns;
    (0..columns * rows).map(|at| values[at % rows * columns + at / rows]).collect()
}

fn packed(values: &Values, bits: usize, size: usize, zero: bool) -> (Tensors, Vec<f32>) {
    let (n, k) = (values.shape[0], values.shape[1]);
    let integers = Integers::new(values, bits, size, zero, Width::Bf16, None);
    let groups = integers.groups;
    let shape = [n, k].iter().flat_map(|&size| (size as u64).to_le_bytes()).collect();
    let mut parts = Tensors::from([
        ("weight_packed", words(&pack(&integers.codes, bits), vec![n, k * bits / 32])),
        ("weight_scale", floats(Width::Bf16, &integers.scales, vec![n, groups])),
        ("weight_shape", Stored { dtype: Dtype::I64, shape: vec![2], bytes: shape }),
    ]);
    if zero {
        let columns = pack_columns(&integers.zeros, groups, bits);
        parts.insert("weight_zero_point", words(&columns, vec![n * bits / 32, groups]));
    }
    (parts, integers.meant)
}

/// Packs `[n, columns]` along n to `[n * bits / 32, columns]`.
fn pack_columns(values: &[u32], columns: usize, bits: usize) -> Vec<u32> {
    let by_column = pack(&transposed(values, columns), bits);
    transposed(&by_column, by_column.len() / columns)
}

fn gptq(
    values: &Values,
    (bits, size): (usize, usize),
    zero: bool,
    second: bool,
    shuffle: Option<u64>,
) -> (Tensors, Vec<f32>) {
    let (n, k) = (values.shape[0], values.shape[1]);
    let whole = if size == 0 { k } else { size };
    let mut group_of: Vec<usize> = (0..k).map(|i| i / whole).collect();
    if let Some(seed) = shuffle {
        group_of.shuffle(&mut StdRng::seed_from_u64(seed));
    }
    let integers = Integers::new(values, bits, size, zero, Width::F16, Some(&group_of));
    let groups = integers.groups;
    let offset: u32 = match (second, bits) {
        (true, _) => 0,
        (false, 4) => 0x1111_1111,
        (false, _) => 0x0101_0101,
    };
    let zeros = pack(&transposed(&integers.zeros, groups), bits);
    let zeros: Vec<u32> = zeros.iter().map(|word| word.wrapping_sub(offset)).collect();
    let g_idx: Vec<u32> = group_of.iter().map(|&g| g as u32).collect();
    let by_row = pack(&integers.codes, bits);
    let qweight = transposed(&by_row, k * bits / 32);
    let parts = [
        ("qweight", words(&qweight, vec![k * bits / 32, n])),
        ("qzeros", words(&zeros, vec![groups, n * bits / 32])),
        ("scales", floats(Width::F16, &transposed(&integers.scales, groups), vec![groups, n])),
        ("g_idx", words(&g_idx, vec![k])),
    ];
    (parts.into(), integers.meant)
}

fn awq(values: &Values, size: usize) -> (Tensors, Vec<f32>) {
    const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
    let (n, k) = (values.shape[0], values.shape[1]);
    let integers = Integers::new(values, 4, size, true, Width::F16, None);
    let groups = integers.groups;
    let reordered = |fields: Vec<u32>| {
        let eights = fields.chunks_exact(8).flat_map(|eight| ORDER.map(|i| eight[i]));
        pack(&eights.collect::<Vec<_>>(), 4)
    };
    let parts = [
        ("qweight", words(&reordered(transposed(&integers.codes, k)), vec![k, n / 8])),
        ("qzeros", words(&reordered(transposed(&integers.zeros, groups)), vec![groups, n / 8])),
        ("scales", floats(Width::F16, &transposed(&integers.scales, groups), vec![groups, n])),
    ];
    (parts.into(), integers.meant)
}

/// Two codes to a byte, the even one low.
fn nibbles(codes: &[u8], shape: Vec<usize>) -> Stored {
    let bytes = codes.chunks_exact(2).map(|pair| pair[0] | pair[1] << 4).collect();
    Stored { dtype: Dtype::U8, shape, bytes }
}

fn value_of_e2m1(code: u8) -> f32 {
    let magnitude = E2M1[usize::from(code & 7)];
    if code < 8 { magnitude } else { -magnitude }
}

fn nvfp4(values: &[f32], [n, k]: [usize; 2], modelopt: bool) -> (Tensors, Vec<f32>) {
    let most = largest(values.iter().copied());
    // compressed-tensors stores the reciprocal, whose rounding is part of the format.
    let stored = if modelopt { most / 2688.0 } else { 2688.0 / most };
    let whole = if modelopt { stored } else { 1.0 / stored };
    let (mut scales, mut codes, mut meant) = (Vec::new(), Vec::new(), Vec::new());
    for block in values.chunks_exact(16) {
        let scale = to_e4m3(largest(block.iter().copied()) / 6.0 / whole);
        let step = e4m3(scale) * whole;
        scales.push(scale);
        for value in block {
            let code = if step == 0.0 { 0 } else { to_e2m1(value / step) };
            codes.push(code);
            meant.push(value_of_e2m1(code) * step);
        }
    }
    let scales = Stored { dtype: Dtype::F8_E4M3, shape: vec![n, k / 16], bytes: scales };
    let codes = nibbles(&codes, vec![n, k / 2]);
    let parts = if modelopt {
        let whole = floats(Width::F32, &[stored], vec![]);
        let input = floats(Width::F32, &[0.01], vec![]);
        Tensors::from([
            ("weight", codes),
            ("weight_scale", scales),
            ("weight_scale_2", whole),
            ("input_scale", input),
        ])
    } else {
        let whole = floats(Width::F32, &[stored], vec![1]);
        Tensors::from([
            ("weight_packed", codes),
            ("weight_scale", scales),
            ("weight_global_scale", whole),
        ])
    };
    (parts, meant)
}

fn mxfp4(values: &[f32], [n, k]: [usize; 2]) -> (Tensors, Vec<f32>) {
    let (mut scales, mut codes, mut meant) = (Vec::new(), Vec::new(), Vec::new());
    for block in values.chunks_exact(32) {
        let exponent = largest(block.iter().copied()).log2().floor() as i32 - 2;
        scales.push((exponent + 127) as u8);
        for value in block {
            let code = to_e2m1(value / 2_f32.powi(exponent));
            codes.push(code);
            meant.push(value_of_e2m1(code) * 2_f32.powi(exponent));
        }
    }
    let scales = Stored { dtype: Dtype::U8, shape: vec![n, k / 32], bytes: scales };
    ([("weight_packed", nibbles(&codes, vec![n, k / 2])), ("weight_scale", scales)].into(), meant)
}

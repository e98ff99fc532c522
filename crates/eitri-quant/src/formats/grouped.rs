//! What the formats with tensors of codes, scales and zeros have in common: groups, scales, the
//! order of inputs, and rows put together from them.

use std::sync::Arc;

use eitri_kernels::{Codes, GroupSize, Grouped, KernelError, RowSource, ScaleType, WeightFormat};

use crate::{Checkpoint, Encoding, QuantError, ScaleGroup, TensorView};

/// An error about what a tensor holds.
pub(super) fn stored(view: &TensorView<'_>, message: impl Into<String>) -> QuantError {
    QuantError::Stored {
        file: view.file.to_owned(),
        tensor: view.name.to_owned(),
        message: message.into(),
    }
}

/// Fails unless `view` has this shape.
pub(super) fn expect_shape(view: &TensorView<'_>, expected: &[usize]) -> Result<(), QuantError> {
    if view.shape == expected {
        return Ok(());
    }
    Err(stored(view, format!("must have shape {expected:?}, got {:?}", view.shape)))
}

/// Rows and columns of a tensor of two dimensions.
pub(super) fn matrix_shape(view: &TensorView<'_>) -> Result<(usize, usize), QuantError> {
    match *view.shape {
        [rows, columns] if rows > 0 && columns > 0 => Ok((rows, columns)),
        _ => Err(stored(view, format!("must be a matrix, got shape {:?}", view.shape))),
    }
}

/// Word `index` of a tensor of 32-bit words.
pub(super) fn word(view: &TensorView<'_>, index: usize) -> u32 {
    let bytes = &view.bytes[4 * index..4 * index + 4];
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// A module's tensor of packed words.
pub(super) fn words<'a>(
    checkpoint: &'a Checkpoint,
    module: &str,
    suffix: &str,
) -> Result<TensorView<'a>, QuantError> {
    let view = checkpoint.tensor(&format!("{module}.{suffix}"))?;
    if view.encoding == Encoding::I32 {
        return Ok(view);
    }
    Err(stored(&view, format!("must be I32, got {}", view.encoding.name)))
}

/// The same for a tensor that may be absent.
pub(super) fn optional_words<'a>(
    checkpoint: &'a Checkpoint,
    module: &str,
    suffix: &str,
) -> Result<Option<TensorView<'a>>, QuantError> {
    let present = checkpoint.contains(&format!("{module}.{suffix}"));
    present.then(|| words(checkpoint, module, suffix)).transpose()
}

/// Integer codes of 4 or else 8 bits.
pub(super) fn integers(bits: usize, zeros: bool) -> Codes {
    match (bits, zeros) {
        (4, false) => Codes::U4,
        (4, true) => Codes::U4Zero,
        (_, false) => Codes::I8,
        (_, true) => Codes::I8Zero,
    }
}

/// Takes note of tensors that weight-only arithmetic has no use for, such as scales of activations,
/// so that they are not reported as unknown.
pub(super) fn pass_over(checkpoint: &Checkpoint, module: &str, suffixes: &[&str]) {
    for suffix in suffixes {
        checkpoint.pass_over(&format!("{module}.{suffix}"));
    }
}

/// Scales of activations that stand beside a weight.
pub(super) const ACTIVATION_SCALES: [&str; 3] =
    ["input_scale", "input_global_scale", "output_scale"];

/// How the groups of a row in a file become those of a canonical row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grouping {
    k: usize,
    /// Inputs that share a scale in the file.
    stored: usize,
    canonical: GroupSize,
}

impl Grouping {
    /// The largest canonical groups that lie within groups of `size` inputs.
    pub(super) fn new(view: &TensorView<'_>, k: usize, size: usize) -> Result<Self, QuantError> {
        Self::fit(k, size).ok_or_else(|| {
            let least = GroupSize::K32.size();
            let message = format!("has groups of {size} in rows of {k}");
            stored(view, format!("{message}; both must be multiples of {least}"))
        })
    }

    /// The same without a tensor; `None` when groups or rows are not multiples of 32.
    pub(super) fn fit(k: usize, size: usize) -> Option<Self> {
        let fits = |group: &GroupSize| {
            k.is_multiple_of(group.size()) && (size >= k || size.is_multiple_of(group.size()))
        };
        let canonical = GroupSize::ALL.into_iter().find(fits)?;
        Some(Self { k, stored: size, canonical })
    }

    /// The group size of integer codes: what the configuration declares, or what the count implies.
    pub(super) fn of_integers(
        checkpoint: &Checkpoint,
        scales: &TensorView<'_>,
        bits: usize,
        k: usize,
        groups: usize,
    ) -> Result<Self, QuantError> {
        let size = match checkpoint.quantization() {
            Some(config) => config.group_size(bits, k, groups).map_err(|declared| {
                let what = format!("has {groups} scales for a row of {k} codes of {bits} bits");
                stored(scales, format!("{what}, but {declared}"))
            })?,
            None if groups > 0 && k.is_multiple_of(groups) => k / groups,
            None => {
                return Err(stored(scales, format!("has {groups} scales for a row of {k} codes")));
            }
        };
        Self::new(scales, k, size)
    }

    /// The format of rows with these codes and scales.
    pub(super) fn format(self, codes: Codes, scale: ScaleType) -> WeightFormat {
        match (codes, scale, self.canonical) {
            // The same rows under the name of the format that has kernels everywhere.
            (Codes::U4, ScaleType::F16, GroupSize::K32) => WeightFormat::U4,
            (Codes::I8, ScaleType::F16, GroupSize::K32) => WeightFormat::I8,
            (_, _, group) => WeightFormat::Grouped(Grouped { codes, scale, group }),
        }
    }

    /// Which values share a scale in the file.
    pub(super) fn scale_group(self) -> ScaleGroup {
        ScaleGroup::of_inputs(self.stored, self.k)
    }

    /// Inputs that share a scale in the file.
    pub(super) fn stored(self) -> usize {
        self.stored
    }

    /// The file's group of each canonical group.
    fn stored_groups(self) -> impl Iterator<Item = usize> {
        let size = self.canonical.size();
        (0..self.k / size).map(move |group| group * size / self.stored)
    }
}

/// A tensor of scales.
#[derive(Clone, Copy)]
pub(super) struct Scales<'a> {
    pub(super) view: TensorView<'a>,
    kind: ScaleType,
    /// Powers of two as exponents; they become bf16, which has all of them.
    exponents: bool,
}

impl<'a> Scales<'a> {
    pub(super) fn new(view: TensorView<'a>) -> Result<Self, QuantError> {
        let (kind, exponents) = match view.encoding {
            Encoding::F16 => (ScaleType::F16, false),
            Encoding::BF16 => (ScaleType::Bf16, false),
            Encoding::F32 => (ScaleType::F32, false),
            Encoding::F8_E8M0 | Encoding::U8 => (ScaleType::Bf16, true),
            other => {
                let message = format!("must be F16, BF16, F32 or F8_E8M0, got {}", other.name);
                return Err(stored(&view, message));
            }
        };
        Ok(Self { view, kind, exponents })
    }

    pub(super) fn kind(&self) -> ScaleType {
        self.kind
    }

    /// Writes scale `index`; `false` when it is not finite.
    fn write(&self, index: usize, out: &mut [u8]) -> bool {
        if self.exponents {
            let exponent = self.view.bytes[index];
            let bits = if exponent == 0 { 0x0040 } else { u16::from(exponent) << 7 };
            out.copy_from_slice(&bits.to_le_bytes());
            return exponent != 0xFF;
        }
        let bytes = self.kind.bytes();
        let scale = &self.view.bytes[bytes * index..bytes * (index + 1)];
        out.copy_from_slice(scale);
        let upper = u16::from_le_bytes([scale[bytes - 2], scale[bytes - 1]]);
        let exponent = if self.kind == ScaleType::F16 { 0x7C00 } else { 0x7F80 };
        upper & exponent != exponent
    }
}

/// Rows of a grouped format. The functions are given a row, and the two last a group of the file.
pub(super) struct GroupedRows<'a, C, S, Z> {
    pub(super) grouping: Grouping,
    pub(super) codes_of: Codes,
    pub(super) weight: TensorView<'a>,
    pub(super) scales: Scales<'a>,
    /// Fills in the codes; `false` when one is not a number.
    pub(super) codes: C,
    /// Number of a scale in its tensor.
    pub(super) scale: S,
    /// A zero, where the format has them.
    pub(super) zero: Z,
}

impl<C, S, Z> RowSource for GroupedRows<'_, C, S, Z>
where
    C: Fn(usize, &mut [u8]) -> bool + Sync,
    S: Fn(usize, usize) -> usize + Sync,
    Z: Fn(usize, usize) -> u8 + Sync,
{
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        let (codes, rest) = out.split_at_mut(self.codes_of.bytes(self.grouping.k));
        if !(self.codes)(row, codes) {
            return Err(not_finite(&self.weight, row));
        }
        let bytes = self.scales.kind.bytes();
        let (scales, zeros) =
            rest.split_at_mut(self.grouping.k / self.grouping.canonical.size() * bytes);
        for (group, out) in self.grouping.stored_groups().zip(scales.chunks_exact_mut(bytes)) {
            if !self.scales.write((self.scale)(row, group), out) {
                return Err(not_finite(&self.scales.view, row));
            }
        }
        for (group, out) in self.grouping.stored_groups().zip(zeros) {
            *out = (self.zero)(row, group);
        }
        Ok(())
    }
}

/// The error of a row with NaN or infinity.
pub(super) fn not_finite(view: &TensorView<'_>, row: usize) -> KernelError {
    let (file, name) = (view.file, view.name);
    let message = format!("{file}: tensor {name} has values that are not finite (NaN or infinity)");
    KernelError::Row { row, message }
}

/// The order of inputs that makes the groups of `g_idx` contiguous; `None` when they are already,
/// or the tensor says with -1 that it means nothing.
pub(super) fn input_order(
    g_idx: Option<&TensorView<'_>>,
    k: usize,
    group: usize,
    groups: usize,
) -> Result<Option<Arc<[u32]>>, QuantError> {
    let Some(g_idx) = g_idx else { return Ok(None) };
    expect_shape(g_idx, &[k])?;
    let of_input: Vec<i32> = (0..k).map(|i| word(g_idx, i) as i32).collect();
    if of_input.iter().all(|&g| g == -1)
        || of_input.iter().enumerate().all(|(i, &g)| g as usize == i / group)
    {
        return Ok(None);
    }
    let mut members = vec![0; groups];
    for (i, &g) in of_input.iter().enumerate() {
        let Some(count) = usize::try_from(g).ok().and_then(|g| members.get_mut(g)) else {
            let message = format!("puts input {i} into group {g}; groups are 0 to {}", groups - 1);
            return Err(stored(g_idx, message));
        };
        *count += 1;
    }
    for (g, &count) in members.iter().enumerate() {
        let expected = group.min(k - g * group);
        if count != expected {
            let message = format!("puts {count} inputs into group {g}, whose size is {expected}");
            return Err(stored(g_idx, message));
        }
    }
    let mut order: Vec<u32> = (0..k as u32).collect();
    order.sort_by_key(|&i| of_input[i as usize]);
    Ok(Some(order.into()))
}

/// Packs codes of 4 bits, given by place in the row, two to a byte.
pub(super) fn fill_nibbles(out: &mut [u8], code: impl Fn(usize) -> u8) {
    for (pair, byte) in out.iter_mut().enumerate() {
        *byte = code(2 * pair) | code(2 * pair + 1) << 4;
    }
}

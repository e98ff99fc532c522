//! Weight matrices: canonical rows in, packed strips held, one format a file.

#![allow(unsafe_code, reason = "threads pack disjoint strips")]

mod codes;
mod dense;
mod grouped;
mod int4;
mod int5;
mod int8;
pub(crate) mod iq4;
mod layout;
pub(crate) mod memory;
pub mod minifloat;
pub(crate) mod mxfp4;
mod nvfp4;
mod q2k;
mod q3k;
mod q4k;
mod q6k;
mod strip;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};
use half::f16;

use crate::{Context, Isa, KernelError, disjoint::Disjoint, matmul::MAX_STRIP_ROWS, read};
pub use grouped::{Codes, GroupSize, Grouped, ScaleType};
pub(crate) use layout::Layout;

/// Values that share a scale in the group formats, and activations that share one in kernels.
pub(crate) const GROUP: usize = 32;

/// How the values of a weight matrix are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// Signed 8-bit codes, one f16 scale per 32.
    I8,
    /// Unsigned 4-bit codes with zero 8, one f16 scale per 32.
    U4,
    /// Unsigned 4-bit codes times a scale plus a minimum, both f16, per 32.
    U4Min,
    /// Unsigned 5-bit codes with zero 16, one f16 scale per 32.
    U5,
    /// Unsigned 5-bit codes times a scale plus a minimum, both f16, per 32.
    U5Min,
    /// ggml's `block_q2_K`: 2-bit codes, a 4-bit scale and minimum per 16, f16 factors per 256.
    Q2K,
    /// ggml's `block_q3_K`: 3-bit codes with zero 4, a 6-bit scale per 16, an f16 factor per 256.
    Q3K,
    /// ggml's `block_q4_K`: 4-bit codes, a 6-bit scale and minimum per 32, f16 factors per 256.
    Q4K,
    /// ggml's `block_q5_K`: as `Q4K` with 5-bit codes.
    Q5K,
    /// ggml's `block_q6_K`: 6-bit codes with zero 32, an i8 scale per 16, an f16 scale per 256.
    Q6K,
    /// 4-bit codes for sixteen uneven steps, one f16 scale per 32.
    Iq4Nl,
    /// ggml's `block_iq4_xs`: the steps of `Iq4Nl`, a 6-bit scale per 32, an f16 factor per 256.
    Iq4Xs,
    /// e2m1 codes, one power of two (e8m0) per 32.
    Mxfp4,
    /// Codes in groups of 32, 64 or 128 with a scale of the file's type and perhaps a zero.
    Grouped(Grouped),
    /// 4-bit floats with an E4M3 scale per 16 and an f32 scale per row.
    Nvfp4,
}

/// Writes the canonical rows of a whole strip.
type PackStrip = fn(Layout, rows: &[&[u8]], strip: &mut [u8]);

/// What a format is: sizes and the plain conversions. One static per format.
pub(crate) struct FormatSpec {
    name: &'static str,
    group: usize,
    row_bytes: fn(k: usize) -> usize,
    strip_bytes: fn(Layout, k: usize) -> usize,
    /// Writes canonical `row` as row `r` of a zeroed strip.
    pack_row: fn(Layout, row: &[u8], r: usize, strip: &mut [u8]),
    /// The same for all rows of a strip at once, where that is faster.
    pack_strip: Option<PackStrip>,
    /// Values of row `r` of a strip from `k0` (a multiple of the group) on.
    unpack: fn(Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]),
    /// Values of a canonical row: the definition of the format.
    dequantise_row: fn(row: &[u8], out: &mut [f32]),
}

impl WeightFormat {
    /// All formats without parameters.
    const PLAIN: [Self; 17] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::I8,
        Self::U4,
        Self::U4Min,
        Self::U5,
        Self::U5Min,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Iq4Xs,
        Self::Mxfp4,
        Self::Nvfp4,
    ];

    /// All formats; of the grouped ones, [`Grouped::SAMPLES`].
    pub const ALL: [Self; Self::PLAIN.len() + Grouped::SAMPLES.len()] = {
        let mut all = [Self::F32; Self::PLAIN.len() + Grouped::SAMPLES.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = if i < Self::PLAIN.len() {
                Self::PLAIN[i]
            } else {
                Self::Grouped(Grouped::SAMPLES[i - Self::PLAIN.len()])
            };
            i += 1;
        }
        all
    };

    fn spec(self) -> &'static FormatSpec {
        match self {
            Self::F32 => &dense::F32,
            Self::F16 => &dense::F16,
            Self::Bf16 => &dense::BF16,
            Self::I8 => &int8::I8,
            Self::U4 => &int4::U4,
            Self::U4Min => &int4::U4_MIN,
            Self::U5 => &int5::U5,
            Self::U5Min => &int5::U5_MIN,
            Self::Q2K => &q2k::Q2K,
            Self::Q3K => &q3k::Q3K,
            Self::Q4K => &q4k::Q4K,
            Self::Q5K => &q4k::Q5K,
            Self::Q6K => &q6k::Q6K,
            Self::Iq4Nl => &iq4::IQ4_NL,
            Self::Iq4Xs => &iq4::IQ4_XS,
            Self::Mxfp4 => &mxfp4::MXFP4,
            Self::Grouped(grouped) => grouped.spec(),
            Self::Nvfp4 => &nvfp4::NVFP4,
        }
    }

    /// Name for logs and `eitri inspect`.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Values that cannot be split: k is a multiple of it.
    pub fn group(self) -> usize {
        self.spec().group
    }

    /// Bytes of one canonical row of `k` values; `None` when `k` is not a multiple of the group.
    pub fn row_bytes(self, k: usize) -> Option<usize> {
        k.is_multiple_of(self.group()).then(|| (self.spec().row_bytes)(k))
    }

    /// Values of one canonical row, as the format defines them.
    ///
    /// # Panics
    /// When `row` is shorter than [`Self::row_bytes`] of `out.len()`.
    pub fn dequantise_row(self, row: &[u8], out: &mut [f32]) {
        (self.spec().dequantise_row)(row, out);
    }

    /// Values of row `r` of a strip from `k0`, a multiple of the group, on.
    pub(crate) fn unpack(self, layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
        (self.spec().unpack)(layout, strip, r, k0, out);
    }
}

/// Where the canonical rows of a matrix come from while it is packed.
///
/// Bytes of one row of k values, output-row-major: `F32`, `F16`, `Bf16`: k little-endian values.
/// `I8`: k codes, then k/32 f16 scales. `U4`: k/2 bytes (low nibble first), then k/32 scales.
/// `U4Min`: k/2 bytes, k/32 scales, k/32 minima. `U5` and `U5Min`: k/2 bytes of the low 4 bits, k/8
/// bytes of the high bits (lowest first), then as `U4` and `U4Min`. `Iq4Nl`: as `U4`. `Mxfp4`: k/2
/// bytes, k/32 exponents. K-quants and `Iq4Xs`: k/256 blocks as in the file.
/// `Grouped`: the codes, the scales of the groups, then a byte for each group's zero where it has
/// one. `Nvfp4`: k/2 bytes, k/16 E4M3 scales, the f32 scale of the row.
pub trait RowSource: Sync {
    /// Fills `out`, [`WeightFormat::row_bytes`] long, with row `row`.
    ///
    /// # Errors
    /// [`KernelError::Row`] when the row cannot be read or is not acceptable.
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError>;
}

/// A packed matrix `[n, k]`, or `experts` of them.
#[derive(Debug, Clone)]
pub struct Weight {
    format: WeightFormat,
    layout: Layout,
    n: usize,
    k: usize,
    experts: usize,
    strip_bytes: usize,
    offset: usize,
    data: Tensor,
    input_order: Option<Arc<[u32]>>,
}

impl Weight {
    /// Packs `experts * n` rows of `source` on all threads of `ctx`.
    ///
    /// # Errors
    /// When a size is zero or `k` does not fit the format, and whatever `source` reports: of
    /// several failing rows, one of them.
    pub fn pack(
        ctx: &Context,
        format: WeightFormat,
        n: usize,
        k: usize,
        experts: usize,
        source: &dyn RowSource,
    ) -> Result<Self, KernelError> {
        let row_bytes = format.row_bytes(k).filter(|_| n > 0 && k > 0 && experts > 0);
        let Some(row_bytes) = row_bytes else {
            return Err(KernelError::Shape {
                op: "pack",
                what: "weight",
                expected: format!(
                    "non-empty, k a multiple of {} for {}",
                    format.group(),
                    format.name()
                ),
                got: format!("{experts} x [{n}, {k}]"),
            });
        };
        let layout = Layout::of(ctx.isa());
        let strip_bytes = (format.spec().strip_bytes)(layout, k);
        let strips = layout.strips(n);
        let bytes = strip_bytes * strips * experts;
        let (mut data, offset) = memory::allocate(bytes);
        let failed: Mutex<Option<KernelError>> = Mutex::new(None);
        let packed = Disjoint::new(&mut data[offset..offset + bytes]);
        ctx.pool().for_ranges(strips * experts, strips_per_job(strip_bytes), |range| {
            let pitch = row_pitch(row_bytes);
            let mut rows = vec![0; pitch * layout.rows()];
            for strip in range {
                if failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                    return;
                }
                let (expert, s) = (strip / strips, strip % strips);
                // SAFETY: each strip belongs to exactly one range.
                let out = unsafe { packed.part(strip * strip_bytes..(strip + 1) * strip_bytes) };
                let first = s * layout.rows();
                let rows = &mut rows[..pitch * layout.rows().min(n - first)];
                for (r, row) in rows.chunks_exact_mut(pitch).enumerate() {
                    if let Err(error) = source.row(expert * n + first + r, &mut row[..row_bytes]) {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return;
                    }
                }
                pack_rows(format.spec(), layout, rows, row_bytes, out);
            }
        })?;
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let len = data.len();
        let data = Tensor::from_vec(data, len, &Device::Cpu)?;
        Ok(Self { format, layout, n, k, experts, strip_bytes, offset, data, input_order: None })
    }

    /// The same matrix, whose column `j` multiplies input `order[j]`: products gather their inputs
    /// first. GPTQ's `desc_act` needs it, where groups are contiguous only in another order.
    ///
    /// # Errors
    /// When `order` does not name each of the k inputs once.
    pub fn with_input_order(self, order: Arc<[u32]>) -> Result<Self, KernelError> {
        let mut seen = vec![false; self.k];
        let once = |&i: &u32| seen.get_mut(i as usize).is_some_and(|s| !std::mem::replace(s, true));
        if order.len() == self.k && order.iter().all(once) {
            return Ok(Self { input_order: Some(order), ..self });
        }
        Err(KernelError::Shape {
            op: "pack",
            what: "input order",
            expected: format!("a permutation of {} inputs", self.k),
            got: format!("{} entries", order.len()),
        })
    }

    /// The input of each column, if that is not the column's own number.
    pub(crate) fn input_order(&self) -> Option<&[u32]> {
        self.input_order.as_deref()
    }

    /// Bytes that a matrix will occupy, for the memory plan. Zero when `k` does not fit `format`.
    pub fn packed_bytes(
        isa: Isa,
        format: WeightFormat,
        n: usize,
        k: usize,
        experts: usize,
    ) -> usize {
        if format.row_bytes(k).is_none() {
            return 0;
        }
        let layout = Layout::of(isa);
        (format.spec().strip_bytes)(layout, k) * layout.strips(n) * experts + memory::ALIGNMENT
    }

    /// How values are stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Output rows of one matrix.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs of one matrix.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Number of matrices; 1 for a dense one.
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.data.elem_count()
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Strips of one matrix.
    pub(crate) fn strips(&self) -> usize {
        self.layout.strips(self.n)
    }

    pub(crate) fn strip_bytes(&self) -> usize {
        self.strip_bytes
    }

    /// Calls `f` with all strips, expert after expert.
    pub(crate) fn with_strips<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R, KernelError> {
        let bytes = self.strip_bytes * self.strips() * self.experts;
        read::<u8, R>(&self.data, |data| f(&data[self.offset..self.offset + bytes]))
    }
}

/// Bytes from a row to the next where those of a strip are gathered: an odd number of cache lines,
/// since rows of a power of two bytes would all compete for the same places of the cache.
fn row_pitch(row_bytes: usize) -> usize {
    const LINE: usize = 64;
    (row_bytes.div_ceil(LINE) | 1) * LINE
}

/// Packs the first rows of a strip, or all, which lie [`row_pitch`] apart.
fn pack_rows(spec: &FormatSpec, layout: Layout, rows: &[u8], row_bytes: usize, strip: &mut [u8]) {
    let rows = rows.chunks_exact(row_pitch(row_bytes)).map(|row| &row[..row_bytes]);
    if let Some(pack_strip) = spec.pack_strip
        && rows.len() == layout.rows()
    {
        let mut each: [&[u8]; MAX_STRIP_ROWS] = [&[]; MAX_STRIP_ROWS];
        for (each, row) in each.iter_mut().zip(rows) {
            *each = row;
        }
        return pack_strip(layout, &each[..layout.rows()], strip);
    }
    for (r, row) in rows.enumerate() {
        (spec.pack_row)(layout, row, r, strip);
    }
}

/// About a megabyte per job, so that a row buffer is not allocated for each strip.
fn strips_per_job(strip_bytes: usize) -> usize {
    (1 << 20) / strip_bytes.max(1) + 1
}

/// The `index`-th f16 of `bytes`.
fn f16_at(bytes: &[u8], index: usize) -> f32 {
    f16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]).to_f32()
}

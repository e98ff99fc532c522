//! `Grouped`: codes along k in groups that share a scale and perhaps an integer zero, as GPTQ, AWQ,
//! compressed-tensors, `ModelOpt` and FP8 checkpoints hold them.
//!
//! Canonical row: all codes, then the scales of its groups, then their zeros. Strip block of a
//! group: the scales of all rows, their zeros (a byte each), then the codes in sections of 32 k.
//! 4- and 8-bit integers lie in a section as in `U4` and `I8`. `E4m3` has, for each k, a byte of
//! every row.

use half::{bf16, f16};

use super::{
    FormatSpec, GROUP, Layout,
    int4::{self, nibble_at, put_nibbles},
    int8::{self, cell_byte, put_bytes},
    minifloat, strip,
};

/// Codes with a scale, and perhaps a zero, for each group of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grouped {
    /// What a code means.
    pub codes: Codes,
    /// Type of the scales: the file's own, so that none is rounded.
    pub scale: ScaleType,
    /// How many k share a scale.
    pub group: GroupSize,
}

/// The meaning of one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codes {
    /// Unsigned, 4 bits: `(code - 8) * scale`.
    U4,
    /// Unsigned, 4 bits, with a zero of 0 to 15 per group: `(code - zero) * scale`.
    U4Zero,
    /// Signed, 8 bits: `code * scale`.
    I8,
    /// Signed, 8 bits, with a signed 8-bit zero per group: `(code - zero) * scale`.
    I8Zero,
    /// 8-bit float of 4 exponent and 3 mantissa bits without infinities (OCP FP8): `code * scale`.
    E4m3,
}

/// The type of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScaleType {
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// IEEE single precision.
    F32,
}

impl ScaleType {
    /// Bytes of a scale.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// The `index`-th scale of `bytes`, little-endian.
    fn at(self, bytes: &[u8], index: usize) -> f32 {
        let pair = |at: usize| [bytes[at], bytes[at + 1]];
        match self {
            Self::F16 => f16::from_le_bytes(pair(2 * index)).to_f32(),
            Self::Bf16 => bf16::from_le_bytes(pair(2 * index)).to_f32(),
            Self::F32 => {
                let ([a, b], [c, d]) = (pair(4 * index), pair(4 * index + 2));
                f32::from_le_bytes([a, b, c, d])
            }
        }
    }
}

/// How many neighbouring k share a scale. Larger groups of a file repeat theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupSize {
    /// 32.
    K32,
    /// 64.
    K64,
    /// 128.
    K128,
}

impl GroupSize {
    /// All, largest first.
    pub const ALL: [Self; 3] = [Self::K128, Self::K64, Self::K32];

    /// The number.
    pub const fn size(self) -> usize {
        match self {
            Self::K32 => 32,
            Self::K64 => 64,
            Self::K128 => 128,
        }
    }
}

impl Codes {
    const ALL: [Self; 5] = [Self::U4, Self::U4Zero, Self::I8, Self::I8Zero, Self::E4m3];

    /// Bytes of `k` codes.
    pub const fn bytes(self, k: usize) -> usize {
        match self {
            Self::U4 | Self::U4Zero => k / 2,
            Self::I8 | Self::I8Zero | Self::E4m3 => k,
        }
    }

    /// Whether each group has a zero.
    pub const fn has_zero(self) -> bool {
        matches!(self, Self::U4Zero | Self::I8Zero)
    }

    fn value(self, code: u8, scale: f32, zero: u8) -> f32 {
        let code = match self {
            Self::U4 => f32::from(code) - 8.0,
            Self::U4Zero => f32::from(code) - f32::from(zero),
            Self::I8 => f32::from(code as i8),
            Self::I8Zero => f32::from(code as i8) - f32::from(zero as i8),
            Self::E4m3 => minifloat::e4m3(code),
        };
        code * scale
    }

    /// Code `k` of a canonical row.
    fn canonical(self, codes: &[u8], k: usize) -> u8 {
        if self.bytes(2) == 1 { codes[k / 2] >> (4 * (k % 2)) & 15 } else { codes[k] }
    }

    /// Writes 32 codes of row `r`, as a canonical row has them, into their section.
    fn put(self, layout: Layout, r: usize, codes: &[u8], section: &mut [u8]) {
        match self {
            Self::U4 | Self::U4Zero => put_nibbles(layout, r, codes, section),
            Self::I8 | Self::I8Zero => put_bytes(layout, r, codes, section),
            // A byte of the row stands beside those of other rows.
            Self::E4m3 => {
                let places = section.chunks_exact_mut(layout.rows());
                places.zip(codes).for_each(|(place, &code)| place[r] = code);
            }
        }
    }

    /// Byte and shift of code `k` of row `r` in a section of 32 k.
    fn place(self, layout: Layout, r: usize, k: usize) -> (usize, u32) {
        match self {
            Self::U4 | Self::U4Zero => nibble_at(layout, r, k),
            Self::I8 | Self::I8Zero => (cell_byte(layout, r, k), 0),
            Self::E4m3 => (k * layout.rows() + r, 0),
        }
    }
}

impl Grouped {
    /// One for each kind of code and type of scale, with all group sizes among them: what tests and
    /// probes go through.
    pub const SAMPLES: [Self; 13] = {
        use Codes::{E4m3, I8, I8Zero, U4, U4Zero};
        use GroupSize::{K32, K64, K128};
        use ScaleType::{Bf16, F16, F32};

        [
            Self::new(U4, F16, K128),
            Self::new(U4, Bf16, K32),
            Self::new(U4, F32, K64),
            Self::new(U4Zero, F16, K64),
            Self::new(U4Zero, Bf16, K128),
            Self::new(U4Zero, F32, K32),
            Self::new(I8, F16, K64),
            Self::new(I8, Bf16, K128),
            Self::new(I8Zero, F16, K32),
            Self::new(I8Zero, F32, K128),
            Self::new(E4m3, Bf16, K128),
            Self::new(E4m3, F32, K64),
            Self::new(E4m3, F16, K32),
        ]
    };

    const fn new(codes: Codes, scale: ScaleType, group: GroupSize) -> Self {
        Self { codes, scale, group }
    }

    /// Bytes of a group of one row: its scale, zero and codes.
    pub(crate) const fn group_bytes(self) -> usize {
        self.codes.bytes(self.group.size()) + self.scale.bytes() + self.codes.has_zero() as usize
    }

    /// Where the codes of a strip block begin.
    pub(crate) const fn codes_offset(self, rows: usize) -> usize {
        rows * (self.scale.bytes() + self.codes.has_zero() as usize)
    }

    pub(super) fn spec(self) -> &'static FormatSpec {
        let group = GroupSize::ALL.len() - 1 - self.group as usize;
        &SPECS[(self.codes as usize * 3 + self.scale as usize) * 3 + group]
    }

    const fn from_index(index: usize) -> Self {
        let scale = match index / 3 % 3 {
            0 => ScaleType::F16,
            1 => ScaleType::Bf16,
            _ => ScaleType::F32,
        };
        Self::new(Codes::ALL[index / 9], scale, GroupSize::ALL[index % 3])
    }

    fn pack_row(self, layout: Layout, row: &[u8], r: usize, strip: &mut [u8]) {
        let (rows, size, bytes) = (layout.rows(), self.group.size(), self.scale.bytes());
        let groups = row.len() / self.group_bytes();
        let (codes, rest) = row.split_at(self.codes.bytes(groups * size));
        let (scales, zeros) = rest.split_at(groups * bytes);
        for (g, block) in strip.chunks_exact_mut(rows * self.group_bytes()).enumerate() {
            block[bytes * r..bytes * (r + 1)].copy_from_slice(&scales[bytes * g..bytes * (g + 1)]);
            if self.codes.has_zero() {
                block[bytes * rows + r] = zeros[g];
            }
            let codes = &codes[self.codes.bytes(size) * g..self.codes.bytes(size) * (g + 1)];
            let section_bytes = self.codes.bytes(GROUP);
            let sections = &mut block[self.codes_offset(rows)..];
            let sections = sections.chunks_exact_mut(rows * section_bytes);
            for (section, codes) in sections.zip(codes.chunks_exact(section_bytes)) {
                self.codes.put(layout, r, codes, section);
            }
        }
    }

    fn pack_strip(self, layout: Layout, rows: &[&[u8]], strip: &mut [u8]) {
        let (size, bytes) = (self.group.size(), self.scale.bytes());
        let groups = rows[0].len() / self.group_bytes();
        let (code_bytes, section_bytes) = (self.codes.bytes(size), self.codes.bytes(GROUP));
        for (g, block) in strip.chunks_exact_mut(rows.len() * self.group_bytes()).enumerate() {
            let (head, sections) = block.split_at_mut(self.codes_offset(rows.len()));
            let (scales, zeros) = head.split_at_mut(bytes * rows.len());
            strip::put_parameters(rows, groups * code_bytes + bytes * g, bytes, scales);
            strip::put_parameters(rows, groups * (code_bytes + bytes) + g, 1, zeros);
            for (s, section) in sections.chunks_exact_mut(rows.len() * section_bytes).enumerate() {
                let at = g * code_bytes + s * section_bytes;
                match self.codes {
                    Codes::U4 | Codes::U4Zero => {
                        strip::put_cells::<{ GROUP / 8 }>(layout, rows, at, section, int4::cell);
                    }
                    Codes::I8 | Codes::I8Zero => {
                        strip::put_cells::<{ GROUP / 4 }>(layout, rows, at, section, int8::cell);
                    }
                    Codes::E4m3 => {
                        strip::put_bytes(rows, at, section_bytes, section);
                    }
                }
            }
        }
    }

    fn unpack(self, layout: Layout, strip: &[u8], r: usize, k0: usize, out: &mut [f32]) {
        let (rows, size) = (layout.rows(), self.group.size());
        let blocks = strip.chunks_exact(rows * self.group_bytes()).skip(k0 / size);
        for (block, out) in blocks.zip(out.chunks_mut(size)) {
            let scale = self.scale.at(block, r);
            let zero = if self.codes.has_zero() { block[self.scale.bytes() * rows + r] } else { 0 };
            let sections = &block[self.codes_offset(rows)..];
            let sections = sections.chunks_exact(rows * self.codes.bytes(GROUP));
            for (section, out) in sections.zip(out.chunks_mut(GROUP)) {
                for (k, value) in out.iter_mut().enumerate() {
                    let (at, shift) = self.codes.place(layout, r, k);
                    let code = section[at] >> shift;
                    let code = if self.codes.bytes(2) == 1 { code & 15 } else { code };
                    *value = self.codes.value(code, scale, zero);
                }
            }
        }
    }

    fn dequantise_row(self, row: &[u8], out: &mut [f32]) {
        let groups = out.len() / self.group.size();
        let (codes, rest) = row.split_at(self.codes.bytes(out.len()));
        let (scales, zeros) = rest.split_at(groups * self.scale.bytes());
        for (g, out) in out.chunks_mut(self.group.size()).enumerate() {
            let scale = self.scale.at(scales, g);
            let zero = if self.codes.has_zero() { zeros[g] } else { 0 };
            for (k, value) in out.iter_mut().enumerate() {
                let code = self.codes.canonical(codes, g * self.group.size() + k);
                *value = self.codes.value(code, scale, zero);
            }
        }
    }
}

/// Names in the order of indices.
macro_rules! names {
    ($($codes:literal)*) => {
        [$(
            concat!($codes, " g128 f16"), concat!($codes, " g64 f16"), concat!($codes, " g32 f16"),
            concat!($codes, " g128 bf16"), concat!($codes, " g64 bf16"),
            concat!($codes, " g32 bf16"),
            concat!($codes, " g128 f32"), concat!($codes, " g64 f32"), concat!($codes, " g32 f32"),
        )*]
    };
}

const NAMES: [&str; 45] = names!("u4" "u4+zero" "i8" "i8+zero" "e4m3");

/// The parameters as a constant, so that a method of [`Grouped`] becomes a plain function.
struct Spec<const INDEX: usize>;

impl<const INDEX: usize> Spec<INDEX> {
    const FORMAT: Grouped = Grouped::from_index(INDEX);
    const SPEC: FormatSpec = FormatSpec {
        name: NAMES[INDEX],
        group: Self::FORMAT.group.size(),
        row_bytes: |k| k / Self::FORMAT.group.size() * Self::FORMAT.group_bytes(),
        strip_bytes: |layout, k| {
            k / Self::FORMAT.group.size() * Self::FORMAT.group_bytes() * layout.rows()
        },
        pack_row: |layout, row, r, strip| Self::FORMAT.pack_row(layout, row, r, strip),
        pack_strip: Some(|layout, rows, strip| Self::FORMAT.pack_strip(layout, rows, strip)),
        unpack: |layout, strip, r, k0, out| Self::FORMAT.unpack(layout, strip, r, k0, out),
        dequantise_row: |row, out| Self::FORMAT.dequantise_row(row, out),
    };
}

macro_rules! specs {
    ($($index:literal)*) => { [$(Spec::<$index>::SPEC),*] };
}

static SPECS: [FormatSpec; 45] = specs!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26
    27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_its_own_name_and_sizes() {
        for (index, name) in NAMES.into_iter().enumerate() {
            let format = Grouped::from_index(index);
            let spec = format.spec();
            assert_eq!(spec.name, name, "{format:?}");
            assert!(spec.name.contains(&format!(" g{} ", format.group.size())), "{format:?}");
            let scale = format!("{:?}", format.scale).to_lowercase();
            assert!(spec.name.ends_with(&format!(" {scale}")), "{format:?}");
            assert_eq!(spec.name.contains("+zero"), format.codes.has_zero(), "{format:?}");
            assert_eq!(spec.group, format.group.size());
        }
    }
}

//! GPTQ, versions 1 and 2, 4 and 8 bits: `qweight` packs codes along k, `qzeros` zeros along n, the
//! lowest bits first. `value = (code - zero) * scale` of the input's group; version 1 stores zeros
//! less one, subtracted from whole words. With `desc_act`, `g_idx` gives each input its group: codes
//! are put into an order in which groups are contiguous. Source: `PackableQuantLinear` of `GPTQModel`.

use super::{
    Format,
    grouped::{
        GroupedRows, Grouping, Scales, expect_shape, fill_nibbles, input_order, integers,
        matrix_shape, optional_words, stored, word, words,
    },
};
use crate::{Checkpoint, Matrix, QuantError, QuantizationConfig, TensorView};

pub(super) static FORMAT: Format = Format::Module(open);

fn open<'a>(checkpoint: &'a Checkpoint, module: &str) -> Result<Option<Matrix<'a>>, QuantError> {
    let name = |suffix: &str| format!("{module}.{suffix}");
    if !checkpoint.contains(&name("qweight")) {
        return Ok(None);
    }
    let scales = Scales::new(checkpoint.tensor(&name("scales"))?)?;
    let (groups, n) = matrix_shape(&scales.view)?;
    let qweight = words(checkpoint, module, "qweight")?;
    let (packed, columns) = matrix_shape(&qweight)?;
    if columns != n {
        // AWQ packs along n.
        return Ok(None);
    }
    let qzeros = words(checkpoint, module, "qzeros")?;
    let zero_words = matrix_shape(&qzeros)?.1;
    let bits = match zero_words * 32 / n {
        bits @ (4 | 8) if (n * bits).is_multiple_of(32) => bits,
        _ => {
            let message = format!(
                "has {zero_words} words for {n} zeros; only codes of 4 and 8 bits are supported"
            );
            return Err(stored(&qzeros, message));
        }
    };
    let k = packed * 32 / bits;
    let grouping = Grouping::of_integers(checkpoint, &scales.view, bits, k, groups)?;
    expect_shape(&qzeros, &[groups, n * bits / 32])?;
    let g_idx = optional_words(checkpoint, module, "g_idx")?;
    let order = input_order(g_idx.as_ref(), k, grouping.stored(), groups)?;
    let zeros = Zeros {
        words: qzeros,
        bits,
        per_group: n * bits / 32,
        add: match (checkpoint.quantization().is_some_and(QuantizationConfig::gptq_v2), bits) {
            (true, _) => 0,
            (false, 4) => 0x1111_1111,
            (false, _) => 0x0101_0101,
        },
    };
    let codes_of = integers(bits, !zeros.are_in_the_middle());
    let inputs = order.clone();
    let code = move |row: usize, k: usize| {
        let per_word = 32 / bits;
        (word(&qweight, k / per_word * n + row) >> (bits * (k % per_word))) as u8
    };
    let rows = GroupedRows {
        grouping,
        codes_of,
        weight: qweight,
        scales,
        codes: move |row, out: &mut [u8]| {
            match (&inputs, bits) {
                (Some(order), 4) => fill_nibbles(out, |j| code(row, order[j] as usize) & 15),
                (Some(order), _) => {
                    let codes = out.iter_mut().zip(&**order);
                    codes.for_each(|(out, &k)| *out = code(row, k as usize) ^ 0x80);
                }
                (None, _) => {
                    let flip = if bits == 4 { 0 } else { 0x8080_8080 };
                    for (w, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                        *out = (word(&qweight, w * n + row) ^ flip).to_le_bytes();
                    }
                }
            }
            true
        },
        scale: move |row, group| group * n + row,
        zero: move |row, group| {
            let zero = zeros.at(row, group);
            if bits == 4 { zero } else { zero ^ 0x80 }
        },
    };
    let format = grouping.format(codes_of, scales.kind());
    let tensors = [qweight, scales.view, qzeros].into_iter().chain(g_idx).collect();
    let kind = (stored_name(bits), grouping.scale_group());
    let matrix = Matrix::from_rows(tensors, kind, format, [n, k], Box::new(rows));
    Ok(Some(matrix.with_input_order(order)))
}

/// How matrices of this width are called.
pub(super) fn stored_name(bits: usize) -> &'static str {
    if bits == 4 { "GPTQ 4-bit" } else { "GPTQ 8-bit" }
}

#[derive(Clone, Copy)]
struct Zeros<'a> {
    words: TensorView<'a>,
    bits: usize,
    /// Words of a group.
    per_group: usize,
    /// What the writer subtracted from each word.
    add: u32,
}

impl Zeros<'_> {
    fn at(&self, row: usize, group: usize) -> u8 {
        let per_word = 32 / self.bits;
        let word = word(&self.words, group * self.per_group + row / per_word);
        let field = word.wrapping_add(self.add) >> (self.bits * (row % per_word));
        field as u8 & (0xFF >> (8 - self.bits))
    }

    /// Whether all are half the range, as in symmetric files.
    fn are_in_the_middle(&self) -> bool {
        let middle: u32 = if self.bits == 4 { 0x8888_8888 } else { 0x8080_8080 };
        let (words, _) = self.words.bytes.as_chunks::<4>();
        words.iter().all(|&word| u32::from_le_bytes(word).wrapping_add(self.add) == middle)
    }
}

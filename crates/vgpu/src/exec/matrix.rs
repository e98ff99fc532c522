//! Matrix loads and stores, and the fragments of tensor products.
//!
//! Fragment layouts are those of the PTX ISA, "Warp Level Matrix Multiply-Accumulate
//! Instructions": with g = lane / 4 and t = lane % 4, an element of e to a register,
//! - A, register r, element j: row g + 8 (r & 1), column e t + 4 e (r >> 1) + j;
//! - B, register r, element j: row e t + 4 e r + j, column g;
//! - C and D, value i: row g + 8 (i >> 1), column 2 t + (i & 1).
#![allow(unsafe_code, reason = "loops are compiled twice, for processors with wider vectors")]
#![allow(clippy::inline_always, reason = "a loop takes the vector width of the function it is in")]

use super::access::Place;
use super::block::Block;
use super::product::{self, Operands};
use super::warp::Warp;
use super::{Run, trouble};
use crate::check::Use;
use crate::config::Numeric;
use crate::decode::reader::SHARED_WINDOW;
use crate::error::FaultKind;
use crate::numeric::NAN_F32;
use crate::program::{Element, MatrixMove, Mma, Space};
use crate::registers::LANES;
use crate::schedule::{Random, mix};

/// Bytes of a row of an 8 x 8 matrix of 16-bit elements.
const ROW: u32 = 16;

impl Block<'_> {
    pub(super) fn matrix_move(&mut self, warp: &mut Warp, matrix: &MatrixMove) -> Run<()> {
        let addresses = warp.addresses(&matrix.address);
        let count = matrix.registers.len();
        let suppliers = u32::MAX >> (32 - 8 * count);
        let mut rows = [0usize; LANES];
        let window = if matrix.space == Space::Generic { SHARED_WINDOW } else { 0 };
        let usage = if matrix.store { Use::Write } else { Use::Read };
        for lane in 0..8 * count {
            let offset = addresses[lane].wrapping_sub(window);
            let inside = offset.checked_add(16).is_some_and(|end| end <= self.shared.len() as u64);
            rows[lane] = if inside && offset.is_multiple_of(16) {
                offset as usize
            } else {
                self.row_elsewhere(warp, lane, matrix, addresses[lane])?
            };
            if self.watches() {
                self.check_race(warp, lane, Place::Shared(rows[lane]), ROW, usage)?;
            }
        }
        if self.env.config.counters {
            let offsets = addresses.map(|address| address.wrapping_sub(window));
            self.count_traffic(Space::Shared, &offsets, suppliers, ROW, matrix.store);
        }
        for (&slot, rows) in matrix.registers.iter().zip(rows.chunks_exact(8)) {
            if matrix.store {
                self.store_matrix(warp, slot, rows, matrix.transposed);
            } else {
                self.load_matrix(warp, slot, rows, matrix.transposed);
            }
        }
        Ok(())
    }

    /// A row that does not lie in shared memory as it should.
    #[cold]
    fn row_elsewhere(
        &self,
        warp: &Warp,
        lane: usize,
        matrix: &MatrixMove,
        address: u64,
    ) -> Run<usize> {
        let place = self.place(warp, lane, matrix.space, address, ROW, matrix.store)?;
        let Place::Shared(at) = place else {
            let text = "the address of a row must be in shared memory";
            return trouble(FaultKind::OutOfBounds, lane, Some(address), text);
        };
        Ok(at)
    }

    /// Loads a matrix whose rows begin at some places of shared memory. Lane l has elements 2 l and
    /// 2 l + 1 of it, counted row by row.
    fn load_matrix(&self, warp: &mut Warp, slot: u32, rows: &[usize], transposed: bool) {
        let mut matrix = [[0_u16; 8]; 8];
        for (row, &at) in matrix.iter_mut().zip(rows) {
            bytemuck::bytes_of_mut(row).copy_from_slice(&self.shared[at..at + ROW as usize]);
        }
        let words = warp.registers.narrow_mut(slot);
        *words = bytemuck::cast(if transposed { turned(matrix) } else { matrix });
        if self.undefined {
            let defined = |at: usize| self.shared_defined[at] && self.shared_defined[at + 1];
            let mut known = [[true; 8]; 8];
            for (row, &at) in known.iter_mut().zip(rows) {
                *row = std::array::from_fn(|column| defined(at + 2 * column));
            }
            let known = if transposed { turned(known) } else { known };
            warp.registers.defined[slot as usize] = known
                .as_flattened()
                .chunks_exact(2)
                .enumerate()
                .fold(0, |mask, (lane, pair)| mask | u32::from(pair[0] && pair[1]) << lane);
        }
    }

    /// The other way round.
    fn store_matrix(&mut self, warp: &Warp, slot: u32, rows: &[usize], transposed: bool) {
        let matrix: [[u16; 8]; 8] = bytemuck::cast(*warp.registers.narrow(slot));
        let matrix = if transposed { turned(matrix) } else { matrix };
        for (row, &at) in matrix.iter().zip(rows) {
            self.shared[at..at + ROW as usize].copy_from_slice(bytemuck::bytes_of(row));
            if self.undefined {
                self.shared_defined[at..at + ROW as usize].fill(true);
            }
        }
    }

    pub(super) fn mma(&mut self, warp: &mut Warp, op: &Mma) {
        if self.env.config.counters {
            let operations = 2 * 16 * 8 * op.k as u64;
            self.counters.tensor_operations += operations;
            if matches!(op.a_format, Element::S8 | Element::U8) {
                self.counters.tensor_operations_8bit += operations;
            }
        }
        if matches!(op.a_format, Element::S8 | Element::U8) {
            integer_product(warp, op);
            return;
        }
        let operands = &mut *self.operands;
        let mut random = match self.env.config.numeric {
            Numeric::Plain => None,
            Numeric::Perturbed(seed) => Some(Random::new(mix(seed) ^ self.random.next())),
        };
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the feature.
            unsafe { float_product_avx2(warp, op, operands, random.as_mut()) };
            return;
        }
        float_product(warp, op, operands, random.as_mut());
    }
}

/// Rows become columns.
fn turned<T: Copy>(matrix: [[T; 8]; 8]) -> [[T; 8]; 8] {
    std::array::from_fn(|row| std::array::from_fn(|column| matrix[column][row]))
}

/// The same loops, compiled for wider vectors.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn float_product_avx2(
    warp: &mut Warp,
    op: &Mma,
    operands: &mut Operands,
    random: Option<&mut Random>,
) {
    float_product(warp, op, operands, random);
}

/// A product, in a random order if numbers for one are given.
#[inline(always)]
fn float_product(warp: &mut Warp, op: &Mma, operands: &mut Operands, random: Option<&mut Random>) {
    // What is beyond k is left from before and not read.
    fragments(warp, op, operands);
    accumulators(warp, op, operands);
    match random {
        None => product::multiply(operands, op.k),
        Some(random) => product::multiply_shuffled(operands, op.k, random),
    }
    results(warp, op, operands);
}

/// Decodes the fragments of A and B.
#[inline(always)]
fn fragments(warp: &Warp, op: &Mma, operands: &mut Operands) {
    let halves = product::halves();
    match op.a_format {
        Element::Bf16 => scatter::<2>(warp, op, operands, &[|code| f32::from_bits(code << 16); 2]),
        Element::F16 => {
            let half = |code: u32| halves[code as usize & 0xffff];
            scatter::<2>(warp, op, operands, &[half; 2]);
        }
        Element::Tf32 => {
            scatter::<1>(warp, op, operands, &[|code| product::decode(Element::Tf32, code); 2]);
        }
        _ => {
            let [a, b] = [op.a_format, op.b_format].map(product::bytes);
            let tables = [a, b];
            let decode = [0, 1].map(|i: usize| move |code: u32| tables[i][code as usize & 255]);
            scatter::<4>(warp, op, operands, &decode);
        }
    }
}

/// Places the `N` elements of every register of A and B.
#[inline(always)]
fn scatter<const N: usize>(
    warp: &Warp,
    op: &Mma,
    operands: &mut Operands,
    decode: &[impl Fn(u32) -> f32; 2],
) {
    let bits = 32 / N;
    for (r, &slot) in op.a.iter().enumerate() {
        // Four lanes hold 4 N elements of one row, side by side.
        let words: &[[u32; 4]; 8] = bytemuck::cast_ref(warp.registers.narrow(slot));
        for (g, words) in words.iter().enumerate() {
            let columns = 4 * N * (r >> 1)..4 * N * ((r >> 1) + 1);
            let target = &mut operands.a[g + 8 * (r & 1)][columns];
            for (elements, &word) in target.chunks_exact_mut(N).zip(words) {
                for (j, element) in elements.iter_mut().enumerate() {
                    *element = decode[0](word >> (j * bits));
                }
            }
        }
    }
    for (r, &slot) in op.b.iter().enumerate() {
        let words: &[[u32; 4]; 8] = bytemuck::cast_ref(warp.registers.narrow(slot));
        let rows = &mut operands.b[4 * N * r..4 * N * (r + 1)];
        for (i, row) in rows.iter_mut().enumerate() {
            for (element, words) in row.iter_mut().zip(words) {
                *element = decode[1](words[i / N] >> (i % N * bits));
            }
        }
    }
}

/// Row and column of a lane's accumulator.
fn place(lane: usize, index: usize) -> (usize, usize) {
    (lane / 4 + 8 * (index >> 1), 2 * (lane % 4) + (index & 1))
}

#[inline(always)]
fn accumulators(warp: &Warp, op: &Mma, operands: &mut Operands) {
    if !op.half_accumulator {
        for (r, &slot) in op.c.iter().enumerate() {
            let words: &[[u32; 4]; 8] = bytemuck::cast_ref(warp.registers.narrow(slot));
            let rows = &mut operands.c[8 * (r >> 1)..8 * (r >> 1) + 8];
            for (row, words) in rows.iter_mut().zip(words) {
                for (t, &word) in words.iter().enumerate() {
                    row[2 * t + (r & 1)] = f32::from_bits(word);
                }
            }
        }
        return;
    }
    for (r, &slot) in op.c.iter().enumerate() {
        let values = warp.registers.narrow(slot);
        for (lane, &word) in values.iter().enumerate() {
            for half in 0..2 {
                let (row, column) = place(lane, 2 * r + half);
                operands.c[row][column] = product::decode(Element::F16, word >> (16 * half));
            }
        }
    }
}

#[inline(always)]
fn results(warp: &mut Warp, op: &Mma, operands: &Operands) {
    for (r, &slot) in op.d.iter().enumerate() {
        let target = warp.registers.narrow_mut(slot);
        if op.half_accumulator {
            for (lane, word) in target.iter_mut().enumerate() {
                let [low, high] = [0, 1].map(|half| {
                    let (row, column) = place(lane, 2 * r + half);
                    half_code(operands.c[row][column])
                });
                *word = low | high << 16;
            }
            continue;
        }
        let words: &mut [[u32; 4]; 8] = bytemuck::cast_mut(target);
        for (words, row) in words.iter_mut().zip(&operands.c[8 * (r >> 1)..]) {
            for (t, word) in words.iter_mut().enumerate() {
                let value = row[2 * t + (r & 1)];
                *word = if value.is_nan() { NAN_F32 } else { value.to_bits() };
            }
        }
    }
}

fn half_code(value: f32) -> u32 {
    if value.is_nan() { 0x7fff } else { u32::from(half::f16::from_f32(value).to_bits()) }
}

/// Products of 8-bit integers: exact, added modulo 2^32 or with saturation.
fn integer_product(warp: &mut Warp, op: &Mma) {
    let (mut a, mut b) = ([[0i64; 32]; 16], [[0i64; 8]; 32]);
    let byte = |word: u32, j: usize, format: Element| {
        let code = (word >> (8 * j)) as u8;
        if format == Element::S8 { i64::from(code as i8) } else { i64::from(code) }
    };
    for (r, &slot) in op.a.iter().enumerate() {
        for (lane, &word) in warp.registers.narrow(slot).iter().enumerate() {
            for j in 0..4 {
                a[lane / 4 + 8 * (r & 1)][4 * (lane % 4) + 16 * (r >> 1) + j] =
                    byte(word, j, op.a_format);
            }
        }
    }
    for (r, &slot) in op.b.iter().enumerate() {
        for (lane, &word) in warp.registers.narrow(slot).iter().enumerate() {
            for j in 0..4 {
                b[4 * (lane % 4) + 16 * r + j][lane / 4] = byte(word, j, op.b_format);
            }
        }
    }
    let sums: Vec<[u32; LANES]> =
        op.c.iter()
            .enumerate()
            .map(|(index, &slot)| {
                let c = warp.registers.narrow(slot);
                std::array::from_fn(|lane| {
                    let (row, column) = place(lane, index);
                    let start = i64::from(c[lane] as i32);
                    let sum = (0..op.k).fold(start, |sum, k| sum + a[row][k] * b[k][column]);
                    if op.saturate {
                        sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32
                    } else {
                        sum as u32
                    }
                })
            })
            .collect();
    for (&slot, values) in op.d.iter().zip(&sums) {
        *warp.registers.narrow_mut(slot) = *values;
    }
}

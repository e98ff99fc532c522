//! Tensor products in floating point.
//!
//! The ISA leaves order and rounding of the additions open. Here products are exact (every element
//! format has at most 11 significant bits) and are added to the accumulator one by one in
//! binary32, rounding to nearest: in ascending order of k, or in a random order for tests.
#![allow(clippy::inline_always, reason = "a loop takes the vector width of the function it is in")]

use std::sync::LazyLock;

use crate::numeric::format;
use crate::program::Element;
use crate::schedule::Random;

/// Largest k of a floating-point shape.
const MAX_K: usize = 32;

/// A, B and the accumulator of one product.
pub(super) struct Operands {
    pub(super) a: [[f32; MAX_K]; 16],
    pub(super) b: [[f32; 8]; MAX_K],
    pub(super) c: [[f32; 8]; 16],
}

impl Default for Operands {
    fn default() -> Self {
        Self { a: [[0.0; MAX_K]; 16], b: [[0.0; 8]; MAX_K], c: [[0.0; 8]; 16] }
    }
}

fn table(format: format::Format) -> [f32; 256] {
    std::array::from_fn(|code| format.decode(code as u32) as f32)
}

static E4M3: LazyLock<[f32; 256]> = LazyLock::new(|| table(format::E4M3));
static HALVES: LazyLock<Vec<f32>> =
    LazyLock::new(|| (0..=u16::MAX).map(|code| half::f16::from_bits(code).to_f32()).collect());
static E5M2: LazyLock<[f32; 256]> = LazyLock::new(|| table(format::E5M2));

/// The value of an element, in the low bits of `code`.
#[inline]
pub(super) fn decode(element: Element, code: u32) -> f32 {
    match element {
        Element::Bf16 => f32::from_bits(code << 16),
        Element::F16 => half::f16::from_bits(code as u16).to_f32(),
        // The low 13 bits do not take part.
        Element::Tf32 => f32::from_bits(code & !0x1fff),
        Element::E4m3 => E4M3[code as usize & 255],
        Element::E5m2 => E5M2[code as usize & 255],
        _ => 0.0,
    }
}

/// Values of all codes of binary16.
pub(super) fn halves() -> &'static [f32] {
    &HALVES
}

/// Values of all codes of an 8-bit format.
pub(super) fn bytes(element: Element) -> &'static [f32; 256] {
    if element == Element::E5m2 { &E5M2 } else { &E4M3 }
}

/// c += a b.
#[inline(always)]
pub(super) fn multiply(operands: &mut Operands, k: usize) {
    let (a, b) = (&operands.a, &operands.b[..k]);
    // Four rows at a time hide the latency of their sums.
    for (rows, target) in a.chunks_exact(4).zip(operands.c.chunks_exact_mut(4)) {
        let mut sums: [[f32; 8]; 4] = std::array::from_fn(|q| target[q]);
        for (i, b) in b.iter().enumerate() {
            for (sums, row) in sums.iter_mut().zip(rows) {
                let a = row[i];
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum += a * b;
                }
            }
        }
        target.copy_from_slice(&sums);
    }
}

/// c += a b, each element in its own random order, the accumulator anywhere among the products.
pub(super) fn multiply_shuffled(operands: &mut Operands, k: usize, random: &mut Random) {
    for row in 0..16 {
        for column in 0..8 {
            let mut terms: Vec<f32> =
                (0..k).map(|i| operands.a[row][i] * operands.b[i][column]).collect();
            terms.push(operands.c[row][column]);
            for last in (1..terms.len()).rev() {
                terms.swap(last, random.below(last + 1));
            }
            operands.c[row][column] = terms.into_iter().fold(0.0, |sum, term| sum + term);
        }
    }
}

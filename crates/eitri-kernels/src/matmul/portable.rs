//! Plain Rust for any CPU: weights are widened to f32 a piece at a time and multiplied in f32.
//!
//! There is no integer arithmetic here, so both activation modes are the exact one.

use super::{Kernel, StripCall};
use crate::{Activations, WeightFormat};

/// Values of k that are widened at a time: a multiple of every format's group.
const PIECE: usize = 256;

pub(super) fn kernel(_: WeightFormat, _: Activations) -> Kernel {
    Kernel { name: "portable f32", prepare: None, run }
}

fn run(call: &StripCall<'_>, out: &mut [f32]) {
    let rows = call.layout.rows();
    let mut wide = [0.0_f32; PIECE];
    for k0 in (0..call.k).step_by(PIECE) {
        let len = PIECE.min(call.k - k0);
        for r in 0..rows {
            call.format.unpack(call.layout, call.strip, r, k0, &mut wide[..len]);
            for (&row, out) in call.rows.iter().zip(out.chunks_exact_mut(rows)) {
                let x = &call.values[row as usize * call.k + k0..][..len];
                out[r] += dot(&wide[..len], x);
            }
        }
    }
}

/// Dot product in eight interleaved sums, which compilers turn into vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

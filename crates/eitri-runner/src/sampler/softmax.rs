//! Passes over a row of logits, written in fixed lanes: the compiler turns them into vectors, and
//! the order of additions is the same on every machine.

const LANES: usize = 16;

/// `e^x` for `x <= 0`; 0 below -87, where f32 runs out of normal numbers.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, then the Taylor polynomial of degree 7, whose error is
/// below 1e-8. No branches and no library call, so that a loop over it becomes vector code.
#[inline(always)]
#[allow(clippy::inline_always, reason = "must be inlined into the caller's loop to be vectorised")]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// The leading 15 bits of ln 2: its product with `n` is exact.
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    let clamped = if x > -87.0 { x } else { -87.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut sum = 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x > -87.0 { sum * power } else { 0.0 }
}

/// The largest value; negative infinity for an empty row.
pub(crate) fn max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

/// Position of the largest value, the first one on ties; `None` when none is above negative
/// infinity.
pub(crate) fn argmax(row: &[f32]) -> Option<usize> {
    const BLOCK: usize = 64;
    let largest = max(row);
    if largest == f32::NEG_INFINITY {
        return None;
    }
    for (block, values) in row.chunks(BLOCK).enumerate() {
        if max(values) >= largest {
            return values.iter().position(|&x| x >= largest).map(|i| block * BLOCK + i);
        }
    }
    None
}

/// Position of the first NaN or infinity.
pub(crate) fn first_not_finite(row: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7F80_0000;
    let found = row.iter().fold(false, |found, x| found | (x.to_bits() & EXPONENT == EXPONENT));
    if found { row.iter().position(|x| !x.is_finite()) } else { None }
}

/// Sum in f64.
pub(crate) fn sum(values: &[f32]) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(x);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x)).sum::<f64>()
}

/// `ln(sum(e^x))` over a row of finite values.
pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
    let largest = max(row);
    let mut lanes = [0.0_f64; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(exp(x - largest));
        }
    }
    let rest = rest.iter().map(|&x| f64::from(exp(x - largest))).sum::<f64>();
    f64::from(largest) + (lanes.iter().sum::<f64>() + rest).ln()
}

/// Turns logits into weights relative to the most likely token, `e^((x - largest) * scale)`, and
/// drops those below `min_p`.
pub(crate) fn weigh(row: &mut [f32], largest: f32, scale: f32, min_p: f32) {
    for x in row {
        let weight = exp((*x - largest) * scale);
        *x = if weight >= min_p { weight } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_as_exact_as_f32_allows() {
        assert_eq!(exp(0.0).to_bits(), 1.0_f32.to_bits());
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0);
        assert_eq!(exp(-1000.0).to_bits(), 0);
        for i in 0..870_000 {
            let x = -(i as f32) * 1e-4;
            let right = f64::from(x).exp();
            let error = (f64::from(exp(x)) - right).abs() / right;
            assert!(error < 3e-7, "exp({x}) is off by {error:e}");
        }
    }

    #[test]
    fn argmax_takes_the_first_of_equals_and_ignores_masked_rows() {
        for n in [1, 15, 16, 17, 64, 65, 1000] {
            let mut row = vec![-1.0; n];
            row[n - 1] = 3.0;
            row[n / 2] = 3.0;
            assert_eq!(argmax(&row), Some(n / 2));
            assert_eq!(argmax(&vec![f32::NEG_INFINITY; n]), None);
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_found_anywhere() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..70 {
                let mut row = vec![1.0; 70];
                assert_eq!(first_not_finite(&row), None);
                row[at] = bad;
                assert_eq!(first_not_finite(&row), Some(at));
            }
        }
    }
}

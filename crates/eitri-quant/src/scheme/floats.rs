//! Rounding to E4M3 and E2M1, the nearest, ties to even, as `torch.float8_e4m3fn` and `ModelOpt` do.

/// Largest magnitude of E4M3.
pub(super) const E4M3_MAX: f32 = 448.0;
/// Largest magnitude of E2M1.
pub(super) const E2M1_MAX: f32 = 6.0;

const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The code nearest to `value`; what is too large gets the largest code.
pub(super) fn to_e4m3(value: f32) -> u8 {
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    let magnitude = value.abs().min(E4M3_MAX);
    if magnitude < f32::from_bits(0x3C80_0000) {
        // Below 2^-6 steps are 2^-9; the eighth of them is the code of 2^-6.
        return sign | (magnitude * 512.0).round_ties_even() as u8;
    }
    // Three bits of the mantissa stay; the carry of rounding goes into the exponent.
    let bits = magnitude.to_bits();
    let rounded = bits + 0x0007_FFFF + (bits >> 20 & 1);
    sign | ((rounded >> 20) - (120 << 3)) as u8
}

/// The value of a code that is a number.
pub(super) fn from_e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(code >> 3 & 15), u32::from(code & 7));
    let magnitude = if exponent == 0 {
        mantissa as f32 / 512.0
    } else {
        f32::from_bits((exponent + 120) << 23 | mantissa << 20)
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The code nearest to `value`; what is too large gets the largest code.
pub(super) fn to_e2m1(value: f32) -> u8 {
    let magnitude = value.abs();
    // A bound belongs to the neighbour whose mantissa is even.
    let above = [0.25, 1.25, 2.5, 5.0].iter().filter(|&&bound| magnitude > bound).count();
    let from = [0.75, 1.75, 3.5].iter().filter(|&&bound| magnitude >= bound).count();
    (value.to_bits() >> 28) as u8 & 8 | (above + from) as u8
}

/// The value of a code.
pub(super) fn from_e2m1(code: u8) -> f32 {
    let magnitude = E2M1[usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

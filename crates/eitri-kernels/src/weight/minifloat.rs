//! The 8- and 4-bit floats of the OCP specifications "8-bit Floating Point" and "Microscaling
//! Formats".

#![allow(clippy::inline_always, reason = "kernels take on the instructions of their caller")]

use half::f16;

/// Value of an E4M3 code: bias 7, subnormals, no infinities; 0x7F and 0xFF are NaN.
pub fn e4m3(code: u8) -> f32 {
    if code & 0x7F == 0x7F {
        return f32::NAN;
    }
    // The fields of a half with three mantissa bits, whose bias is 8 more.
    let bits = u16::from(code & 0x80) << 8 | u16::from(code & 0x7F) << 7;
    f16::from_bits(bits).to_f32() * 256.0
}

/// Largest magnitude of E4M3.
pub const E4M3_MAX: f32 = 448.0;
/// Largest magnitude of E2M1.
pub const E2M1_MAX: f32 = 6.0;

/// The E4M3 code nearest to `value`, of two equally near the even one. There is no infinity: what
/// is beyond 448 becomes 448. NaN stays NaN.
#[inline(always)]
pub fn to_e4m3(value: f32) -> u8 {
    /// Bits of a single's mantissa that E4M3 has no room for.
    const DROPPED: u32 = 20;
    /// Least normal number, and the single whose last bit is worth the least subnormal, 2^-9.
    const NORMAL: f32 = 0.015_625;
    const SUBNORMALS: f32 = 16_384.0;
    let sign = (value.to_bits() >> 24) as u8 & 0x80;
    let magnitude = value.abs();
    let bits = magnitude.to_bits();
    // Rounding up carries into the exponent, whose biases are 127 and 7.
    let rounded = (bits + (1 << (DROPPED - 1)) - 1 + (bits >> DROPPED & 1)) >> DROPPED;
    let normal = rounded.wrapping_sub((127 - 7) << 3).min(0x7E);
    let subnormal = (magnitude + SUBNORMALS).to_bits() & 0xF;
    let code = if magnitude < NORMAL { subnormal } else { normal };
    let code = if magnitude.is_nan() { 0x7F } else { code };
    sign | code as u8
}

/// Value of an E2M1 code, 0 to 15.
pub fn e2m1(code: u8) -> f32 {
    const MAGNITUDES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let magnitude = MAGNITUDES[usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

/// The E2M1 code nearest to `value`, of two equally near the even one; what is beyond 6 becomes 6.
pub fn to_e2m1(value: f32) -> u8 {
    let magnitude = value.abs();
    // A bound belongs to the neighbour whose mantissa is even.
    let above = [0.25, 1.25, 2.5, 5.0].iter().filter(|&&bound| magnitude > bound).count();
    let from = [0.75, 1.75, 3.5].iter().filter(|&&bound| magnitude >= bound).count();
    (value.to_bits() >> 28) as u8 & 8 | (above + from) as u8
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "all values are exact")]
mod tests {
    use super::*;

    #[test]
    fn e4m3_follows_its_definition() {
        for code in 0..=255_u8 {
            let (sign, exponent, mantissa) = (code >> 7, code >> 3 & 15, f32::from(code & 7));
            let magnitude = match exponent {
                0 => mantissa / 512.0,
                e => (8.0 + mantissa) * 2_f32.powi(i32::from(e) - 10),
            };
            let expected = if sign == 0 { magnitude } else { -magnitude };
            if code & 0x7F == 0x7F {
                assert!(e4m3(code).is_nan());
            } else {
                assert_eq!(e4m3(code).to_bits(), expected.to_bits(), "{code:#x}");
            }
        }
        assert_eq!([0x38, 0x7E, 0x08, 0x01].map(e4m3), [1.0, 448.0, 1.0 / 64.0, 1.0 / 512.0]);
    }

    #[test]
    fn e2m1_follows_its_definition() {
        for code in 0..16_u8 {
            let (exponent, mantissa) = (code >> 1 & 3, f32::from(code & 1));
            let magnitude = match exponent {
                0 => mantissa / 2.0,
                e => (2.0 + mantissa) * 2_f32.powi(i32::from(e) - 2),
            };
            assert_eq!(e2m1(code), if code < 8 { magnitude } else { -magnitude });
        }
    }
}

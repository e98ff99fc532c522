//! Reference of rounding to E4M3.

use std::cmp::Ordering;

use crate::weight::minifloat::e4m3;

/// The E4M3 number nearest to `value`, found by comparing with all of them; of two equally near the
/// one with the even code. Beyond 448 that is 448; NaN stays NaN.
pub fn nearest_e4m3(value: f32) -> f32 {
    if value.is_nan() {
        return value;
    }
    let magnitude = f64::from(value.abs().min(448.0));
    let distance = |code: u8| (f64::from(e4m3(code)) - magnitude).abs();
    let mut nearest = 0;
    for code in 1..0x7F {
        nearest = match distance(code).total_cmp(&distance(nearest)) {
            Ordering::Less => code,
            Ordering::Equal if code % 2 == 0 => code,
            _ => nearest,
        };
    }
    e4m3(nearest).copysign(value)
}

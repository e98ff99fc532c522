//! Errors against those of ggml's own quantisers, exact cases, and the reader's view of the blocks.

#![allow(clippy::float_cmp, reason = "small integers times powers of two are exact")]

use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{decode, encode, encodings};
use crate::{Encoding, QuantError};

fn round_trip(encoding: Encoding, values: &[f32]) -> Vec<f32> {
    let mut stored = vec![0xA5; encoding.size(values.len()).unwrap()];
    encode(encoding, values, &mut stored).unwrap();
    let mut decoded = vec![0.0; values.len()];
    decode(encoding, &stored, &mut decoded).unwrap();
    decoded
}

fn relative_error(encoding: Encoding, values: &[f32]) -> f64 {
    let decoded = round_trip(encoding, values);
    let square = |value: f32| f64::from(value).powi(2);
    let error: f64 = values.iter().zip(&decoded).map(|(a, b)| square(a - b)).sum();
    (error / values.iter().copied().map(square).sum::<f64>()).sqrt()
}

/// Normally distributed (Box and Muller), as weights nearly are.
fn gaussian(count: usize) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(7);
    let mut normal = || {
        let (radius, angle): (f64, f64) = (random.random(), random.random());
        ((-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
    };
    (0..count).map(|_| normal()).collect()
}

/// What llama.cpp's quantisers leave on normally distributed values (`ggml_quantize_chunk`).
#[test]
fn errors_on_normal_values_are_no_larger_than_those_of_ggml() {
    let values = gaussian(1 << 17);
    for (encoding, ggml) in [
        (Encoding::Q8_0, 0.0053),
        (Encoding::Q6_K, 0.0170),
        (Encoding::Q5_K, 0.0358),
        (Encoding::Q4_K, 0.0707),
        (Encoding::Q4_0, 0.0815),
    ] {
        let error = relative_error(encoding, &values);
        assert!(error < 1.02 * ggml, "{}: {error:.5} of {ggml}", encoding.name);
    }
}

/// More bits, less error; with a minimum, less error than without.
#[test]
fn errors_fall_with_the_bits() {
    let values = gaussian(1 << 14);
    let errors = [
        Encoding::Q4_0,
        Encoding::Q4_1,
        Encoding::Q5_0,
        Encoding::Q5_1,
        Encoding::Q6_K,
        Encoding::Q8_0,
        Encoding::BF16,
        Encoding::F16,
        Encoding::F32,
    ]
    .map(|encoding| relative_error(encoding, &values));
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    assert_eq!(errors[8], 0.0);
}

/// Values that a format can express come back as they were.
#[test]
fn what_fits_the_codes_is_exact() {
    let steps = |lowest: i32, highest: i32, scale: f32| -> Vec<f32> {
        let count = highest - lowest + 1;
        // The ends are in every sub-block, so that the right scale is the one that spans them.
        let code = |i| match i % 16 {
            0 => lowest,
            1 => highest,
            _ => lowest + i * 37 % count,
        };
        (0..256).map(|i| scale * code(i) as f32).collect()
    };
    for (encoding, values) in [
        (Encoding::Q8_0, steps(-127, 127, 0.25)),
        (Encoding::Q4_0, steps(-8, 7, 0.5)),
        (Encoding::Q4_1, steps(3, 18, 0.125)),
        (Encoding::Q5_0, steps(-16, 15, 2.0)),
        (Encoding::Q5_1, steps(-40, -9, 1.0)),
        (Encoding::Q4_K, steps(-7, 8, 1.0).iter().map(|value| value * 63.0).collect()),
        (Encoding::Q5_K, steps(-15, 16, 1.0).iter().map(|value| value * 63.0).collect()),
        (Encoding::Q6_K, steps(-32, 31, 1.0).iter().map(|value| value * 128.0).collect()),
    ] {
        assert_eq!(round_trip(encoding, &values), values, "{}", encoding.name);
    }
}

#[test]
fn blocks_without_variation_and_with_a_spike_stay_sane() {
    let mut spike = [1e-3_f32; 256];
    spike[77] = -30.0;
    for encoding in encodings() {
        assert_eq!(round_trip(encoding, &[0.0; 256]), [0.0; 256], "{}", encoding.name);
        for value in [1.0_f32, -1.0, 1e-30] {
            for got in round_trip(encoding, &[value; 256]) {
                let bound = 0.004 * value.abs() + 1e-6;
                assert!((got - value).abs() <= bound, "{}: {value} is {got}", encoding.name);
            }
        }
        let got = round_trip(encoding, &spike)[77];
        assert!((got + 30.0).abs() < 0.3, "{}: {got}", encoding.name);
    }
}

#[test]
fn scales_that_overflow_show_when_decoded() {
    for encoding in encodings().filter(|&encoding| encoding.block > 1) {
        let decoded = round_trip(encoding, &[3e38; 256]);
        assert!(decoded.iter().any(|value| !value.is_finite()), "{}", encoding.name);
    }
}

#[test]
fn types_and_lengths_are_checked() {
    let q2_k = Encoding::from_ggml(10).unwrap();
    let error = encode(q2_k, &[0.0; 256], &mut [0; 84]).unwrap_err();
    assert!(matches!(error, QuantError::NotEncodable { encoding: "Q2_K", .. }), "{error}");
    let error = encode(Encoding::Q4_0, &[0.0; 33], &mut [0; 18]).unwrap_err();
    assert_eq!(error.to_string(), "33 values are not 18 bytes of Q4_0");
    let error = decode(Encoding::Q4_0, &[0; 17], &mut [0.0; 32]).unwrap_err();
    assert_eq!(error.to_string(), "32 values are not 17 bytes of Q4_0");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No value is off by more than what the coarsest step of its block allows.
    #[test]
    fn every_value_is_near(values in prop::collection::vec(-100.0_f32..100.0, 256)) {
        for (encoding, steps) in [
            (Encoding::Q8_0, 127.0),
            (Encoding::Q6_K, 31.0),
            (Encoding::Q5_K, 15.0),
            (Encoding::Q5_1, 15.0),
            (Encoding::Q5_0, 15.0),
            (Encoding::Q4_K, 7.0),
            (Encoding::Q4_1, 7.0),
            (Encoding::Q4_0, 7.0),
        ] {
            for (got, value) in round_trip(encoding, &values).iter().zip(&values) {
                let bound = 1.2 * 100.0 / steps;
                prop_assert!((got - value).abs() < bound, "{}: {value} is {got}", encoding.name);
            }
        }
    }
}

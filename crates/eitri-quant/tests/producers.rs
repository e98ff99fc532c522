//! Modules stored by this crate against the bytes of the formats' own packers, and against this
//! crate's reader. See `fixtures/README.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use eitri_quant::{
    Checkpoint, Encoding, FileBytes, Matrix, QuantError, QuantizationConfig,
    gguf::NewTensor,
    safetensors::serialize,
    scheme::{SCHEMES, Scheme, Unquantised},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use safetensors::SafeTensors;
use serde_json::json;

const PACKERS: &[u8] = include_bytes!("fixtures/third_party_packers.safetensors");
const COMPRESSED: &[u8] = include_bytes!("fixtures/compressed_tensors_f32.safetensors");
const SHAPE: [usize; 2] = [32, 256];

fn f32s(file: &[u8], name: &str) -> Vec<f32> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let data = tensors.tensor(name).unwrap();
    data.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, value| most.max(value.abs()))
}

/// Every byte of every tensor is what the packer made of the same values.
#[test]
fn packers_make_the_same_bytes() {
    let cases = [
        ("fp8-block", PACKERS, "W", "fp8b"),
        ("gptq-int4", PACKERS, "W", "gptq4_g128"),
        ("gptq-int8", PACKERS, "W", "gptq8_g128"),
        ("awq-int4", PACKERS, "W", "awq"),
        ("nvfp4", PACKERS, "W", "mo"),
        ("fp8-dynamic", COMPRESSED, "weight", "fp8-dynamic"),
        ("w4a16", COMPRESSED, "weight", "w4a16"),
        ("w8a16", COMPRESSED, "weight", "w8a16"),
        ("nvfp4-ct", COMPRESSED, "weight", "nvfp4-ct"),
    ];
    for (name, file, weight, case) in cases {
        let scheme = Scheme::find(name).unwrap();
        let scales = scheme.scale_encoding(Encoding::F32);
        let values = f32s(file, weight);
        let codes = scheme.round(&values, SHAPE, largest(&values), scales, 3);
        let theirs = SafeTensors::deserialize(file).unwrap();
        let tensors = scheme.tensors(SHAPE, scales, false);
        for ((suffix, encoding, shape), stored) in
            tensors.into_iter().zip(scheme.store(&codes, None))
        {
            let their = theirs.tensor(&format!("{case}.{suffix}")).unwrap();
            assert_eq!(stored.suffix, suffix);
            let dtype = their.dtype().to_string();
            assert_eq!(
                (dtype.as_str(), their.shape()),
                (encoding.name, &*shape),
                "{name} {suffix}"
            );
            let differing = stored.bytes.iter().zip(their.data()).filter(|(a, b)| a != b).count();
            assert_eq!(stored.bytes.len(), their.data().len(), "{name} {suffix}");
            assert_eq!(differing, 0, "{name} {suffix}: bytes of {}", stored.bytes.len());
        }
    }
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-0.1_f32..0.1).powi(3) * 90.0).collect()
}

/// A checkpoint of one module `m`, with the configuration that the scheme writes.
fn checkpoint(
    scheme: &Scheme,
    codes: &eitri_quant::scheme::Codes,
    scales: Encoding,
    input: Option<f32>,
) -> Checkpoint {
    let tensors = scheme.tensors(codes.shape(), scales, input.is_some());
    let stored = scheme.store(codes, input);
    assert_eq!(tensors.len(), stored.len());
    let tensors: Vec<_> = tensors
        .into_iter()
        .zip(stored)
        .map(|((suffix, encoding, shape), stored)| {
            (NewTensor { name: format!("m.{suffix}"), encoding, shape }, stored.bytes)
        })
        .collect();
    let config = json!({
        "quantization_config": scheme.config(&Unquantised::default(), input.is_some()),
    });
    let config = QuantizationConfig::in_config("config.json", config.as_object().unwrap()).unwrap();
    Checkpoint::from_bytes("m.safetensors", FileBytes::Owned(serialize(&tensors).unwrap()))
        .unwrap()
        .with_quantization(config)
}

/// The reader recognises what was stored, and both decode it to the same bits.
#[test]
fn the_reader_sees_the_same_values() {
    for scheme in &SCHEMES {
        for (source, shape) in
            [(Encoding::BF16, [40, 384]), (Encoding::F16, [256, 128]), (Encoding::F32, [200, 256])]
        {
            let mut values = random(shape[0] * shape[1], 3);
            // Groups, rows and blocks of zeros, and of next to nothing.
            values[..shape[1]].fill(0.0);
            values[shape[1]..2 * shape[1]].iter_mut().for_each(|value| *value *= 1e-9);
            let scales = scheme.scale_encoding(source);
            let codes = scheme.round(&values, shape, largest(&values), scales, 2);
            let checkpoint = checkpoint(scheme, &codes, scales, None);
            let matrix = Matrix::open(&checkpoint, "m").unwrap();
            assert_eq!((matrix.n(), matrix.k()), (shape[0], shape[1]));
            assert_eq!(matrix.stored(), scheme.stored, "{}", scheme.name);
            assert_eq!(checkpoint.unused(), <[&str; 0]>::default());
            let (mut theirs, mut ours) = (vec![0.0; shape[1]], vec![0.0; shape[1]]);
            let mut squares = (0.0, 0.0);
            for row in 0..shape[0] {
                matrix.dequantise_row(row, &mut theirs).unwrap();
                codes.decode_row(row, &mut ours);
                let values = &values[row * shape[1]..(row + 1) * shape[1]];
                for ((theirs, ours), value) in theirs.iter().zip(&ours).zip(values) {
                    let name = scheme.name;
                    assert_eq!(theirs.to_bits(), ours.to_bits(), "{name}: {theirs} {ours}");
                    squares.0 += f64::from(value - ours).powi(2);
                    squares.1 += f64::from(*value).powi(2);
                }
            }
            let error = (squares.0 / squares.1).sqrt();
            assert!(error < 0.2, "{}: {error}", scheme.name);
        }
    }
}

/// Scales of activations are stored where a scheme has them, and pass through the reader.
#[test]
fn input_scales_are_those_of_the_largest_input() {
    for (name, suffix, expected) in [
        ("nvfp4", "input_scale", 5.0_f32 / 2688.0),
        ("nvfp4-ct", "input_global_scale", 2688.0 / 5.0),
    ] {
        let scheme = Scheme::find(name).unwrap();
        assert!(scheme.has_input_scales());
        let values = random(32 * 64, 4);
        let codes = scheme.round(&values, [32, 64], largest(&values), Encoding::F8_E4M3, 1);
        let checkpoint = checkpoint(scheme, &codes, Encoding::F8_E4M3, Some(5.0));
        Matrix::open(&checkpoint, "m").unwrap();
        let stored = checkpoint.tensor(&format!("m.{suffix}")).unwrap();
        assert_eq!(stored.bytes, expected.to_le_bytes());
    }
}

#[test]
fn shapes_that_a_scheme_cannot_store_are_refused() {
    let refused = |name: &str, shape| {
        let error = Scheme::find(name).unwrap().check("model.m", shape).unwrap_err();
        assert!(matches!(error, QuantError::NotPackable { .. }), "{error}");
        error.to_string()
    };
    let text = refused("gptq-int4", [32, 96]);
    assert!(text.contains("model.m") && text.contains("columns of 128"), "{text}");
    assert!(refused("awq-int4", [12, 128]).contains("rows must be a multiple of 8"));
    refused("nvfp4", [8, 48]);
    Scheme::find("w8a16").unwrap().check("m", [5, 96]).unwrap();
    Scheme::find("fp8-block").unwrap().check("m", [5, 96]).unwrap();
}

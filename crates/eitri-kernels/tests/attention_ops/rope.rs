//! Rotations against literal values and the reference, and what reaches the KV memory.

use crate::world::{
    bits, context, contexts, largest_difference, random, rng, tensor, values, zeros,
};
use candle_core::{DType, Device, Tensor};
use eitri_kernels::{
    HeadShape, KV_BLOCK, KvLayer, RopeScaling, RopeTable,
    ops::{QkvPrep, SequenceSpan, attention, prepare_qkv},
    reference,
};

const QWEN3_YARN: RopeScaling = RopeScaling::Yarn {
    factor: 4.0,
    original_max: 32768,
    beta_fast: 32.0,
    beta_slow: 1.0,
    attention_factor: None,
    mscale: None,
    mscale_all_dim: None,
    truncate: true,
};

/// Frequencies seen at position 1 must equal values computed in f64 by the published formulas.
fn assert_frequencies(
    head_dim: usize,
    theta: f64,
    scaling: &RopeScaling,
    expected: &[(usize, f64)],
) {
    let table = RopeTable::new(head_dim, 2, scaling, theta).unwrap();
    let (cos, sin) = table.at(1);
    for &(i, frequency) in expected {
        let got = f64::from(sin[i]).atan2(f64::from(cos[i]));
        assert!((got / frequency - 1.0).abs() < 1e-6, "{scaling:?} {i}: {got:e}");
    }
}

fn length(table: &RopeTable, i: usize) -> f32 {
    let (cos, sin) = table.at(1);
    cos[i].hypot(sin[i])
}

#[test]
fn plain_and_linear_frequencies() {
    let plain = [(0, 1.0), (1, 7.498_942_093e-1), (16, 1e-2), (31, 1.333_521_432e-4)];
    assert_frequencies(64, 1e4, &RopeScaling::None, &plain);
    let halved = plain.map(|(i, f)| (i, f / 2.0));
    assert_frequencies(64, 1e4, &RopeScaling::Linear { factor: 2.0 }, &halved);
}

#[test]
fn yarn_frequencies_and_attention_factor() {
    let expected = [
        (0, 1.0),
        (20, 1.333_521_432e-2),
        (23, 6.978_305_849e-3),
        (30, 1.064_360_981e-3),
        (36, 1.798_411_559e-4),
        (40, 4.445_698_525e-5),
        (50, 5.133_812_566e-6),
        (63, 3.102_344_402e-7),
    ];
    assert_frequencies(128, 1e6, &QWEN3_YARN, &expected);
    let table = RopeTable::new(128, 2, &QWEN3_YARN, 1e6).unwrap();
    for i in [0, 30, 63] {
        assert!((length(&table, i) - 1.138_629_4).abs() < 3e-7);
    }
}

#[test]
fn yarn_without_rounded_ramp_and_with_given_factors() {
    let RopeScaling::Yarn { factor, original_max, beta_fast, beta_slow, .. } = QWEN3_YARN else {
        unreachable!()
    };
    let yarn = |factor, attention_factor, mscale, mscale_all_dim| RopeScaling::Yarn {
        factor,
        original_max,
        beta_fast,
        beta_slow,
        attention_factor,
        mscale,
        mscale_all_dim,
        truncate: false,
    };
    let expected = [
        (20, 1.333_521_432e-2),
        (24, 5.517_270_475e-3),
        (30, 1.079_237_742e-3),
        (36, 1.773_442_463e-4),
        (40, 4.445_698_525e-5),
    ];
    assert_frequencies(128, 1e6, &yarn(factor, None, None, None), &expected);
    let factor_of = |scaling| length(&RopeTable::new(128, 2, &scaling, 1e6).unwrap(), 0);
    assert!((factor_of(yarn(40.0, None, Some(0.707), Some(1.0))) - 0.921_042_4).abs() < 3e-7);
    assert!((factor_of(yarn(40.0, Some(1.5), Some(0.707), Some(1.0))) - 1.5).abs() < 3e-7);
    assert!((factor_of(yarn(1.0, None, None, None)) - 1.0).abs() < 3e-7);
}

#[test]
fn llama3_frequencies() {
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max: 8192,
    };
    let expected = [
        (0, 1.0),
        (20, 1.656_044_008e-2),
        (28, 3.211_445_995e-3),
        (30, 1.371_893_568e-3),
        (32, 5.248_461_610e-4),
        (34, 1.785_078_128e-4),
        (35, 9.556_212_354e-5),
        (40, 3.428_102_196e-5),
        (63, 3.068_925_989e-7),
    ];
    assert_frequencies(128, 5e5, &scaling, &expected);
    let table = RopeTable::new(128, 2, &scaling, 5e5).unwrap();
    assert!((length(&table, 30) - 1.0).abs() < 3e-7);
}

#[test]
fn angles_are_those_of_f32_frequencies_as_in_transformers() {
    let table = RopeTable::new(128, 30_001, &RopeScaling::None, 1e6).unwrap();
    let (cos, sin) = (table.at(30_000).0[1], table.at(30_000).1[1]);
    // The exact angle has cosine -0.75826.
    assert!((cos - -0.756_985_6).abs() < 1e-6 && (sin - -0.653_431_5).abs() < 1e-6);
    assert!((table.at(1000).0[5] - 0.863_400_6).abs() < 1e-6);
}

#[test]
fn bad_parameters_are_refused() {
    let error = |head_dim, scaling, theta| {
        RopeTable::new(head_dim, 4, &scaling, theta).unwrap_err().to_string()
    };
    assert!(error(65, RopeScaling::None, 1e4).contains("head_dim must be even"));
    assert!(error(64, RopeScaling::None, 0.0).contains("theta"));
    assert!(error(64, RopeScaling::Linear { factor: f64::NAN }, 1e4).contains("factor"));
}

#[test]
fn queries_and_keys_are_normed_and_rotated_and_values_are_not() {
    let shape = HeadShape { heads: 3, kv_heads: 1, head_dim: 64 };
    let (d, rows) = (64, 5);
    let mut rng = rng(1);
    let input = random(&mut rng, rows * shape.qkv_width());
    let (qw, kw) = (random(&mut rng, d), random(&mut rng, d));
    let norm = |w: &Vec<f32>| Tensor::from_slice(w, d, &Device::Cpu).unwrap();
    let (q_norm, k_norm) = (norm(&qw), norm(&kw));
    let rope = RopeTable::new(d, 100, &RopeScaling::None, 1e4).unwrap();
    let positions = [0, 1, 2, 50, 99];
    for ctx in contexts().into_iter().chain([context(2)]) {
        let kv = KvLayer::new(2, KV_BLOCK, shape, DType::F32).unwrap();
        let qkv = tensor(rows, shape.qkv_width(), input.clone());
        let prep = QkvPrep {
            shape,
            q_norm: Some(&q_norm),
            k_norm: Some(&k_norm),
            eps: 1e-6,
            rope: &rope,
            positions: &positions,
            slots: &[17, 3, 0, 31, 9],
        };
        prepare_qkv(&ctx, &prep, &qkv, rows, &kv).unwrap();
        for (row, (before, after)) in
            input.chunks(5 * d).zip(values(&qkv).chunks(5 * d)).enumerate()
        {
            for head in 0..4 {
                let part = head * d..(head + 1) * d;
                let weight = if head < 3 { &qw } else { &kw };
                let normed = reference::rms_norm(&before[part.clone()], weight, 1e-6);
                let expected = reference::rope(&normed, positions[row], 1e4);
                assert!(largest_difference(&after[part], &expected) < 2e-5, "{row} {head}");
            }
            assert_eq!(bits(&after[4 * d..]), bits(&before[4 * d..]));
        }
        // A context of one token returns its value: slot 0 holds row 2, slot 16 is still zero.
        let out = zeros(2, 3 * d);
        let span = |row, table| SequenceSpan { row, len: 1, context: 1, table };
        attention(&ctx, 0.1, &qkv, &[span(0, 0), span(1, 1)], &[0, 1], &kv, &out).unwrap();
        let value = &input[2 * 5 * d + 4 * d..3 * 5 * d];
        let out = values(&out);
        for head in 0..3 {
            assert!(largest_difference(&out[head * d..(head + 1) * d], value) < 1e-6);
        }
        assert!(out[3 * d..].iter().all(|&v| v.to_bits() == 0));
    }
}

#[test]
fn positions_slots_spans_and_blocks_that_do_not_exist_are_refused() {
    let shape = HeadShape { heads: 1, kv_heads: 1, head_dim: 64 };
    let ctx = context(1);
    let kv = KvLayer::new(2, KV_BLOCK, shape, DType::BF16).unwrap();
    let rope = crate::world::still(64);
    let (qkv, out) = (zeros(2, 192), zeros(2, 64));
    let prepare = |positions: &[u32], slots: &[u32]| {
        let prep =
            QkvPrep { shape, q_norm: None, k_norm: None, eps: 1e-6, rope: &rope, positions, slots };
        prepare_qkv(&ctx, &prep, &qkv, 1, &kv).unwrap_err().to_string()
    };
    assert_eq!(prepare(&[1], &[0]), "prepare_qkv: position must be below 1, got 1");
    assert_eq!(prepare(&[0], &[32]), "prepare_qkv: slot must be below 32, got 32");
    assert_eq!(prepare(&[0, 0], &[0]), "prepare_qkv: positions must be 1 long, got 2");
    let attend = |spans: &[SequenceSpan], table: &[u32]| {
        attention(&ctx, 1.0, &qkv, spans, table, &kv, &out).unwrap_err().to_string()
    };
    let span = |row, len, context| SequenceSpan { row, len, context, table: 0 };
    assert!(attend(&[span(0, 1, 17)], &[0]).contains("inside 1 block table entries"));
    assert!(attend(&[span(0, 1, 1)], &[2]).contains("block must be below 2, got 2"));
    assert!(attend(&[span(0, 2, 1)], &[0]).contains("no longer than its context"));
    assert!(attend(&[span(0, 2, 2), span(1, 1, 1)], &[0]).contains("at row 2 or later"));
    assert!(attend(&[span(1, 2, 2)], &[0]).contains("[at least 3, width]"));
    let refused = |block_size, shape, dtype| {
        KvLayer::new(1, block_size, shape, dtype).unwrap_err().to_string()
    };
    assert!(refused(32, shape, DType::F32).contains("block_size must be 16 on the CPU, got 32"));
    assert!(refused(16, shape, DType::F16).contains("F16; use bf16, f32 or f8e4m3"));
    assert!(refused(16, HeadShape { head_dim: 60, ..shape }, DType::F32).contains("multiple of 8"));
    assert!(
        refused(16, HeadShape { heads: 3, kv_heads: 2, ..shape }, DType::F32).contains("heads")
    );
    assert!(kv.copy_block(0, 2, 1).unwrap_err().to_string().contains("below 2 blocks"));
    assert!(kv.copy_block(0, 1, 17).unwrap_err().to_string().contains("at most 16"));
    assert_eq!(KvLayer::bytes_per_block(&shape, DType::BF16).unwrap(), 2 * 16 * 64 * 2);
}

//! FP8 keys and values: how numbers are rounded, and what their scales do.

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{
    Context, HeadShape, KV_BLOCK, KvLayer, KvScales,
    ops::{QkvPrep, SequenceSpan, attention, prepare_qkv},
    reference::nearest_e4m3,
};
use half::{bf16, f16};

use crate::world::{DTYPES, bits, context, contexts, still, tensor, values, zeros};

const SHAPE: HeadShape = HeadShape { heads: 1, kv_heads: 1, head_dim: 8 };

fn fp8(blocks: usize, shape: HeadShape) -> KvLayer {
    KvLayer::new(blocks, KV_BLOCK, shape, DType::F8E4M3).unwrap()
}

/// Writes each row's key and value to the first slot of a block of its own.
fn write(ctx: &Context, kv: &KvLayer, qkv: &Tensor, rows: usize) {
    let rope = still(kv.shape().head_dim);
    let prep = QkvPrep {
        shape: kv.shape(),
        q_norm: None,
        k_norm: None,
        eps: 1e-6,
        rope: &rope,
        positions: &vec![0; rows],
        slots: &(0..rows as u32).map(|row| row * KV_BLOCK as u32).collect::<Vec<_>>(),
    };
    prepare_qkv(ctx, &prep, qkv, rows, kv).unwrap();
}

/// Attention of each row to itself alone, which returns its value as it was stored.
fn read_back(ctx: &Context, kv: &KvLayer, qkv: &Tensor, rows: usize) -> Vec<f32> {
    let HeadShape { heads, head_dim, .. } = kv.shape();
    let out = zeros(rows, heads * head_dim);
    let span = |row| SequenceSpan { row, len: 1, context: 1, table: row };
    let spans: Vec<_> = (0..rows).map(span).collect();
    let tables: Vec<u32> = (0..rows as u32).collect();
    attention(ctx, 1.0, qkv, &spans, &tables, kv, &out).unwrap();
    values(&out)
}

/// What these numbers become in an FP8 memory with this scale.
fn stored(ctx: &Context, numbers: &[f32], scale: f32) -> Vec<f32> {
    let rows: Vec<f32> =
        numbers.chunks(8).flat_map(|values| [&[0.0; 16], values].concat()).collect();
    let count = numbers.len() / 8;
    let qkv = tensor(count, SHAPE.qkv_width(), rows);
    let scales = KvScales { keys: vec![1.0], values: vec![scale] };
    let kv = fp8(count, SHAPE).with_scales(scales).unwrap();
    write(ctx, &kv, &qkv, count);
    read_back(ctx, &kv, &qkv, count)
}

/// Every bf16 and f16, against a search through all E4M3 numbers and, where it does not saturate,
/// against the `float8` crate through candle.
#[test]
fn every_16_bit_number_is_rounded_to_the_nearest_even_one_and_saturates() {
    let halves = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32());
    let numbers: Vec<f32> =
        (0..=u16::MAX).map(|bits| bf16::from_bits(bits).to_f32()).chain(halves).collect();
    let theirs = Tensor::from_slice(&numbers, numbers.len(), &Device::Cpu).unwrap();
    let theirs = theirs.to_dtype(DType::F8E4M3).unwrap().to_dtype(DType::F32).unwrap();
    let theirs = values(&theirs);
    for ctx in contexts() {
        let got = stored(&ctx, &numbers, 1.0);
        for ((&number, &got), &theirs) in numbers.iter().zip(&got).zip(&theirs) {
            let expected = nearest_e4m3(number);
            if number.is_nan() {
                // One NaN in a row is one NaN in its output.
                assert!(got.is_nan() && expected.is_nan(), "{number} became {got}");
                continue;
            }
            // A weighted sum that starts at zero has no negative zero.
            assert_eq!((got + 0.0).to_bits(), (expected + 0.0).to_bits(), "{number} became {got}");
            if number.abs() <= 464.0 {
                assert_eq!((theirs + 0.0).to_bits(), (expected + 0.0).to_bits(), "{number}");
            }
        }
    }
}

#[test]
fn the_definition_at_its_edges() {
    let half = 1.0 / 1024.0;
    for (number, expected) in [
        (448.0, 448.0),
        (1e30, 448.0),
        (f32::INFINITY, 448.0),
        (f32::NEG_INFINITY, -448.0),
        (432.0, 448.0),
        (400.0, 384.0),
        (1.0625, 1.0),
        (1.1875, 1.25),
        (half, 0.0),
        (1.5 * half, 2.0 * half),
        (3.0 * half, 4.0 * half),
        (-15.1 * half, -1.0 / 64.0),
    ] {
        let row = [number; 8];
        assert_eq!(stored(&context(1), &row, 1.0), [expected; 8], "{number}");
        // With a scale all of this holds for the quotient; a power of two changes nothing else.
        assert_eq!(stored(&context(1), &row.map(|x| x / 8.0), 0.125), [expected / 8.0; 8]);
    }
}

/// Scores are made of stored keys times their scale, and of queries as they are.
#[test]
fn keys_and_values_have_scales_of_their_own_for_each_head() {
    let shape = HeadShape { heads: 4, kv_heads: 2, head_dim: 16 };
    let scales = KvScales { keys: vec![0.37, 0.0021], values: vec![5.1, 0.013] };
    let ctx = context(1);
    let mut rows = vec![0.0; 2 * shape.qkv_width()];
    for (at, x) in rows.iter_mut().enumerate() {
        *x = ((at * 37 % 61) as f32 - 30.0) / 33.0;
    }
    let qkv = tensor(2, shape.qkv_width(), rows.clone());
    let kv = fp8(2, shape).with_scales(scales.clone()).unwrap();
    write(&ctx, &kv, &qkv, 2);
    // Both tokens in one block, for the second to see the first.
    let rope = still(16);
    let prep = QkvPrep {
        shape,
        q_norm: None,
        k_norm: None,
        eps: 1e-6,
        rope: &rope,
        positions: &[0, 0],
        slots: &[0, 1],
    };
    prepare_qkv(&ctx, &prep, &qkv, 2, &kv).unwrap();
    let out = zeros(2, 64);
    let span = SequenceSpan { row: 0, len: 2, context: 2, table: 0 };
    attention(&ctx, 0.5, &qkv, &[span], &[0], &kv, &out).unwrap();
    let out = values(&out);
    for head in 0..4 {
        let kv_head = head / 2;
        let part = |token: usize, head: usize, scale: f32| -> Vec<f32> {
            let row = &rows[token * shape.qkv_width() + head * 16..][..16];
            row.iter().map(|x| nearest_e4m3(x / scale) * scale).collect()
        };
        let both =
            |first: usize, scale: f32| [part(0, first, scale), part(1, first, scale)].concat();
        let keys = both(4 + kv_head, scales.keys[kv_head]);
        let values = both(6 + kv_head, scales.values[kv_head]);
        let query = &rows[shape.qkv_width() + head * 16..][..16];
        let expected = eitri_kernels::reference::attention(query, &keys, &values, 0.5);
        let got = &out[64 + head * 16..][..16];
        let off = crate::world::largest_difference(got, &expected);
        assert!(off < 1e-5, "head {head}: {off}");
    }
}

/// Not a number stays one: a broken model must not look like a working one.
#[test]
fn nan_in_a_key_or_value_shows_in_every_type() {
    for dtype in DTYPES {
        for ctx in contexts() {
            for (at, shows) in [(8, 8), (15, 8), (16, 1), (23, 1)] {
                let mut row = vec![1.0; SHAPE.qkv_width()];
                row[at] = f32::NAN;
                let qkv = tensor(1, SHAPE.qkv_width(), row);
                let kv = KvLayer::new(1, KV_BLOCK, SHAPE, dtype).unwrap();
                write(&ctx, &kv, &qkv, 1);
                let out = read_back(&ctx, &kv, &qkv, 1);
                let count = out.iter().filter(|x| x.is_nan()).count();
                assert_eq!(count, shows, "{dtype:?} {at}: {out:?}");
            }
        }
    }
}

#[test]
fn the_bytes_are_half_of_bf16() {
    let shape = HeadShape { heads: 4, kv_heads: 2, head_dim: 64 };
    assert_eq!(KvLayer::bytes_per_block(&shape, DType::F8E4M3).unwrap(), 2 * 2 * 16 * 64);
}

#[test]
fn scales_that_cannot_be_are_refused() {
    let refused = |kv: KvLayer, scales| kv.with_scales(scales).unwrap_err().to_string();
    for (keys, values) in [
        (vec![1.0, 1.0], vec![1.0]),
        (vec![1.0], vec![]),
        (vec![0.0], vec![1.0]),
        (vec![1.0], vec![-1.0]),
        (vec![f32::NAN], vec![1.0]),
        (vec![1.0], vec![f32::INFINITY]),
    ] {
        let error = refused(fp8(1, SHAPE), KvScales { keys, values });
        assert!(error.contains("must be 1 positive finite numbers"), "{error}");
    }
    let wide = KvLayer::new(1, KV_BLOCK, SHAPE, DType::BF16).unwrap();
    assert!(refused(wide, KvScales::ones(1)).contains("they belong to f8e4m3"));
    let ones = fp8(1, SHAPE).with_scales(KvScales::ones(1)).unwrap();
    assert_eq!(bits(&ones.scales().keys), bits(&[1.0]));
}

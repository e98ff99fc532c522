//! Norms, activation and residual addition against their references.

use candle_core::{Device, Tensor};
use eitri_kernels::{
    Context, ContextConfig, Isa,
    ops::{add, add_rms_norm, rms_norm, silu_mul},
    read, reference,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

fn contexts() -> Vec<Context> {
    let context = |threads, isa| {
        Context::new(&ContextConfig { threads, isa, ..ContextConfig::default() }).unwrap()
    };
    Isa::available().flat_map(|isa| [context(1, Some(isa)), context(2, Some(isa))]).collect()
}

fn random(rng: &mut StdRng, len: usize, span: f32) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-span..span)).collect()
}

fn matrix(rows: usize, values: &[f32]) -> Tensor {
    Tensor::from_slice(values, (rows, values.len() / rows), &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    read::<f32, _>(tensor, <[f32]>::to_vec).unwrap()
}

fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len());
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 2e-6 * b.abs().max(1.0), "{what} at {i}: {a} instead of {b}");
    }
}

#[test]
fn norm_and_fused_norm_match_at_any_width_and_leave_other_rows_alone() {
    let mut rng = StdRng::seed_from_u64(1);
    for width in [1, 7, 8, 64, 100, 576, 1024, 2049] {
        let (rows, max) = (37, 40);
        let (x, r) = (random(&mut rng, max * width, 3.0), random(&mut rng, max * width, 3.0));
        let w = random(&mut rng, width, 2.0);
        let weight = Tensor::from_slice(&w, width, &Device::Cpu).unwrap();
        for ctx in contexts() {
            let out = matrix(max, &vec![9.0; max * width]);
            rms_norm(&ctx, &matrix(max, &x), &weight, 1e-6, rows, &out).unwrap();
            let expected: Vec<f32> = x[..rows * width]
                .chunks(width)
                .flat_map(|row| reference::rms_norm(row, &w, 1e-6))
                .collect();
            let got = values(&out);
            assert_close(&got[..rows * width], &expected, "norm");
            assert!(got[rows * width..].iter().all(|&v| v.to_bits() == 9.0_f32.to_bits()));

            let (sum, plain) = (matrix(max, &r), matrix(max, &r));
            add_rms_norm(&ctx, &sum, &matrix(max, &x), &weight, 1e-6, rows, &out).unwrap();
            add(&ctx, &plain, &matrix(max, &x), rows).unwrap();
            let added: Vec<f32> = r.iter().zip(&x).map(|(r, x)| r + x).collect();
            assert_eq!(values(&sum)[..rows * width], added[..rows * width]);
            assert_eq!(values(&sum)[rows * width..], r[rows * width..]);
            assert_eq!(values(&plain), values(&sum));
            let expected: Vec<f32> = added[..rows * width]
                .chunks(width)
                .flat_map(|row| reference::rms_norm(row, &w, 1e-6))
                .collect();
            assert_close(&values(&out)[..rows * width], &expected, "fused norm");
        }
    }
}

#[test]
fn silu_matches_from_tiny_to_huge_gates() {
    let mut rng = StdRng::seed_from_u64(2);
    for width in [1, 8, 13, 768, 1536] {
        let mut x = random(&mut rng, 19 * 2 * width, 12.0);
        x[0] = -1e4;
        x[2 * width] = 1e4;
        x[4 * width] = 0.0;
        let expected: Vec<f32> = x
            .chunks(2 * width)
            .flat_map(|row| reference::silu_mul(&row[..width], &row[width..]))
            .collect();
        for ctx in contexts() {
            let out = matrix(19, &vec![0.0; 19 * width]);
            silu_mul(&ctx, &matrix(19, &x), 19, &out).unwrap();
            assert_close(&values(&out), &expected, "silu");
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others() {
    let mut rng = StdRng::seed_from_u64(3);
    let (rows, width) = (60, 1000);
    let x = random(&mut rng, rows * width, 3.0);
    let weight = Tensor::from_vec(random(&mut rng, width, 2.0), width, &Device::Cpu).unwrap();
    for ctx in contexts() {
        let (all, silu) = (matrix(rows, &x), matrix(rows, &vec![0.0; rows * width / 2]));
        let norm = matrix(rows, &x);
        rms_norm(&ctx, &all, &weight, 1e-5, rows, &norm).unwrap();
        silu_mul(&ctx, &all, rows, &silu).unwrap();
        let (norm, silu) = (values(&norm), values(&silu));
        for row in 0..rows {
            let one = matrix(1, &x[row * width..(row + 1) * width]);
            let (n, a) = (matrix(1, &vec![0.0; width]), matrix(1, &vec![0.0; width / 2]));
            rms_norm(&ctx, &one, &weight, 1e-5, 1, &n).unwrap();
            silu_mul(&ctx, &one, 1, &a).unwrap();
            assert_eq!(values(&n), norm[row * width..(row + 1) * width]);
            assert_eq!(values(&a), silu[row * width / 2..(row + 1) * width / 2]);
        }
    }
}

#[test]
fn operands_that_do_not_fit_are_named() {
    let ctx = &contexts()[1];
    let (x, narrow) = (matrix(2, &[0.0; 16]), matrix(2, &[0.0; 12]));
    let weight = Tensor::from_slice(&[0.0_f32; 8], 8, &Device::Cpu).unwrap();
    let message = |result: Result<(), eitri_kernels::KernelError>| result.unwrap_err().to_string();
    assert_eq!(
        message(rms_norm(ctx, &x, &weight, 1e-6, 3, &x)),
        "rms_norm: x must be [at least 3, width], got [2, 8]"
    );
    assert_eq!(
        message(rms_norm(ctx, &x, &weight, 1e-6, 2, &narrow)),
        "rms_norm: out must be [at least 2, 8], got [2, 6]"
    );
    assert_eq!(
        message(silu_mul(ctx, &x, 2, &narrow)),
        "silu_mul: gate_up must be [at least 2, 12], got [2, 8]"
    );
}

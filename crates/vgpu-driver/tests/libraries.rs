//! cuBLAS and cuRAND through cudarc's safe interface.

#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    reason = "calls of a C interface, with handles and places for results that each test makes"
)]

mod support;

use cudarc::{
    cublas::{
        CudaBlas, Gemm, GemmConfig, StridedBatchedConfig, sys::cublasOperation_t as Transpose,
    },
    curand::CudaRng,
    driver::CudaContext,
};
use support::Scenario;

/// C = 2 A B - C for batches, column-major, by the definition.
fn expected(a: &[f64], b: &[f64], c: &[f64], (m, n, k): (usize, usize, usize)) -> Vec<f64> {
    let mut result = c.to_vec();
    for batch in 0..c.len() / (m * n) {
        for row in 0..m {
            for column in 0..n {
                let place = batch * m * n + column * m + row;
                let sum: f64 = (0..k)
                    .map(|i| a[batch * m * k + i * m + row] * b[batch * k * n + column * k + i])
                    .sum();
                result[place] = 2.0 * sum - c[place];
            }
        }
    }
    result
}

fn numbers(count: usize, seed: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * 31 + seed * 17) % 15) as f64 - 7.0).collect()
}

#[test]
fn products_are_those_of_the_definition() {
    Scenario::on_any_device("products_are_those_of_the_definition").run(|| {
        let context = CudaContext::new(0).unwrap();
        let stream = context.new_stream().unwrap();
        let blas = CudaBlas::new(stream.clone()).unwrap();
        let (m, n, k, batch) = (5, 3, 4, 3);
        let (a, b) = (numbers(m * k * batch, 1), numbers(k * n * batch, 2));
        let c = numbers(m * n * batch, 3);
        let expected = expected(&a, &b, &c, (m, n, k));
        macro_rules! check {
            ($number:ty, $from:expr, $to:expr) => {
                let put = |values: &[f64]| {
                    let values: Vec<$number> = values.iter().map($from).collect();
                    stream.clone_htod(&values).unwrap()
                };
                let (a, b, mut c) = (put(&a), put(&b), put(&c));
                let gemm = GemmConfig {
                    transa: Transpose::CUBLAS_OP_N,
                    transb: Transpose::CUBLAS_OP_N,
                    m: m as i32,
                    n: n as i32,
                    k: k as i32,
                    alpha: $from(&2.0),
                    lda: m as i32,
                    ldb: k as i32,
                    beta: $from(&-1.0),
                    ldc: m as i32,
                };
                let config = StridedBatchedConfig {
                    gemm,
                    batch_size: batch as i32,
                    stride_a: (m * k) as i64,
                    stride_b: (k * n) as i64,
                    stride_c: (m * n) as i64,
                };
                // SAFETY: the slices are as long as the configuration says.
                unsafe { blas.gemm_strided_batched(config, &a, &b, &mut c) }.unwrap();
                let found = stream.clone_dtoh(&c).unwrap();
                let found: Vec<f64> = found.iter().map($to).collect();
                assert_eq!(found, expected, stringify!($number));
            };
        }
        // The numbers are small whole ones, which every type holds exactly.
        check!(f32, |x: &f64| *x as f32, |x: &f32| f64::from(*x));
        check!(f64, |x: &f64| *x, |x: &f64| *x);
        check!(half::f16, |x: &f64| half::f16::from_f64(*x), |x: &half::f16| x.to_f64());
        check!(half::bf16, |x: &f64| half::bf16::from_f64(*x), |x: &half::bf16| x.to_f64());
    });
}

#[test]
fn a_product_with_a_short_leading_dimension_is_refused() {
    Scenario::on_any_device("a_product_with_a_short_leading_dimension_is_refused").run(|| {
        let stream = CudaContext::new(0).unwrap().default_stream();
        let blas = CudaBlas::new(stream.clone()).unwrap();
        let a = stream.alloc_zeros::<f32>(16).unwrap();
        let mut c = stream.alloc_zeros::<f32>(16).unwrap();
        let config = GemmConfig {
            transa: Transpose::CUBLAS_OP_N,
            transb: Transpose::CUBLAS_OP_N,
            m: 4,
            n: 4,
            k: 4,
            alpha: 1.0,
            lda: 3,
            ldb: 4,
            beta: 0.0,
            ldc: 4,
        };
        // SAFETY: the call is refused before it touches memory.
        let error = unsafe { blas.gemm(config, &a, &a, &mut c) }.unwrap_err();
        assert!(format!("{error:?}").contains("INVALID_VALUE"), "{error:?}");
    });
}

#[test]
fn products_wait_for_their_stream_in_every_order() {
    for order in ["eager", "oldest", "newest", "random:1", "random:2"] {
        let scenario = Scenario::new("products_wait_for_their_stream_in_every_order");
        scenario.with("VGPU_STREAMS", order).run(|| {
            let context = CudaContext::new(0).unwrap();
            let (fills, multiplies) =
                (context.new_stream().unwrap(), context.new_stream().unwrap());
            let blas = CudaBlas::new(multiplies.clone()).unwrap();
            let mut a = fills.alloc_zeros::<f32>(4).unwrap();
            fills.memcpy_htod(&[1.0, 2.0, 3.0, 4.0], &mut a).unwrap();
            let mut c = multiplies.alloc_zeros::<f32>(4).unwrap();
            let config = GemmConfig {
                transa: Transpose::CUBLAS_OP_N,
                transb: Transpose::CUBLAS_OP_N,
                m: 2,
                n: 2,
                k: 2,
                alpha: 1.0,
                lda: 2,
                ldb: 2,
                beta: 0.0,
                ldc: 2,
            };
            // SAFETY: the matrices are 2 x 2. cudarc waits for the events of the slices.
            unsafe { blas.gemm(config, &a, &a, &mut c) }.unwrap();
            assert_eq!(multiplies.clone_dtoh(&c).unwrap(), [7.0, 10.0, 15.0, 22.0]);
        });
    }
}

#[test]
fn random_numbers_repeat_with_their_seed() {
    Scenario::on_any_device("random_numbers_repeat_with_their_seed").run(|| {
        let stream = CudaContext::new(0).unwrap().new_stream().unwrap();
        let drawn = |seed: u64| {
            let rng = CudaRng::new(seed, stream.clone()).unwrap();
            let mut uniform = stream.alloc_zeros::<f32>(1000).unwrap();
            let mut normal = stream.alloc_zeros::<f64>(1000).unwrap();
            rng.fill_with_uniform(&mut uniform).unwrap();
            rng.fill_with_normal(&mut normal, 10.0, 0.5).unwrap();
            (stream.clone_dtoh(&uniform).unwrap(), stream.clone_dtoh(&normal).unwrap())
        };
        let (uniform, normal) = drawn(7);
        assert_eq!((uniform.clone(), normal.clone()), drawn(7));
        assert_ne!(uniform, drawn(8).0);
        assert!(uniform.iter().all(|x| *x > 0.0 && *x <= 1.0));
        let mean = normal.iter().sum::<f64>() / 1000.0;
        assert!((mean - 10.0).abs() < 0.1, "{mean}");
        let rng = CudaRng::new(1, stream.clone()).unwrap();
        let mut odd = stream.alloc_zeros::<f32>(3).unwrap();
        let error = rng.fill_with_normal(&mut odd, 0.0, 1.0).unwrap_err();
        assert!(format!("{error:?}").contains("LENGTH_NOT_MULTIPLE"), "{error:?}");
    });
}

use eitri_kernels::{
    Activations, WeightFormat,
    ops::linear,
    reference::{CanonicalRows, Random},
};

use crate::{context, isas, tensor, values, zeros};

const ROWS: usize = 64;
const N: usize = 83;
const K: usize = 768;

#[test]
fn a_row_has_the_same_bits_in_any_batch_and_with_any_number_of_threads() {
    let x = Random::new(9).values(ROWS * K);
    for isa in isas() {
        for activations in [Activations::Int8, Activations::Exact] {
            for format in WeightFormat::ALL {
                let rows = CanonicalRows::random(format, N, K, 2).unwrap();
                let product = |threads, batch: &[f32]| {
                    let ctx = context(isa, activations, threads);
                    let w = eitri_kernels::Weight::pack(&ctx, format, N, K, 1, &rows).unwrap();
                    let count = batch.len() / K;
                    let y = zeros(count, N);
                    linear(&ctx, &w, &tensor(batch, K), count, &y, 0).unwrap();
                    values(&y).into_iter().map(f32::to_bits).collect::<Vec<_>>()
                };
                let whole = product(1, &x);
                assert_eq!(whole, product(3, &x), "threads: {isa:?} {activations:?} {format:?}");
                for (start, count) in [(0, 1), (63, 1), (5, 2), (9, 3), (13, 5), (20, 7), (1, 63)] {
                    let part = product(2, &x[start * K..(start + count) * K]);
                    assert_eq!(
                        part,
                        whole[start * N..(start + count) * N],
                        "rows {start}+{count}: {isa:?} {activations:?} {format:?}"
                    );
                }
            }
        }
    }
}

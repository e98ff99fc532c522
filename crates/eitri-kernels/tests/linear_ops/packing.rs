use eitri_kernels::{
    Activations, Isa, KernelError, RowSource, Weight, WeightFormat, ops::embed,
    reference::CanonicalRows,
};

use crate::{context, isas, values, weight, zeros};

#[test]
fn embedding_each_row_gives_back_the_canonical_values_bit_for_bit() {
    for isa in isas() {
        let ctx = context(isa, Activations::Int8, 3);
        for format in WeightFormat::ALL {
            for n in [1, 15, 16, 17, 31, 32, 33, 50] {
                let (rows, table) = weight(&ctx, format, n, 512, 23);
                let ids: Vec<u32> = (0..n as u32).rev().collect();
                let out = zeros(n, 512);
                embed(&ctx, &table, &ids, &out).unwrap();
                for (out, &id) in values(&out).chunks_exact(512).zip(&ids) {
                    let expected = rows.values(id as usize);
                    assert!(
                        out.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()),
                        "{isa:?} {format:?} row {id} of {n}"
                    );
                }
            }
        }
    }
}

#[test]
fn packing_keeps_the_canonical_size() {
    for isa in isas() {
        for format in WeightFormat::ALL {
            let canonical = 64 * format.row_bytes(512).unwrap();
            let ctx = context(isa, Activations::Int8, 1);
            let (_, w) = weight(&ctx, format, 64, 512, 1);
            assert_eq!(w.bytes(), canonical + 64, "{isa:?} {format:?}");
            assert_eq!(w.bytes(), Weight::packed_bytes(isa, format, 64, 512, 1));
        }
    }
}

struct FailingRow<'a>(&'a CanonicalRows, usize);

impl RowSource for FailingRow<'_> {
    fn row(&self, row: usize, out: &mut [u8]) -> Result<(), KernelError> {
        if row == self.1 {
            return Err(KernelError::Row { row, message: "scale is not a number".into() });
        }
        self.0.row(row, out)
    }
}

#[test]
fn an_error_of_the_row_source_is_reported_with_its_row() {
    for threads in [1, 3] {
        let ctx = context(Isa::detect(), Activations::Int8, threads);
        let rows = CanonicalRows::random(WeightFormat::I8, 3000, 64, 1).unwrap();
        for row in [0, 1234, 2999] {
            let source = FailingRow(&rows, row);
            let error = Weight::pack(&ctx, WeightFormat::I8, 1500, 64, 2, &source).unwrap_err();
            assert_eq!(error.to_string(), format!("row {row}: scale is not a number"));
        }
    }
}

#[test]
fn sizes_that_do_not_fit_the_format_are_refused() {
    let ctx = context(Isa::detect(), Activations::Int8, 1);
    let rows = CanonicalRows::random(WeightFormat::F32, 1, 1, 1).unwrap();
    let error = Weight::pack(&ctx, WeightFormat::Q6K, 4, 128, 1, &rows).unwrap_err();
    let expected = "pack: weight must be non-empty, k a multiple of 256 for q6_k, got 1 x [4, 128]";
    assert_eq!(error.to_string(), expected);
    assert!(Weight::pack(&ctx, WeightFormat::F32, 0, 128, 1, &rows).is_err());
    assert_eq!(Weight::packed_bytes(Isa::Scalar, WeightFormat::Q6K, 4, 128, 1), 0);
}

#[test]
fn a_token_outside_the_table_is_refused() {
    let ctx = context(Isa::detect(), Activations::Int8, 1);
    let (_, table) = weight(&ctx, WeightFormat::Bf16, 10, 8, 1);
    let error = embed(&ctx, &table, &[3, 10], &zeros(2, 8)).unwrap_err();
    assert_eq!(error.to_string(), "embed: token id + 1 must be at most 10, got 11");
    assert!(embed(&ctx, &table, &[3, 4], &zeros(1, 8)).is_err());
}

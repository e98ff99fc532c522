//! Worked examples of ggml's blocks, through the kernels' definition of canonical rows.

#![allow(clippy::float_cmp, reason = "small integers times powers of two are exact")]

use crate::{Checkpoint, FileBytes, Matrix, QuantError};

/// Opens the matrix `[1, k]` that is the only tensor of a GGUF file, of this type.
fn open<R>(
    kind: u32,
    k: usize,
    stored: &[u8],
    then: impl FnOnce(Result<Matrix<'_>, QuantError>) -> R,
) -> R {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(1_u64.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.extend(8_u64.to_le_bytes());
    file.extend(b"m.weight");
    file.extend(2_u32.to_le_bytes());
    file.extend((k as u64).to_le_bytes());
    file.extend(1_u64.to_le_bytes());
    file.extend(kind.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(stored);
    let bytes = FileBytes::Static(Box::leak(file.into_boxed_slice()));
    let (checkpoint, _) = Checkpoint::from_gguf("m.gguf", bytes).unwrap();
    then(Matrix::open(&checkpoint, "m"))
}

/// The values of a row.
fn first_row(kind: u32, k: usize, stored: &[u8]) -> Vec<f32> {
    open(kind, k, stored, |matrix| {
        let matrix = matrix.unwrap();
        let mut canonical = vec![0; matrix.format().row_bytes(k).unwrap()];
        matrix.rows().row(0, &mut canonical).unwrap();
        let mut values = vec![0.0; k];
        matrix.format().dequantise_row(&canonical, &mut values);
        values
    })
}

#[test]
fn q8_0_is_scale_times_code() {
    let mut block = vec![0x1F, 0x21, 0x7F, 0x81, 0x32];
    block.resize(34, 0xFF);
    let values = first_row(8, 32, &block);
    let expected = [1.270_271_3, -1.270_271_3, 0.500_106_8, -0.010_002_14];
    for (got, want) in values.iter().zip(expected) {
        assert!((got - want).abs() < 1e-6, "{got} is not {want}");
    }
}

#[test]
fn q4_0_has_value_j_in_low_and_j_plus_16_in_high_nibbles() {
    let mut block = vec![0x00, 0x3C, 0xF0, 0x8B];
    block.resize(18, 0x88);
    let values = first_row(2, 32, &block);
    assert_eq!([values[0], values[16], values[1], values[17]], [-8.0, 7.0, 3.0, 0.0]);
    assert!(values[2..16].iter().chain(&values[18..]).all(|&value| value == 0.0));
}

#[test]
fn q4_1_adds_a_minimum() {
    let mut block = vec![0x00, 0x3C, 0x00, 0xC0, 0xF0, 0x2B];
    block.resize(20, 0x22);
    let values = first_row(3, 32, &block);
    assert_eq!([values[0], values[16], values[1], values[17]], [-2.0, 13.0, 9.0, 0.0]);
    assert!(values[2..16].iter().chain(&values[18..]).all(|&value| value == 0.0));
}

#[test]
fn q6_k_joins_four_low_and_two_high_bits() {
    let mut block = vec![0_u8; 210];
    (block[0], block[32], block[128]) = (0x5A, 0xC3, 0b1101_1001);
    block[192..208].fill(2);
    (block[208], block[209]) = (0x00, 0x38);
    let values = first_row(14, 256, &block);
    // Codes 0x1A, 0x23, 0x15, 0x3C less 32, times a scale of 2 and a half.
    assert_eq!([values[0], values[32], values[64], values[96]], [-6.0, 3.0, -11.0, 28.0]);
    assert!(values[1..32].iter().all(|&value| value == -32.0));
}

#[test]
fn types_without_a_format_are_refused_by_name() {
    let error = open(10, 256, &[0; 84], |matrix| matrix.unwrap_err().to_string());
    let known = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q6_K";
    assert_eq!(error, format!("m.gguf: tensor m.weight is Q2_K; readable are {known}"));
}

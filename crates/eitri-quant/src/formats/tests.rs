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
fn q5_0_and_q5_1_take_the_fifth_bit_of_each_code_from_one_word() {
    // Bits of values 0, 9 and 16; codes 11 and 8 in the first byte, 5 in the low half of the tenth.
    let codes = |block: &mut Vec<u8>, zero: u8| {
        block.extend([0x01, 0x02, 0x01, 0x00, 0x8B]);
        block.resize(block.len() + 15, zero);
    };
    let mut block = vec![0x00, 0x3C];
    codes(&mut block, 0x00);
    block[6 + 9] = 0x05;
    let values = first_row(6, 32, &block);
    assert_eq!([values[0], values[16], values[9], values[1]], [11.0, 8.0, 5.0, -16.0]);
    let mut block = vec![0x00, 0x38, 0x00, 0xC0];
    codes(&mut block, 0x00);
    block[8 + 9] = 0x05;
    let values = first_row(7, 32, &block);
    assert_eq!([values[0], values[16], values[9], values[1]], [11.5, 10.0, 8.5, -2.0]);
}

/// Scales 5 and 49 and minima 3 and 34 of sub-blocks 0 and 4, factors of a half and a quarter.
fn k_head() -> Vec<u8> {
    let mut block = vec![0x00, 0x38, 0x00, 0x34];
    block.extend([0xC5, 0, 0, 0, 0x83, 0, 0, 0, 0x21, 0, 0, 0]);
    block
}

#[test]
fn q4_k_splits_6_bit_scales_and_minima_over_twelve_bytes() {
    let mut block = k_head();
    block.resize(144, 0);
    (block[16], block[16 + 64]) = (0xB4, 0x02);
    let values = first_row(12, 256, &block);
    assert_eq!([values[0], values[1], values[32]], [9.25, -0.75, 0.0]);
    assert_eq!([values[128], values[129], values[160]], [40.5, -8.5, 0.0]);
}

#[test]
fn q5_k_takes_the_fifth_bit_of_sub_block_s_from_bit_s() {
    let mut block = k_head();
    block.resize(176, 0);
    (block[16], block[17]) = (0b0001_0001, 0b0001_0000);
    (block[48], block[48 + 64]) = (0xB4, 0x02);
    let values = first_row(13, 256, &block);
    assert_eq!([values[0], values[1], values[32]], [49.25, -0.75, 0.0]);
    assert_eq!([values[128], values[129], values[130]], [432.5, 383.5, -8.5]);
}

#[test]
fn q2_k_has_a_scale_and_a_minimum_per_sixteen() {
    let mut block = vec![0_u8; 84];
    // Scale 2 and minimum 3 of values 0 to 15, scale 1 of values 16 to 31, minimum 1 of 128 to 143.
    (block[0], block[1], block[8]) = (0x32, 0x01, 0x10);
    // Codes 1, 2, 3, 0 of values 0, 32, 64, 96; code 2 of value 17.
    (block[16], block[16 + 17]) = (0b0011_1001, 0b10);
    (block[81], block[83]) = (0x3C, 0x38);
    let values = first_row(10, 256, &block);
    assert_eq!([values[0], values[1], values[17], values[32]], [0.5, -1.5, 2.0, 0.0]);
    assert_eq!([values[128], values[143], values[144]], [-0.5, -0.5, 0.0]);
}

#[test]
fn q3_k_is_four_lower_where_the_mask_has_no_bit() {
    let mut block = vec![0_u8; 110];
    // Masks of values 0 and 128 + 32, low bits 3, 1 and 2 of values 0, 32 and 128 + 32.
    block[0] = 0b0010_0001;
    (block[32], block[64]) = (0b0111, 0b1000);
    // Scale 33 of sub-block 0, 1 of sub-block 2, 37 of sub-block 10; the others are 0.
    (block[96], block[98], block[104], block[106]) = (0x01, 0x51, 0b0010, 0b10_0000);
    block[109] = 0x3C;
    let values = first_row(11, 256, &block);
    assert_eq!([values[0], values[1], values[32]], [3.0, -4.0, 93.0]);
    assert_eq!([values[160], values[161], values[176]], [10.0, -20.0, 128.0]);
}

#[test]
fn iq4_codes_name_uneven_steps() {
    let mut block = vec![0x00, 0x3C, 0xF0, 0x79];
    block.resize(18, 0x88);
    let values = first_row(20, 32, &block);
    assert_eq!([values[0], values[16], values[1], values[17]], [-127.0, 113.0, 13.0, -10.0]);
    assert!(values[2..16].iter().all(|&value| value == 1.0));
    // Scales 33 and 62 of sub-blocks 0 and 7; the others are 0.
    let mut block = vec![0x00, 0x38, 0b10, 0xC0, 0x01, 0, 0, 0xE0];
    block.resize(136, 0x88);
    (block[8], block[135]) = (0xF0, 0x3F);
    let values = first_row(23, 256, &block);
    assert_eq!([values[0], values[16], values[1], values[32]], [-63.5, 56.5, 0.5, -16.0]);
    assert_eq!([values[239], values[255], values[254]], [1695.0, -975.0, 15.0]);
}

#[test]
fn mxfp4_is_a_power_of_two_times_e2m1() {
    let mut block = vec![128, 0x2A, 0xF7];
    block.resize(17, 0x00);
    let values = first_row(39, 32, &block);
    assert_eq!([values[0], values[16], values[1], values[17]], [-2.0, 2.0, 12.0, -12.0]);
    // The least power is below the least normal f32.
    block[0] = 0;
    assert_eq!(first_row(39, 32, &block)[1], 6.0 * 2.0_f32.powi(-126) * 0.5);
    for exponent in [253, 255] {
        block[0] = exponent;
        let refused = open(39, 32, &block, |matrix| {
            matrix.unwrap().rows().row(0, &mut [0; 17]).unwrap_err().to_string()
        });
        let expected =
            "row 0: m.gguf: tensor m.weight has values that are not finite (NaN or infinity)";
        assert_eq!(refused, expected);
    }
}

#[test]
fn types_without_a_format_are_refused_by_name() {
    let error = open(16, 256, &[0; 66], |matrix| matrix.unwrap_err().to_string());
    let known = "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, \
                 IQ4_XS, MXFP4";
    assert_eq!(error, format!("m.gguf: tensor m.weight is IQ2_XXS; readable are {known}"));
}

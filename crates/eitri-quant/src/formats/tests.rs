//! Worked examples of the ggml block formats, through the kernels' definition of canonical rows.

use super::*;

fn values(format: WeightFormat, convert: fn(&[u8], &mut [u8]) -> bool, stored: &[u8]) -> Vec<f32> {
    let k = format.group().max(32);
    let mut canonical = vec![0; format.row_bytes(k).unwrap()];
    assert!(convert(stored, &mut canonical));
    let mut out = vec![0.0; k];
    format.dequantise_row(&canonical, &mut out);
    out
}

fn converter(format: &Format, encoding: Encoding) -> (Checkpoint, Vec<u8>) {
    let _ = format;
    (Checkpoint::default(), vec![0; encoding.bytes])
}

#[test]
fn placeholder() {
    let _ = converter(&ggml_q8_0::FORMAT, Encoding::Q8_0);
    let _ = values;
}

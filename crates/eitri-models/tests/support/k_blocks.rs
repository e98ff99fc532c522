//! Round-to-nearest quantisers for the K-quants, IQ4 and MXFP4, as in [`blocks`](super::blocks).

use super::blocks::{code, largest, nibbles, scale};

/// Scales of sub-blocks as whole multiples of a factor, and the factor as stored.
fn multiples(scales: &[f32], most: i32) -> (Vec<i32>, f32, [u8; 2]) {
    let (factor, stored) = scale(largest(scales) / most as f32);
    (scales.iter().map(|&value| code(value, factor, 0, most)).collect(), factor, stored)
}

/// Codes with `levels` and the minimum of each `sub` values, and what they mean.
struct WithMinima {
    codes: Vec<i32>,
    scales: Vec<i32>,
    minima: Vec<i32>,
    factors: [[u8; 2]; 2],
}

fn with_minima(x: &[f32], sub: usize, levels: i32, most: i32, meant: &mut Vec<f32>) -> WithMinima {
    let least = |x: &[f32]| x.iter().copied().fold(0.0, f32::min);
    let spread = |x: &[f32]| x.iter().copied().fold(0.0, f32::max) - least(x);
    let scales: Vec<f32> = x.chunks(sub).map(|x| spread(x) / levels as f32).collect();
    let minima: Vec<f32> = x.chunks(sub).map(|x| -least(x)).collect();
    let (scales, d, d_stored) = multiples(&scales, most);
    let (minima, dmin, dmin_stored) = multiples(&minima, most);
    let mut codes = Vec::new();
    for (s, x) in x.chunks(sub).enumerate() {
        let (step, min) = (d * scales[s] as f32, dmin * minima[s] as f32);
        for &value in x {
            let q = code(value + min, step, 0, levels);
            codes.push(q);
            meant.push(step * q as f32 - min);
        }
    }
    WithMinima { codes, scales, minima, factors: [d_stored, dmin_stored] }
}

/// `Q4_K`, or with a fifth bit `Q5_K`.
pub(super) fn q4_k(x: &[f32], fifth: bool, bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let block = with_minima(x, 32, if fifth { 31 } else { 15 }, 63, meant);
    let (scales, minima) = (&block.scales, &block.minima);
    bytes.extend(block.factors.concat());
    let joined = |values: &[i32], j: usize| (values[j] | values[j + 4] >> 4 << 6) as u8;
    bytes.extend((0..4).map(|j| joined(scales, j)));
    bytes.extend((0..4).map(|j| joined(minima, j)));
    bytes.extend((4..8).map(|j| (scales[j] & 15 | (minima[j] & 15) << 4) as u8));
    let code = |sub: usize, l: usize| block.codes[32 * sub + l];
    if fifth {
        let high = |l| (0..8_usize).fold(0_i32, |bits, sub| bits | code(sub, l) >> 4 << sub) as u8;
        bytes.extend((0..32).map(high));
    }
    for pair in 0..4 {
        let byte = |l| (code(2 * pair, l) & 15 | (code(2 * pair + 1, l) & 15) << 4) as u8;
        bytes.extend((0..32).map(byte));
    }
}

/// Two low bits of each code: value `128 h + 32 j + l` in bits `2 j` of byte `32 h + l`.
fn pairs(codes: &[i32], bytes: &mut Vec<u8>) {
    for half in codes.chunks(128) {
        let byte =
            |l| (0..4_usize).fold(0_i32, |bits, j| bits | (half[32 * j + l] & 3) << (2 * j)) as u8;
        bytes.extend((0..32).map(byte));
    }
}

pub(super) fn q2_k(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let block = with_minima(x, 16, 3, 15, meant);
    bytes.extend(block.scales.iter().zip(&block.minima).map(|(s, m)| (s | m << 4) as u8));
    pairs(&block.codes, bytes);
    bytes.extend(block.factors.concat());
}

pub(super) fn q3_k(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let steps: Vec<f32> = x.chunks(16).map(|x| largest(x) / 4.0).collect();
    let (scales, d, stored) = multiples(&steps, 31);
    let mut codes = Vec::new();
    for (s, x) in x.chunks(16).enumerate() {
        let step = d * scales[s] as f32;
        for &value in x {
            let q = code(value, step, -4, 3);
            codes.push(q + 4);
            meant.push(step * q as f32);
        }
    }
    let mask = |l| (0..8_usize).fold(0_i32, |bits, j| bits | codes[32 * j + l] >> 2 << j) as u8;
    bytes.extend((0..32).map(mask));
    pairs(&codes, bytes);
    let scales: Vec<i32> = scales.iter().map(|s| s + 32).collect();
    bytes.extend((0..8).map(|s| (scales[s] & 15 | (scales[s + 8] & 15) << 4) as u8));
    let high =
        |s| (0..4_usize).fold(0_i32, |bits, j| bits | scales[4 * j + s] >> 4 << (2 * j)) as u8;
    bytes.extend((0..4).map(high));
    bytes.extend(stored);
}

const IQ4: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];
const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// The code of the nearest of `step` times each entry of a table.
fn nearest(value: f32, step: f32, table: &[f32; 16]) -> i32 {
    let off = |code: &usize| (value - step * table[*code]).abs();
    (0..16).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap_or(0) as i32
}

/// Codes of a table, as `Q4_0` stores them, and their values.
fn table(x: &[f32], step: f32, table: &[f32; 16], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let codes: Vec<i32> = x.iter().map(|&value| nearest(value, step, table)).collect();
    nibbles(&codes, bytes);
    meant.extend(codes.iter().map(|&q| step * table[q as usize]));
}

pub(super) fn iq4_nl(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let (d, stored) = scale(largest(x) / 127.0);
    bytes.extend(stored);
    table(x, d, &IQ4, bytes, meant);
}

pub(super) fn iq4_xs(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let steps: Vec<f32> = x.chunks(32).map(|x| largest(x) / 127.0).collect();
    let (scales, d, stored) = multiples(&steps, 31);
    let stored_scale = |s: usize| scales[s] + 32;
    bytes.extend(stored);
    let high = (0..8_usize).fold(0_i32, |bits, s| bits | stored_scale(s) >> 4 << (2 * s));
    bytes.extend((high as u16).to_le_bytes());
    let low = |s: usize| stored_scale(s) & 15;
    bytes.extend((0..4).map(|pair| (low(2 * pair) | low(2 * pair + 1) << 4) as u8));
    for (s, x) in x.chunks(32).enumerate() {
        table(x, d * scales[s] as f32, &IQ4, bytes, meant);
    }
}

pub(super) fn mxfp4(x: &[f32], bytes: &mut Vec<u8>, meant: &mut Vec<f32>) {
    let exponent = (largest(x) / 6.0).max(f32::MIN_POSITIVE).log2().ceil() as i32;
    bytes.push((exponent + 127) as u8);
    table(x, 2.0_f32.powi(exponent), &E2M1, bytes, meant);
}

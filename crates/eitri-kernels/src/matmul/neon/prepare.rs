//! Activations as 8-bit integers: records of 32 values.

use crate::weight::GROUP;

/// 32 i8 codes, scale, scale times a factor times the sum of the codes.
pub(super) const RECORD: usize = 40;

/// Magnitudes below this are taken for zero: their reciprocal would overflow.
const TINY: f32 = 1e-30;

/// Records for weights whose offset is 8 scales.
pub(super) fn u4(values: &[f32], records: &mut [u8]) {
    prepare(values, records, 8.0, [0, 1, 2, 3]);
}

/// Records for weights whose offset is a minimum.
pub(super) fn u4_min(values: &[f32], records: &mut [u8]) {
    prepare(values, records, 1.0, [0, 1, 2, 3]);
}

/// Records for `I8` weights: four codes in the order of a cell.
pub(super) fn i8(values: &[f32], records: &mut [u8]) {
    prepare(values, records, 0.0, [0, 2, 1, 3]);
}

fn prepare(values: &[f32], records: &mut [u8], factor: f32, order: [usize; 4]) {
    let groups = values.as_chunks::<GROUP>().0;
    for (group, record) in groups.iter().zip(records.as_chunks_mut::<RECORD>().0) {
        let max = group.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
        let (scale, inverse) = if max > TINY { (max / 127.0, 127.0 / max) } else { (0.0, 0.0) };
        // An infinity or NaN makes the scale NaN, so that the outputs show it.
        let scale = scale + group.iter().map(|v| v * 0.0).sum::<f32>();
        let mut sum = 0;
        let cells = record.as_chunks_mut::<4>().0;
        for (cell, four) in cells.iter_mut().zip(group.as_chunks::<4>().0) {
            for (code, from) in cell.iter_mut().zip(order) {
                let value = (four[from] * inverse).round_ties_even() as i8;
                sum += i32::from(value);
                *code = value as u8;
            }
        }
        record[32..36].copy_from_slice(&scale.to_le_bytes());
        record[36..40].copy_from_slice(&(scale * factor * sum as f32).to_le_bytes());
    }
}

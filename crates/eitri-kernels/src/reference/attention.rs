//! Reference of attention, in f64.

/// One query head over contiguous keys and values `[tokens][head_dim]`: `softmax(scale * q k) v`.
pub fn attention(query: &[f32], keys: &[f32], values: &[f32], scale: f32) -> Vec<f32> {
    let head_dim = query.len();
    let dot = |key: &[f32]| -> f64 {
        key.iter().zip(query).map(|(&k, &q)| f64::from(k) * f64::from(q)).sum()
    };
    let scores: Vec<f64> =
        keys.chunks_exact(head_dim).map(|key| dot(key) * f64::from(scale)).collect();
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..head_dim)
        .map(|d| {
            let column = values.iter().skip(d).step_by(head_dim);
            let sum: f64 = weights.iter().zip(column).map(|(w, &v)| w * f64::from(v)).sum();
            (sum / total) as f32
        })
        .collect()
}

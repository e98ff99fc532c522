//! References of the row operations, in f64.

/// `x / sqrt(mean(x^2) + eps) * weight`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let squares: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let scale = 1.0 / (squares / x.len() as f64 + f64::from(eps)).sqrt();
    x.iter().zip(weight).map(|(&x, &w)| (f64::from(x) * scale * f64::from(w)) as f32).collect()
}

/// `silu(gate) * up`.
pub fn silu_mul(gate: &[f32], up: &[f32]) -> Vec<f32> {
    let silu = |x: f64| x / (1.0 + (-x).exp());
    gate.iter().zip(up).map(|(&g, &u)| (silu(f64::from(g)) * f64::from(u)) as f32).collect()
}

/// One head turned to `position` without context extension, dimension `i` with `i + len / 2`.
pub fn rope(head: &[f32], position: u32, theta: f64) -> Vec<f32> {
    let half = head.len() / 2;
    let turn = |i: usize| {
        let frequency = theta.powf(-((2 * (i % half)) as f64) / head.len() as f64);
        (f64::from(position) * frequency).sin_cos()
    };
    (0..head.len())
        .map(|i| {
            let (sin, cos) = turn(i);
            let partner = if i < half { -head[i + half] } else { head[i - half] };
            (f64::from(head[i]) * cos + f64::from(partner) * sin) as f32
        })
        .collect()
}

//! Rounding, factorisation and feedback against their definitions.

#![allow(clippy::float_cmp, reason = "codes and steps are exact")]

use eitri_kernels::minifloat::{e2m1, e4m3, to_e2m1, to_e4m3};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{cholesky, product::product_transposed, *};

/// All values of a code that are numbers.
fn values(codes: std::ops::RangeInclusive<u8>, value: fn(u8) -> f32) -> Vec<f32> {
    codes.map(value).collect()
}

/// The nearest of ascending magnitudes, ties to the even index.
fn nearest(magnitudes: &[f32], value: f32) -> usize {
    let distance = |i: usize| (f64::from(magnitudes[i]) - f64::from(value.abs())).abs();
    let order =
        |a: &usize, b: &usize| distance(*a).total_cmp(&distance(*b)).then((a % 2).cmp(&(b % 2)));
    (0..magnitudes.len()).min_by(order).unwrap()
}

#[test]
fn floats_round_to_the_nearest_and_ties_to_even() {
    let mut rng = StdRng::seed_from_u64(1);
    for (last, to, from) in
        [(0x7E, to_e4m3 as fn(f32) -> u8, e4m3 as fn(u8) -> f32), (7, to_e2m1, e2m1)]
    {
        let magnitudes = values(0..=last, from);
        assert!(magnitudes.is_sorted_by(|a, b| a < b));
        let sign = if last == 7 { 8 } else { 0x80 };
        let check = |value: f32| {
            let code = to(value);
            assert_eq!(usize::from(code & !sign), nearest(&magnitudes, value), "{value:e}");
            assert_eq!(code & sign != 0, value.is_sign_negative(), "{value:e}");
        };
        for pair in magnitudes.windows(2) {
            let middle = f32::midpoint(pair[0], pair[1]);
            for value in [pair[0], middle, middle.next_up(), middle.next_down(), -middle] {
                check(value);
            }
        }
        for _ in 0..10_000 {
            check(rng.random_range(-3.0_f32..3.0).powi(5));
        }
        assert_eq!(to(1e30), last, "too large");
    }
    assert_eq!(values(0..=0x7E, e4m3)[0x7E], 448.0);
}

/// Random inputs that depend on each other, with some that are larger.
fn inputs(rows: usize, k: usize, rng: &mut StdRng) -> Vec<f32> {
    let mix: Vec<f32> = (0..k * k).map(|_| rng.random_range(-1.0_f32..1.0).powi(3)).collect();
    let base: Vec<f32> = (0..rows * k).map(|_| rng.random_range(-1.0..1.0)).collect();
    let mut x = product_transposed(&base, &mix, [rows, k, k]).unwrap();
    for row in x.chunks_exact_mut(k) {
        row.iter_mut().step_by(17).for_each(|x| *x *= 8.0);
    }
    x
}

fn hessian(x: &[f32], k: usize) -> Hessian {
    let mut hessian = Hessian::new(k);
    for part in x.chunks(k * 100) {
        hessian.add(part).unwrap();
    }
    hessian
}

#[test]
fn the_factor_times_its_transpose_is_the_matrix() {
    let mut rng = StdRng::seed_from_u64(2);
    for k in [1, 100, 128, 300] {
        let x = inputs(2 * k, k, &mut rng);
        let a = product::second_moments(&x, k).unwrap();
        let mut r = a.clone();
        assert!(cholesky::factorise(&mut r, k).unwrap());
        for i in 0..k {
            r[i * k..i * k + i].fill(0.0);
        }
        let again = product_transposed(&r, &r, [k, k, k]).unwrap();
        let scale = a.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (again, a) in again.iter().zip(&a) {
            assert!((again - a).abs() < 2e-5 * scale, "{again} is not {a}");
        }
    }
    let mut indefinite = vec![1.0, 2.0, 2.0, 1.0];
    assert!(!cholesky::factorise(&mut indefinite, 2).unwrap());
}

/// The rows of `codes`.
fn decoded(codes: &Codes) -> Vec<f32> {
    let [n, k] = codes.shape();
    let mut values = vec![0.0; n * k];
    for (row, out) in values.chunks_exact_mut(k).enumerate() {
        codes.decode_row(row, out);
    }
    values
}

/// Squared error of the outputs for these inputs.
fn output_error(x: &[f32], values: &[f32], decoded: &[f32], k: usize) -> f64 {
    let lost: Vec<f32> = values.iter().zip(decoded).map(|(a, b)| a - b).collect();
    let shape = [x.len() / k, k, values.len() / k];
    let y = product_transposed(x, &lost, shape).unwrap();
    y.iter().map(|&y| f64::from(y).powi(2)).sum()
}

/// Optimal brain surgery in its own words, in f64: after each rounding the rest of the row becomes
/// what minimises the error of the outputs, with the inverse of the Hessian of the inputs that
/// remain (Frantar and others, equations 2 and 3). Scales are those of the values at the start of
/// each group.
fn brain_surgery(grid: Grid, w: &[f32], h: &[f64], k: usize) -> Vec<u8> {
    let size = grid.columns(k);
    let mut inverse = inverse(h, k);
    let mut w: Vec<f64> = w.iter().copied().map(f64::from).collect();
    let mut codes = Vec::new();
    let mut step = grid.step(0.0, 0.0, 1.0, Encoding::F16);
    for i in 0..k {
        if i % size == 0 {
            let group = w[i..k.min(i + size)].iter().map(|&w| w as f32);
            let (least, most) = group.fold((0.0_f32, 0.0_f32), |(a, b), w| (a.min(w), b.max(w)));
            step = grid.step(least, most, 1.0, Encoding::F16);
        }
        let code = grid.code(w[i] as f32, step);
        let error = (w[i] - f64::from(grid.value(code, step))) / inverse[i * k + i];
        for j in i..k {
            w[j] -= error * inverse[i * k + j];
        }
        let pivot = inverse[i * k + i];
        let row: Vec<f64> = inverse[i * k..(i + 1) * k].to_vec();
        for a in i + 1..k {
            for b in i + 1..k {
                inverse[a * k + b] -= row[a] * row[b] / pivot;
            }
        }
        codes.push(code);
    }
    codes
}

/// Gauss and Jordan.
fn inverse(h: &[f64], k: usize) -> Vec<f64> {
    let (mut a, mut inverse) = (h.to_vec(), vec![0.0; k * k]);
    (0..k).for_each(|i| inverse[i * k + i] = 1.0);
    for i in 0..k {
        let pivot = a[i * k + i];
        for j in 0..k {
            a[i * k + j] /= pivot;
            inverse[i * k + j] /= pivot;
        }
        for row in (0..k).filter(|&row| row != i) {
            let factor = a[row * k + i];
            for j in 0..k {
                a[row * k + j] -= factor * a[i * k + j];
                inverse[row * k + j] -= factor * inverse[i * k + j];
            }
        }
    }
    inverse
}

#[test]
fn feedback_is_optimal_brain_surgery() {
    let (n, k) = (4, 256);
    let mut rng = StdRng::seed_from_u64(5);
    let x = inputs(1000, k, &mut rng);
    let w: Vec<f32> = (0..n * k).map(|_| rng.random_range(-0.1..0.1)).collect();
    let scheme = Scheme::find("gptq-int4").unwrap();
    let feedback = Feedback::new(hessian(&x, k)).unwrap().unwrap();
    let codes = scheme.round_with_feedback(&w, [n, k], &feedback, Encoding::F16, 2).unwrap();
    let mut h: Vec<f64> =
        product::second_moments(&x, k).unwrap().into_iter().map(f64::from).collect();
    let damping = 0.01 * (0..k).map(|i| h[i * k + i]).sum::<f64>() / k as f64;
    (0..k).for_each(|i| h[i * k + i] += damping);
    let mut same = 0;
    for (row, w) in w.chunks_exact(k).enumerate() {
        let expected = brain_surgery(scheme.grid, w, &h, k);
        let got = &codes.values[row * k..(row + 1) * k];
        same += got.iter().zip(&expected).take_while(|(a, b)| a == b).count();
    }
    // A tie that f32 decides otherwise changes what comes after it.
    assert!(same > n * k * 9 / 10, "the first {same} codes of {} are the same", n * k);
}

#[test]
fn feedback_lowers_the_error_of_outputs() {
    let mut rng = StdRng::seed_from_u64(6);
    let (n, k) = (24, 384);
    let x = inputs(600, k, &mut rng);
    let w: Vec<f32> = (0..n * k).map(|_| rng.random_range(-0.1..0.1)).collect();
    let named = |name| *Scheme::find(name).unwrap();
    for scheme in [
        named("gptq-int4"),
        named("w4a16"),
        named("gptq-int8"),
        named("w8a16"),
        named("w4a16").with_group(32).unwrap(),
        named("w8a16").with_group(64).unwrap(),
    ] {
        let name = scheme.name;
        let scales = scheme.scale_encoding(Encoding::BF16);
        let feedback = Feedback::new(hessian(&x, k)).unwrap().unwrap();
        let plain = scheme.round(&w, [n, k], 0.0, scales, 2);
        let better = scheme.round_with_feedback(&w, [n, k], &feedback, scales, 2).unwrap();
        let [plain, better] =
            [plain, better].map(|codes| output_error(&x, &w, &decoded(&codes), k));
        assert!(better < 0.6 * plain, "{name}: {better} of {plain}");
    }
    for (name, size) in [("w4a16", 48), ("nvfp4", 32), ("fp8-block", 128)] {
        let error = named(name).with_group(size).unwrap_err();
        assert!(error.to_string().starts_with(name), "{error}");
    }
    let none = Feedback::new(Hessian::new(k)).unwrap();
    assert!(none.is_none(), "no inputs");
    let nvfp4 = Scheme::find("nvfp4").unwrap();
    let feedback = Feedback::new(hessian(&x, k)).unwrap().unwrap();
    let error = nvfp4.round_with_feedback(&w, [n, k], &feedback, Encoding::F8_E4M3, 1);
    assert!(matches!(error, Err(QuantError::NoFeedback { columns: 16 })), "{error:?}");
}

#[test]
fn scales_lower_the_error_of_outputs_where_some_inputs_are_large() {
    let mut rng = StdRng::seed_from_u64(7);
    let (n, k) = (32, 256);
    let mut x = inputs(64, k, &mut rng);
    for row in x.chunks_exact_mut(k) {
        row[40] *= 30.0;
        row[200] *= 30.0;
    }
    let w: Vec<f32> = (0..n * k).map(|_| rng.random_range(-0.1..0.1)).collect();
    let scheme = Scheme::find("awq-int4").unwrap();
    let means: Vec<f32> =
        (0..k).map(|i| x.chunks_exact(k).map(|row| row[i].abs()).sum::<f32>() / 64.0).collect();
    let search = ScaleSearch {
        modules: &[&w[..8 * k], &w[8 * k..]],
        k,
        means: &means,
        sample: &x,
        scales: Encoding::F16,
        threads: 2,
    };
    let factors = search_scales(scheme, &search).unwrap();
    assert!(factors[40] > factors[41] && factors[200] > factors[41]);
    let scaled: Vec<f32> = w
        .chunks_exact(k)
        .flat_map(|row| row.iter().zip(&factors).map(|(w, factor)| w * factor))
        .collect();
    let round = |values: &[f32]| decoded(&scheme.round(values, [n, k], 0.0, Encoding::F16, 1));
    let plain = output_error(&x, &w, &round(&w), k);
    let unscaled: Vec<f32> = round(&scaled)
        .chunks_exact(k)
        .flat_map(|row| row.iter().zip(&factors).map(|(w, factor)| w / factor))
        .collect();
    let better = output_error(&x, &w, &unscaled, k);
    assert!(better < 0.75 * plain, "{better} of {plain}");
}

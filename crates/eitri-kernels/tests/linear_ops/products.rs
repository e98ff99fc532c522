use eitri_kernels::{
    Activations, Isa, WeightFormat,
    ops::{linear, linear_rows},
    probe,
    reference::{Random, relative_difference},
};

use crate::{
    coarse_activations, context, isas, rounded_activations, tensor, values, weight, zeros,
};

/// What the arithmetic explains, as a share of the largest output: sums of up to 1,792 products in
/// f32, or activations of 8 or 16 bits.
fn tolerance(isa: Isa, format: WeightFormat, activations: Activations) -> f32 {
    match format {
        _ if coarse_activations(isa, format, activations) => 1e-2,
        // Each activation is off by up to 2^-8 of itself, up or down.
        _ if rounded_activations(isa, format, activations) => 4e-3,
        WeightFormat::I8 | WeightFormat::Iq4Nl | WeightFormat::Iq4Xs | WeightFormat::Grouped(_)
            if activations == Activations::Int8 =>
        {
            5e-5
        }
        _ => 5e-6,
    }
}

#[test]
fn every_format_and_mode_equals_the_reference_on_odd_shapes() {
    for isa in isas() {
        for activations in [Activations::Int8, Activations::Exact] {
            let ctx = context(isa, activations, 2);
            for format in WeightFormat::ALL {
                let group = format.group().max(32);
                for (n, k) in [(1, group), (16, group), (33, 3 * group), (70, 7 * group)] {
                    if k > 768 && group == 256 && n == 70 {
                        continue;
                    }
                    let (rows, w) = weight(&ctx, format, n, k, 7);
                    let x = Random::new(n as u64).values(64 * k);
                    let expected = rows.product(0..n, &x);
                    for m in (1..10).chain([13, 64]) {
                        let y = zeros(64, n + 5);
                        linear(&ctx, &w, &tensor(&x, k), m, &y, 3).unwrap();
                        let got = values(&y);
                        for (i, row) in got.chunks_exact(n + 5).enumerate() {
                            let untouched =
                                if i < m { [&row[..3], &row[3 + n..]] } else { [row, &[]] };
                            assert!(untouched.concat().iter().all(|&v| v == 0.0));
                        }
                        let got: Vec<f32> = got
                            .chunks_exact(n + 5)
                            .take(m)
                            .flat_map(|r| r[3..3 + n].to_vec())
                            .collect();
                        let difference = relative_difference(&got, &expected);
                        assert!(
                            difference <= tolerance(isa, format, activations),
                            "{isa:?} {activations:?} {format:?} {m} x [{n}, {k}]: {difference}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn dense_formats_take_an_odd_k() {
    for isa in isas() {
        for activations in [Activations::Int8, Activations::Exact] {
            let ctx = context(isa, activations, 1);
            for format in [WeightFormat::F32, WeightFormat::F16, WeightFormat::Bf16] {
                for k in [1, 3, 31, 257] {
                    let (rows, w) = weight(&ctx, format, 17, k, 3);
                    let x = Random::new(5).values(4 * k);
                    let y = zeros(4, 17);
                    linear(&ctx, &w, &tensor(&x, k), 4, &y, 0).unwrap();
                    let difference = relative_difference(&values(&y), &rows.product(0..17, &x));
                    let case = format!("{isa:?} {activations:?} {format:?} {k}: {difference}");
                    assert!(difference <= tolerance(isa, format, activations), "{case}");
                }
            }
        }
    }
}

#[test]
fn an_infinite_or_undefined_activation_shows_in_its_row_only() {
    for isa in isas() {
        for activations in [Activations::Int8, Activations::Exact] {
            let ctx = context(isa, activations, 1);
            for format in WeightFormat::ALL {
                let (_, w) = weight(&ctx, format, 16, 256, 3);
                for bad in [f32::NAN, f32::INFINITY] {
                    let mut x = Random::new(5).values(3 * 256);
                    x[256 + 40] = bad;
                    let y = zeros(3, 16);
                    linear(&ctx, &w, &tensor(&x, 256), 3, &y, 0).unwrap();
                    let finite: Vec<bool> = values(&y)
                        .chunks_exact(16)
                        .map(|row| row.iter().all(|v| v.is_finite()))
                        .collect();
                    assert_eq!(finite, [true, false, true], "{isa:?} {activations:?} {format:?}");
                }
            }
        }
    }
}

#[test]
fn selected_rows_equal_the_same_rows_of_the_whole_product() {
    for isa in isas() {
        for format in WeightFormat::ALL {
            let ctx = context(isa, Activations::Int8, 2);
            let (_, w) = weight(&ctx, format, 40, 512, 11);
            let x = tensor(&Random::new(1).values(20 * 512), 512);
            let (all, some) = (zeros(20, 40), zeros(9, 40));
            linear(&ctx, &w, &x, 20, &all, 0).unwrap();
            let ids = [19, 3, 3, 0, 7, 8];
            linear_rows(&ctx, &w, &x, &ids, &some).unwrap();
            let (all, some) = (values(&all), values(&some));
            for (i, &id) in ids.iter().enumerate() {
                let row = &all[id as usize * 40..][..40];
                assert_eq!(&some[i * 40..][..40], row, "{isa:?} {format:?}");
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_name() {
    let ctx = context(isas()[0], Activations::Int8, 1);
    let (_, w) = weight(&ctx, WeightFormat::U4, 16, 64, 1);
    let refuse = |x: (usize, usize), rows, y: (usize, usize), offset| {
        linear(&ctx, &w, &zeros(x.0, x.1), rows, &zeros(y.0, y.1), offset).unwrap_err().to_string()
    };
    assert_eq!(refuse((2, 32), 1, (2, 16), 0), "linear: x must be [rows, 64], got [2, 32]");
    assert_eq!(refuse((2, 64), 3, (3, 16), 0), "linear: rows must be at most 2, got 3");
    assert_eq!(refuse((2, 64), 2, (1, 16), 0), "linear: rows must be at most 1, got 2");
    assert_eq!(refuse((2, 64), 1, (2, 16), 1), "linear: y must be [rows, >= 17], got [2, 16]");
}

/// Strips are as wide as the vectors of the instruction set that they were packed for.
#[test]
fn weights_packed_for_wider_vectors_are_refused() {
    let narrow = context(Isa::Scalar, Activations::Int8, 1);
    for isa in isas() {
        let (_, w) = weight(&context(isa, Activations::Int8, 1), WeightFormat::U4, 16, 64, 1);
        let refused = linear(&narrow, &w, &zeros(1, 64), 1, &zeros(1, 16), 0)
            .err()
            .map(|error| error.to_string());
        let what =
            "linear has no kernel for weights that were packed for other instructions than scalar";
        match isa {
            Isa::Avx512 => assert!(refused.is_some_and(|e| e.contains(what))),
            _ => assert_eq!(refused, None, "{isa:?}"),
        }
    }
}

#[test]
fn every_kernel_passes_its_probe() {
    for isa in isas() {
        for activations in [Activations::Int8, Activations::Exact] {
            let reports = probe(&context(isa, activations, 2)).unwrap();
            for format in WeightFormat::ALL {
                let cases = reports
                    .iter()
                    .filter(|r| r.case.starts_with(&format!("{} x ", format.name())))
                    .count();
                assert_eq!(cases, 3, "{}", format.name());
            }
        }
    }
}

/// Column `j` of the packed matrix belongs to input `order[j]`, alone, in batches and for row ids.
#[test]
fn an_order_of_inputs_is_applied_before_the_product() {
    const K: usize = 96;
    let order: Vec<u32> = (0..K as u32).map(|j| (j * 35 + 7) % K as u32).collect();
    let x = Random::new(4).values(9 * K);
    let ordered: Vec<f32> =
        x.chunks_exact(K).flat_map(|x| order.iter().map(|&i| x[i as usize])).collect();
    for isa in isas() {
        for activations in [Activations::Int8, Activations::Exact] {
            let ctx = context(isa, activations, 2);
            let (_, plain) = weight(&ctx, WeightFormat::U4, 20, K, 6);
            let w = plain.clone().with_input_order(order.clone().into()).unwrap();
            let (got, want) = (zeros(9, 20), zeros(9, 20));
            linear(&ctx, &w, &tensor(&x, K), 9, &got, 0).unwrap();
            linear(&ctx, &plain, &tensor(&ordered, K), 9, &want, 0).unwrap();
            assert_eq!(values(&got), values(&want));
            linear_rows(&ctx, &w, &tensor(&x, K), &[8, 1], &got).unwrap();
            assert_eq!(values(&got)[..20], values(&want)[160..]);
            for wrong in [vec![0; K], (1..=K as u32).collect(), (0..5).collect()] {
                let error = plain.clone().with_input_order(wrong.into()).unwrap_err().to_string();
                assert!(error.contains("input order must be a permutation of 96"), "{error}");
            }
        }
    }
}

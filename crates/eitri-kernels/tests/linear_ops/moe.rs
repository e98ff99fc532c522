use candle_core::Tensor;
use eitri_kernels::{
    Activations, Context, Grouped, Weight, WeightFormat,
    ops::{MoeBuffers, Routing, moe_experts, moe_route},
    reference::{CanonicalRows, Random, relative_difference},
};

use crate::{coarse_activations, context, isas, tensor, values, zeros};

const EXPERTS: usize = 6;
const TOP_K: usize = 2;
const HIDDEN: usize = 64;
const INTERMEDIATE: usize = 96;

struct Network {
    gate_up: (CanonicalRows, Weight),
    down: (CanonicalRows, Weight),
}

fn network(ctx: &Context, format: WeightFormat) -> Network {
    let matrix = |n, k, seed| {
        let rows = CanonicalRows::random(format, EXPERTS * n, k, seed).unwrap();
        let packed = Weight::pack(ctx, format, n, k, EXPERTS, &rows).unwrap();
        (rows, packed)
    };
    Network { gate_up: matrix(2 * INTERMEDIATE, HIDDEN, 1), down: matrix(HIDDEN, INTERMEDIATE, 2) }
}

/// Logits in which expert 4 is never among the best.
fn logits(rows: usize) -> Vec<f32> {
    let mut logits = Random::new(17).values(rows * EXPERTS);
    logits.iter_mut().skip(4).step_by(EXPERTS).for_each(|l| *l = -5.0);
    logits
}

fn run(ctx: &Context, net: &Network, x: &[f32], logits: &[f32], renormalise: bool) -> Vec<f32> {
    let rows = x.len() / HIDDEN;
    let mut routing = Routing::new(rows + 3, TOP_K, EXPERTS).unwrap();
    moe_route(ctx, &tensor(logits, EXPERTS), rows, renormalise, &mut routing).unwrap();
    let buffers = MoeBuffers::new(rows + 3, TOP_K, HIDDEN, INTERMEDIATE).unwrap();
    let y = tensor(&vec![f32::NAN; rows * HIDDEN], HIDDEN);
    let x = tensor(x, HIDDEN);
    moe_experts(ctx, &net.gate_up.1, &net.down.1, &x, rows, &routing, &buffers, &y).unwrap();
    values(&y)
}

/// Token by token, from the definition.
fn naive(net: &Network, x: &[f32], logits: &[f32], renormalise: bool) -> Vec<f32> {
    let mut y = Vec::new();
    for (x, logits) in x.chunks_exact(HIDDEN).zip(logits.chunks_exact(EXPERTS)) {
        let all: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        let mut order: Vec<usize> = (0..EXPERTS).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let shares: Vec<f64> =
            order[..TOP_K].iter().map(|&e| f64::from(logits[e]).exp() / all).collect();
        let sum = if renormalise { shares.iter().sum() } else { 1.0 };
        let mut out = vec![0.0; HIDDEN];
        for (&e, share) in order.iter().zip(&shares) {
            let first = e * 2 * INTERMEDIATE;
            let gate_up = net.gate_up.0.product(first..first + 2 * INTERMEDIATE, x);
            let (gate, up) = gate_up.split_at(INTERMEDIATE);
            let h: Vec<f32> =
                gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            for (out, d) in out.iter_mut().zip(net.down.0.product(e * HIDDEN..(e + 1) * HIDDEN, &h))
            {
                *out += share / sum * f64::from(d);
            }
        }
        y.extend(out.iter().map(|&v| v as f32));
    }
    y
}

#[test]
fn experts_equal_a_token_by_token_sum() {
    let x = Random::new(3).values(20 * HIDDEN);
    let logits = logits(20);
    for isa in isas() {
        for (activations, format) in [
            (Activations::Exact, WeightFormat::U4Min),
            (Activations::Exact, WeightFormat::Bf16),
            (Activations::Int8, WeightFormat::U4),
            (Activations::Int8, WeightFormat::I8),
            (Activations::Int8, WeightFormat::U5),
            (Activations::Int8, WeightFormat::Iq4Nl),
            (Activations::Int8, WeightFormat::Grouped(Grouped::SAMPLES[5])),
            (Activations::Int8, WeightFormat::Grouped(Grouped::SAMPLES[8])),
            (Activations::Exact, WeightFormat::Grouped(Grouped::SAMPLES[12])),
            (Activations::Exact, WeightFormat::Nvfp4),
            (Activations::Int8, WeightFormat::Nvfp4),
        ] {
            let coarse = coarse_activations(isa, format, activations);
            let tolerance = if coarse { 2e-2 } else { 1e-4 };
            let ctx = context(isa, activations, 2);
            let net = network(&ctx, format);
            for renormalise in [true, false] {
                let got = run(&ctx, &net, &x, &logits, renormalise);
                let difference = relative_difference(&got, &naive(&net, &x, &logits, renormalise));
                assert!(difference < tolerance, "{isa:?} {activations:?} {format:?}: {difference}");
            }
        }
    }
}

#[test]
fn a_token_has_the_same_bits_alone_and_with_others() {
    let x = Random::new(3).values(40 * HIDDEN);
    let logits = logits(40);
    for isa in isas() {
        for format in
            [WeightFormat::U4Min, WeightFormat::U5Min, WeightFormat::I8, WeightFormat::F16]
        {
            let (one, three) =
                (context(isa, Activations::Int8, 1), context(isa, Activations::Int8, 3));
            let net = network(&one, format);
            let whole = run(&one, &net, &x, &logits, true);
            assert_eq!(whole, run(&three, &net, &x, &logits, true));
            for t in [0, 7, 39] {
                let alone = run(
                    &three,
                    &net,
                    &x[t * HIDDEN..(t + 1) * HIDDEN],
                    &logits[t * EXPERTS..(t + 1) * EXPERTS],
                    true,
                );
                assert_eq!(alone, whole[t * HIDDEN..(t + 1) * HIDDEN], "{isa:?} {format:?} {t}");
            }
        }
    }
}

#[test]
fn routing_lists_only_chosen_experts() {
    let ctx = context(isas()[0], Activations::Int8, 2);
    let mut routing = Routing::new(20, TOP_K, EXPERTS).unwrap();
    moe_route(&ctx, &tensor(&logits(20), EXPERTS), 20, false, &mut routing).unwrap();
    assert!(!routing.chosen().contains(&4));
    assert!(routing.chosen().is_sorted());
    assert_eq!(routing.ids().len(), 20 * TOP_K);
    assert!(routing.ids().iter().all(|id| routing.chosen().contains(id)));
    assert!(routing.weights().chunks_exact(TOP_K).all(|w| w[0] >= w[1] && w[0] + w[1] < 1.0));
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let ctx = context(isas()[0], Activations::Int8, 1);
    assert!(Routing::new(1, 7, EXPERTS).is_err());
    assert!(Routing::new(1, 0, EXPERTS).is_err());
    let mut routing = Routing::new(4, TOP_K, EXPERTS).unwrap();
    assert!(moe_route(&ctx, &zeros(4, 5), 4, true, &mut routing).is_err());
    assert!(moe_route(&ctx, &zeros(5, EXPERTS), 5, true, &mut routing).is_err());
    moe_route(&ctx, &zeros(4, EXPERTS), 4, true, &mut routing).unwrap();
    let net = network(&ctx, WeightFormat::U4);
    let buffers = MoeBuffers::new(4, TOP_K, HIDDEN, INTERMEDIATE).unwrap();
    let (x, y) = (zeros(4, HIDDEN), zeros(4, HIDDEN));
    let call = |x: &Tensor, rows, y: &Tensor| {
        moe_experts(&ctx, &net.gate_up.1, &net.down.1, x, rows, &routing, &buffers, y)
            .map_err(|e| e.to_string())
    };
    assert_eq!(call(&x, 4, &y), Ok(()));
    let wrong = "moe_experts: routing must be of 3 rows, got of 4 rows".to_owned();
    assert_eq!(call(&x, 3, &y), Err(wrong));
    assert!(call(&zeros(4, 32), 4, &y).is_err());
    assert!(call(&x, 4, &zeros(3, HIDDEN)).is_err());
}

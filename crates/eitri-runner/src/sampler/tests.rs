//! The sampler against its definition, written plainly in f64 with full sorts.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{Context, ContextConfig};
use proptest::prelude::*;

use super::*;

/// What the definition says about one row.
enum Reference {
    Greedy(TokenId),
    /// Probability of each token.
    Random(Vec<f64>),
    /// A filter's threshold falls on a token: rounding may decide either way.
    Borderline,
}

const NEAR: f64 = 1e-5;

fn adjusted(logits: &[f32], params: &SamplingParams, prompt: &[u32], output: &[u32]) -> Vec<f32> {
    let mut row = logits.to_vec();
    if output.len() < params.min_tokens as usize {
        for &t in params.eos_token_ids.iter().chain(&params.stop_token_ids) {
            row[t as usize] = f32::NEG_INFINITY;
        }
    }
    for &(t, bias) in &params.logit_bias {
        row[t as usize] += bias;
    }
    for (t, x) in row.iter_mut().enumerate() {
        let count = output.iter().filter(|&&o| o as usize == t).count();
        if count > 0 || prompt.contains(&(t as u32)) {
            let r = params.repetition_penalty;
            *x = if *x > 0.0 { *x / r } else { *x * r };
        }
        *x -= params.frequency_penalty * count as f32;
        *x -= if count > 0 { params.presence_penalty } else { 0.0 };
    }
    row
}

fn reference(row: &[f32], params: &SamplingParams) -> Reference {
    let n = row.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).unwrap().then(a.cmp(&b)));
    if params.is_greedy() {
        return Reference::Greedy(order[0] as u32);
    }
    let largest = f64::from(row[order[0]]);
    let t = f64::from(params.temperature.max(0.01));
    let mut weight: Vec<f64> = row.iter().map(|&x| ((f64::from(x) - largest) / t).exp()).collect();
    let min_p = f64::from(params.min_p);
    if weight.iter().any(|w| min_p > 0.0 && *w < 1.0 && (w / min_p - 1.0).abs() < NEAR) {
        return Reference::Borderline;
    }
    weight.iter_mut().filter(|w| **w < min_p).for_each(|w| *w = 0.0);
    let k = params.top_k as usize;
    if k > 0 && k < n {
        let kth = row[order[k - 1]];
        for (w, &x) in weight.iter_mut().zip(row) {
            if x < kth {
                *w = 0.0;
            }
        }
    }
    let total: f64 = weight.iter().sum();
    let mut cumulative = 0.0;
    for &id in &order {
        let share = weight[id] / total;
        if params.top_p < 1.0 {
            if cumulative > 0.0 && (cumulative - f64::from(params.top_p)).abs() < NEAR {
                return Reference::Borderline;
            }
            if cumulative > 0.0 && cumulative >= f64::from(params.top_p) {
                weight[id] = 0.0;
            }
        }
        cumulative += share;
    }
    let total: f64 = weight.iter().sum();
    Reference::Random(weight.iter().map(|w| w / total).collect())
}

fn choose_alone(
    logits: &[f32],
    params: &SamplingParams,
    prompt: &[u32],
    output: &[u32],
) -> Result<Choice, RowError> {
    let mut history = TokenHistory::default();
    history.reset(prompt, output, 0);
    let mut scratch = Scratch { raw: Vec::new(), draw: DrawScratch::new(logits.len()) };
    let task = RowTask::Sample { params, history: &history, generated: output.len() as u64 };
    choose(&mut logits.to_vec(), &task, &mut scratch)
}

fn any_params(vocab: u32) -> impl Strategy<Value = SamplingParams> {
    let temperature = prop_oneof![1 => Just(0.0_f32), 1 => Just(0.005), 6 => 0.05_f32..2.0];
    let top_k = prop_oneof![2 => Just(0), 2 => 1..30_u32, 1 => 1..2100_u32];
    let top_p = prop_oneof![Just(1.0_f32), 0.01_f32..1.0, 0.9_f32..1.0];
    let min_p = prop_oneof![Just(0.0_f32), 0.0_f32..1.0, 0.0_f32..0.1];
    let penalties = (
        prop_oneof![Just(1.0_f32), 0.5_f32..2.0],
        prop_oneof![Just(0.0_f32), -2.0_f32..2.0],
        prop_oneof![Just(0.0_f32), -2.0_f32..2.0],
    );
    let bias = prop::collection::vec((0..vocab, -20.0_f32..20.0), 0..4);
    let ends = (0..4_u32, 0..vocab, prop::option::of(0..3_u32));
    (temperature, top_k, top_p, min_p, penalties, bias, ends, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, penalties, logit_bias, ends, seed)| SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty: penalties.0,
            presence_penalty: penalties.1,
            frequency_penalty: penalties.2,
            logit_bias,
            min_tokens: ends.0,
            stop_token_ids: vec![ends.1],
            logprobs: ends.2,
            seed: Some(seed),
            ..SamplingParams::default()
        },
    )
}

fn any_case() -> impl Strategy<Value = (Vec<f32>, SamplingParams, Vec<u32>, Vec<u32>)> {
    prop_oneof![2 => 2..40_usize, 1 => 2..2000_usize].prop_flat_map(|vocab| {
        let token = 0..vocab as u32;
        // A coarse grid makes ties common.
        let logit = prop_oneof![Just(0.5_f32), -8.0_f32..8.0];
        (
            prop::collection::vec(logit, vocab),
            any_params(vocab as u32),
            prop::collection::vec(token.clone(), 1..20),
            prop::collection::vec(token, 0..6),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_choice_is_the_one_of_the_definition((logits, params, prompt, output) in any_case()) {
        let row = adjusted(&logits, &params, &prompt, &output);
        let choice = choose_alone(&logits, &params, &prompt, &output).unwrap();
        match reference(&row, &params) {
            Reference::Greedy(token) => prop_assert_eq!(choice.token, token),
            Reference::Random(probability) => {
                let token = choice.token as usize;
                prop_assert!(probability[token] > 0.0, "token {} was filtered out", token);
                let before: f64 = probability[..token].iter().sum();
                let u = philox::uniform(params.seed.unwrap(), output.len() as u64);
                prop_assert!(
                    u > before - NEAR && u < before + probability[token] + NEAR,
                    "{u} is outside [{before}, +{}]", probability[token],
                );
            }
            Reference::Borderline => {}
        }
        prop_assert_eq!(choice.logprobs.is_some(), params.logprobs.is_some());
        if let Some(logprobs) = choice.logprobs {
            let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
            let raw = f64::from(logits[choice.token as usize]) - sum.ln();
            prop_assert!((f64::from(logprobs.logprob) - raw).abs() < 1e-5);
        }
    }
}

#[test]
fn a_vocabulary_of_one_token_is_always_that_token() {
    for temperature in [0.0, 1.0] {
        let params = SamplingParams { temperature, seed: Some(3), ..SamplingParams::default() };
        assert_eq!(choose_alone(&[-4.0], &params, &[0], &[]).unwrap().token, 0);
    }
}

/// Draws many times and compares counts with the definition's probabilities.
#[test]
fn frequencies_follow_the_distribution() {
    const DRAWS: u64 = 20_000;
    let logits: Vec<f32> = (0..40).map(|i| ((i * 17 % 40) as f32 * 0.4).sin() * 3.0).collect();
    let base = SamplingParams { temperature: 0.8, ..SamplingParams::default() };
    let cases = [
        base.clone(),
        SamplingParams { temperature: 1.7, ..base.clone() },
        SamplingParams { top_k: 7, ..base.clone() },
        SamplingParams { top_p: 0.7, ..base.clone() },
        SamplingParams { min_p: 0.2, ..base.clone() },
        SamplingParams { top_k: 20, top_p: 0.95, temperature: 0.6, ..base.clone() },
        SamplingParams { top_k: 12, top_p: 0.8, min_p: 0.05, ..base },
    ];
    let mut scratch = DrawScratch::new(logits.len());
    for (seed, case) in cases.into_iter().enumerate() {
        let params = SamplingParams { seed: Some(seed as u64 + 11), ..case };
        let Reference::Random(probability) = reference(&logits, &params) else {
            panic!("choose a case that is not borderline: {params:?}");
        };
        let mut counts = vec![0_u64; logits.len()];
        for index in 0..DRAWS {
            let token = draw::draw(&mut logits.clone(), &params, index, &mut scratch).unwrap();
            counts[token as usize] += 1;
        }
        let (mut chi, mut bins, mut rare, mut rare_expected) = (0.0, 0, 0.0, 0.0);
        for (&count, &p) in counts.iter().zip(&probability) {
            let expected = p * DRAWS as f64;
            if expected < 8.0 {
                assert!(p > 0.0 || count == 0, "a filtered token was drawn");
                rare += count as f64;
                rare_expected += expected;
            } else {
                chi += (count as f64 - expected).powi(2) / expected;
                bins += 1;
            }
        }
        if rare_expected > 0.0 {
            assert!((rare - rare_expected).abs() < 5.0 * rare_expected.sqrt().max(1.0));
        }
        // Mean plus 3.5 standard deviations of chi-square: a false alarm in some 1e-3 of seeds,
        // and the seeds are fixed.
        let freedom = f64::from(bins - 1).max(1.0);
        assert!(chi < freedom + 3.5 * (2.0 * freedom).sqrt(), "{params:?}: chi-square {chi}");
    }
}

fn batch_of(rows: &[Vec<f32>]) -> Tensor {
    let vocab = rows[0].len();
    Tensor::from_vec(rows.concat(), (rows.len(), vocab), &Device::Cpu).unwrap()
}

/// Thirty rows with parameters of all kinds.
fn mixed_rows(vocab: usize) -> (Vec<Vec<f32>>, Vec<Arc<SamplingParams>>) {
    let rows = (0..30).map(|r| {
        (0..vocab).map(|i| ((i * 31 + r * 97) % 1009) as f32 * 0.01 - (i % 7) as f32).collect()
    });
    let params = (0..30_u64).map(|r| {
        Arc::new(SamplingParams {
            temperature: [0.0, 0.7, 1.3][r as usize % 3],
            top_k: [0, 20][r as usize / 3 % 2],
            top_p: [1.0, 0.9][r as usize / 6 % 2],
            min_p: [0.0, 0.02][r as usize / 12 % 2],
            repetition_penalty: [1.0, 1.2][r as usize / 2 % 2],
            logprobs: (r % 5 == 0).then_some(3),
            seed: Some(r * 1000),
            ..SamplingParams::default()
        })
    });
    (rows.collect(), params.collect())
}

#[test]
fn a_row_gives_the_same_choice_alone_and_in_any_batch() {
    let vocab = 3000;
    let (rows, params) = mixed_rows(vocab);
    let mut history = TokenHistory::default();
    history.reset(&[1, 2, 3, 500], &[7, 7, 9], 0);
    let run = |threads: usize, picked: &[usize]| -> Vec<Choice> {
        let ctx = Context::new(&ContextConfig { threads, ..ContextConfig::default() }).unwrap();
        let mut sampler = Sampler::new(vocab, rows.len(), threads);
        let chosen: Vec<Vec<f32>> = picked.iter().map(|&r| rows[r].clone()).collect();
        let task = |i: usize| RowTask::Sample {
            params: &params[picked[i]],
            history: &history,
            generated: 3,
        };
        let outcomes = sampler.run(&ctx, &batch_of(&chosen), picked.len(), &task).unwrap();
        outcomes.iter_mut().map(|o| o.take().unwrap().unwrap()).collect()
    };
    let alone: Vec<Choice> = (0..rows.len()).map(|r| run(1, &[r]).remove(0)).collect();
    let backwards: Vec<usize> = (0..rows.len()).rev().collect();
    for threads in [1, 3] {
        let mut together = run(threads, &backwards);
        together.reverse();
        assert_eq!(together, alone);
    }
}

#[test]
fn a_bad_row_is_named_and_the_others_go_on() {
    let vocab = 100;
    let mut rows = vec![vec![0.5; vocab]; 5];
    rows[1][42] = f32::NAN;
    rows[2][7] = f32::INFINITY;
    rows[4][3] = 2.0;
    let greedy = SamplingParams::greedy(4);
    let bias = SamplingParams { logit_bias: vec![(100, 1.0)], ..SamplingParams::greedy(4) };
    let history = TokenHistory::default();
    let ctx = Context::new(&ContextConfig::default()).unwrap();
    let mut sampler = Sampler::new(vocab, 8, 1);
    let task = |i: usize| match i {
        0 => RowTask::Score { token: 5, top: 2 },
        3 => RowTask::Sample { params: &bias, history: &history, generated: 0 },
        _ => RowTask::Sample { params: &greedy, history: &history, generated: 0 },
    };
    let got = sampler.run(&ctx, &batch_of(&rows), 5, &task).unwrap();
    let score = got[0].take().unwrap().unwrap();
    assert_eq!((score.token, score.logprobs.unwrap().rank), (5, 6));
    let message = |i: usize| got[i].as_ref().unwrap().as_ref().unwrap_err().to_string();
    assert_eq!(message(1), "the model's logit of token 42 is NaN");
    assert_eq!(message(2), "the model's logit of token 7 is inf");
    assert_eq!(message(3), "logit_bias names token 100, but token ids end at 99");
    assert_eq!(got[4], Some(Ok(Choice { token: 3, logprobs: None })));
    assert!(sampler.run(&ctx, &batch_of(&rows), 9, &task).is_err());
    let wrong = Tensor::zeros((5, vocab), DType::BF16, &Device::Cpu).unwrap();
    assert!(sampler.run(&ctx, &wrong, 5, &task).is_err());
}

#[test]
fn forbidding_every_token_is_an_error() {
    let params = SamplingParams {
        min_tokens: 3,
        stop_token_ids: vec![0, 1],
        seed: Some(1),
        ..SamplingParams::default()
    };
    assert_eq!(choose_alone(&[1.0, 2.0], &params, &[0], &[]), Err(RowError::NothingLeft));
}

//! The runner over a model whose logits are known.

use std::sync::{Arc, Mutex};

use eitri_engine::{
    Admission, BlockCopy, BlockId, SamplingParams, ScheduledRow, SequenceId, StepLimit,
};
use eitri_kernels::{KvLayer, RopeScaling};
use eitri_models::{ModelError, ModelInput};

use super::*;

const VOCAB: usize = 50;
/// Logits after this token are NaN.
const POISON: u32 = 13;

/// The most likely token after `token` at `position`.
fn next(token: u32, position: usize) -> u32 {
    ((token as usize * 3 + position) % VOCAB) as u32
}

/// Tokens and rows of logits of each call.
type Calls = Arc<Mutex<Vec<(usize, usize)>>>;

struct Scripted {
    config: ModelConfig,
    calls: Calls,
}

impl Model for Scripted {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn forward(
        &mut self,
        _: &Context,
        input: &ModelInput<'_>,
        _: &[KvLayer],
        logits: &Tensor,
    ) -> Result<usize, ModelError> {
        let rows = input.deadline.map_or(input.tokens.len(), |deadline| deadline.least_rows);
        self.calls.lock().unwrap().push((input.tokens.len(), input.logit_rows.len()));
        for span in input.spans {
            let rows = span.row..span.row + span.len;
            for (position, row) in (span.context - span.len..).zip(rows) {
                assert_eq!(input.positions[row] as usize, position);
                let block = input.block_tables[span.table + position / 16] as usize;
                assert_eq!(input.slots[row] as usize, block * 16 + position % 16);
            }
        }
        eitri_kernels::write::<f32, _>(logits, |data| {
            for (values, &row) in data.chunks_mut(VOCAB).zip(input.logit_rows) {
                let (token, position) = (input.tokens[row as usize], input.positions[row as usize]);
                values.fill(if token == POISON { f32::NAN } else { 0.0 });
                values[next(token, position as usize) as usize] += 5.0;
            }
        })?;
        Ok(rows)
    }
}

fn runner() -> (Runner, Calls) {
    let config = ModelConfig {
        architecture: eitri_models::architectures()[0],
        hidden_size: 8,
        layers: 2,
        heads: 1,
        kv_heads: 1,
        head_dim: 8,
        intermediate_size: 8,
        vocab_size: VOCAB,
        max_position_embeddings: 400,
        rms_norm_eps: 1e-6,
        rope_theta: 1e4,
        rope_scaling: RopeScaling::None,
        tie_word_embeddings: true,
        qk_norm: false,
        moe: None,
        bos_token_id: None,
        eos_token_ids: Vec::new(),
    };
    let plan = MemoryPlan {
        weights: 0,
        kv_cache: 0,
        kv_dtype: KvDtype::Bf16,
        workspace: 0,
        sampler: 0,
        other: 0,
        budget: None,
        available: None,
        num_blocks: 40,
        block_size: 16,
        max_model_len: 400,
        reduced_from: None,
    };
    let settings = RunnerConfig {
        threads: 1,
        max_num_seqs: 4,
        max_num_batched_tokens: 200,
        ..RunnerConfig::default()
    };
    let calls = Calls::default();
    let model = Box::new(Scripted { config, calls: Arc::clone(&calls) });
    let ctx = Context::new(&ContextConfig::default()).unwrap();
    (Runner::new(ctx, model, &settings, &plan).unwrap(), calls)
}

/// Adds a new sequence with all its tokens computed in this step.
fn add(plan: &mut StepPlan, id: u64, tokens: Vec<u32>, params: SamplingParams) {
    let (len, blocks) = (tokens.len(), tokens.len().div_ceil(16));
    plan.rows.push(ScheduledRow {
        id: SequenceId(id),
        start: 0,
        len,
        token_offset: plan.tokens.len(),
        block_offset: plan.new_blocks.len(),
        block_count: blocks,
        sample: true,
    });
    let first = plan.new_blocks.len() as u32;
    plan.new_blocks.extend((first..first + blocks as u32).map(BlockId));
    plan.tokens.extend(&tokens);
    let params = Arc::new(params);
    plan.admitted.push(Admission { id: SequenceId(id), tokens, prompt_len: len, params });
}

fn run(runner: &mut Runner, plan: &StepPlan) -> StepOutput {
    let mut output = StepOutput::default();
    runner.submit(plan).unwrap();
    runner.collect(&mut output).unwrap();
    output
}

#[test]
fn results_are_in_the_order_of_the_rows_and_scored_prompts_run_in_pieces() {
    let (mut runner, calls) = runner();
    let scored =
        SamplingParams { prompt_logprobs: Some(1), logprobs: Some(0), ..SamplingParams::greedy(5) };
    let prompt: Vec<u32> = (0..150).map(|i| i % 12).collect();
    let mut plan = StepPlan { step: 1, ..StepPlan::default() };
    add(&mut plan, 1, vec![1, 2], SamplingParams::greedy(5));
    add(&mut plan, 2, prompt.clone(), scored);
    add(&mut plan, 3, vec![3; 17], SamplingParams::greedy(5));
    let output = run(&mut runner, &plan);
    assert_eq!(*calls.lock().unwrap(), [(64, 64), (64, 64), (22, 22), (19, 2)]);
    let sampled: Vec<_> = output.sampled.iter().map(|s| (s.id.0, s.token)).collect();
    assert_eq!(sampled, [(1, next(2, 1)), (2, next(prompt[149], 149)), (3, next(3, 16))]);
    assert_eq!(output.sampled[1].logprobs.as_ref().unwrap().rank, 1);
    let positions: Vec<_> = output.prompt_logprobs.iter().map(|p| p.position).collect();
    assert_eq!(positions, (1..150).collect::<Vec<_>>());
    for score in &output.prompt_logprobs {
        let best = next(prompt[score.position - 1], score.position - 1);
        assert_eq!(score.logprobs.top[0].0, best);
        assert_eq!(score.logprobs.rank == 1, prompt[score.position] == best);
    }
}

/// The scripted model has never more time than for the rows that a limit asks for.
#[test]
fn a_step_that_is_cut_goes_on_where_it_stopped() {
    let (mut runner, calls) = runner();
    let prompt: Vec<u32> = (0..40).map(|i| i % 12).collect();
    let mut plan = StepPlan { step: 1, ..StepPlan::default() };
    add(&mut plan, 1, vec![1], SamplingParams::greedy(5));
    add(&mut plan, 2, prompt.clone(), SamplingParams::greedy(5));
    add(&mut plan, 3, vec![3; 17], SamplingParams::greedy(5));
    plan.limit = Some(StepLimit { time: Duration::ZERO, tokens: 17 });
    let output = run(&mut runner, &plan);
    assert_eq!((output.computed, output.sampled.len(), output.sampled[0].id.0), (Some(17), 1, 1));
    let row = |id, start, tokens: &[u32], token_offset| ScheduledRow {
        id: SequenceId(id),
        start,
        len: tokens.len(),
        token_offset,
        block_offset: 0,
        block_count: 0,
        sample: true,
    };
    let rest = StepPlan {
        step: 2,
        rows: vec![row(2, 16, &prompt[16..], 0), row(3, 0, &[3; 17], 24)],
        tokens: [&prompt[16..], &[3; 17]].concat(),
        ..StepPlan::default()
    };
    let output = run(&mut runner, &rest);
    let sampled: Vec<_> = output.sampled.iter().map(|s| (s.id.0, s.token)).collect();
    assert_eq!(sampled, [(2, next(prompt[39], 39)), (3, next(3, 16))]);
    assert_eq!(output.computed, None);
    assert_eq!(calls.lock().unwrap().len(), 2);
    let gap = StepPlan { step: 3, rows: vec![row(3, 16, &[3], 0)], tokens: vec![3], ..rest };
    assert!(runner.submit(&gap).unwrap_err().message.contains("expected 17"));
}

#[test]
fn a_row_that_fails_does_not_disturb_the_others() {
    let (mut runner, calls) = runner();
    let scored = SamplingParams { prompt_logprobs: Some(0), ..SamplingParams::greedy(5) };
    let mut plan = StepPlan { step: 1, ..StepPlan::default() };
    add(&mut plan, 1, vec![1, POISON], SamplingParams::greedy(5));
    add(&mut plan, 2, vec![POISON; 100], scored);
    add(&mut plan, 3, vec![4, VOCAB as u32], SamplingParams::greedy(5));
    add(&mut plan, 4, vec![5], SamplingParams::greedy(5));
    let output = run(&mut runner, &plan);
    // The second row stops after its first piece, the third is not computed at all.
    assert_eq!(*calls.lock().unwrap(), [(64, 64), (3, 2)]);
    let failed: Vec<_> = output.failed.iter().map(|f| (f.id.0, f.message.as_str())).collect();
    let nan = "the model's logit of token 0 is NaN";
    let outside = "token 50 at position 1 is outside the vocabulary of 50";
    assert_eq!(failed, [(1, nan), (2, nan), (3, outside)]);
    assert_eq!((output.sampled.len(), output.sampled[0].id.0), (1, 4));
}

/// Makes a good plan a bad one.
type Spoil = fn(&mut StepPlan);

#[test]
fn plans_that_do_not_fit_are_errors_and_the_next_one_works() {
    let good = || {
        let mut plan = StepPlan { step: 1, ..StepPlan::default() };
        add(&mut plan, 1, vec![1; 20], SamplingParams::greedy(5));
        plan
    };
    let cases: [(&str, Spoil); 8] = [
        ("is empty or reaches past", |p| p.rows[0].len = 0),
        ("is empty or reaches past", |p| p.rows[0].token_offset = usize::MAX),
        ("is empty or reaches past", |p| p.rows[0].block_count = 9),
        ("max_num_batched_tokens 200", |p| p.rows[0].len = usize::MAX),
        ("computes up to position", |p| p.rows[0].start = usize::MAX),
        ("computes up to position", |p| p.rows[0].block_count = 1),
        ("is not held", |p| p.admitted.clear()),
        ("below 40 blocks", |p| {
            p.copies.push(BlockCopy { from: BlockId(0), to: BlockId(40), tokens: 1 });
        }),
    ];
    let (mut runner, _) = runner();
    for (message, spoil) in cases {
        let mut plan = good();
        spoil(&mut plan);
        let error = runner.submit(&plan).unwrap_err();
        assert!(error.message.contains(message), "{error}");
        let mut output = StepOutput::default();
        assert!(runner.collect(&mut output).is_err());
        let mut next = good();
        next.released.push(SequenceId(1));
        assert_eq!(run(&mut runner, &next).sampled.len(), 1);
        run(&mut runner, &StepPlan { released: vec![SequenceId(1)], ..StepPlan::default() });
        assert_eq!(runner.sequences.len(), 0);
    }
    let mut crowd = StepPlan { step: 1, ..StepPlan::default() };
    (0..5).for_each(|id| add(&mut crowd, id, vec![1], SamplingParams::greedy(5)));
    assert!(runner.submit(&crowd).unwrap_err().message.contains("max_num_seqs"));
}

//! Loads a model and prints its greedy continuation of token ids, with nothing else around it:
//! `cargo run --release -p eitri-models --example greedy_ids -- MODEL exact|int8 COUNT ID...`

use std::{path::Path, time::Instant};

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{Activations, Context, ContextConfig, KvLayer, ops::SequenceSpan, read};
use eitri_models::{LoadOptions, Model, ModelError, ModelFiles, ModelInput, load};

const BLOCK: usize = 16;

struct Session {
    ctx: Context,
    model: Box<dyn Model>,
    kv: Vec<KvLayer>,
    logits: Tensor,
    table: Vec<u32>,
}

impl Session {
    /// The most likely token after `tokens[..end]`, of which those from `start` on are new.
    fn next(&mut self, tokens: &[u32], start: usize) -> Result<u32, ModelError> {
        let (end, len) = (tokens.len(), tokens.len() - start);
        let positions: Vec<u32> = (start as u32..end as u32).collect();
        let input = ModelInput {
            tokens: &tokens[start..],
            positions: &positions,
            // Blocks are in order, so that the slot of a token is its position.
            slots: &positions,
            spans: &[SequenceSpan { row: 0, len, context: end, table: 0 }],
            block_tables: &self.table,
            logit_rows: &[len as u32 - 1],
            deadline: None,
        };
        self.model.forward(&self.ctx, &input, &self.kv, &self.logits)?;
        let best = read::<f32, _>(&self.logits, |logits| {
            let first = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
            (0..logits.len()).reduce(first).unwrap_or(0)
        })?;
        Ok(best as u32)
    }
}

#[allow(clippy::print_stdout, reason = "a program whose output is its result")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, mode, count, ids @ ..] = arguments.as_slice() else {
        return Err("usage: greedy_ids MODEL exact|int8 COUNT ID...".into());
    };
    let activations = if mode == "exact" { Activations::Exact } else { Activations::Int8 };
    let (count, mut tokens) = (
        count.parse::<usize>()?,
        ids.iter().map(|id| id.parse()).collect::<Result<Vec<u32>, _>>()?,
    );
    let threads = std::thread::available_parallelism()?.get();
    let ctx = Context::new(&ContextConfig { threads, activations, ..ContextConfig::default() })?;
    let start = Instant::now();
    let files = ModelFiles::open(Path::new(path))?;
    let opened = start.elapsed();
    let (prompt, total) = (tokens.len(), tokens.len() + count);
    let options = LoadOptions {
        max_rows: prompt.max(1),
        max_logit_rows: 1,
        max_positions: total,
        progress: None,
    };
    let plan = files.weight_plan(ctx.isa())?;
    println!("weights: {} bytes in files, {} packed", plan.file_bytes(), plan.memory_bytes());
    let model = load(&files, &ctx, &options)?;
    println!("opened in {opened:.1?}, loaded after {:.1?}", start.elapsed());
    let config = files.config();
    let blocks = total.div_ceil(BLOCK);
    let kv = (0..config.layers)
        .map(|_| KvLayer::new(blocks, BLOCK, config.head_shape(), DType::BF16))
        .collect::<Result<Vec<_>, _>>()?;
    let logits = Tensor::zeros((1, config.vocab_size), DType::F32, &Device::Cpu)?;
    let table = (0..blocks as u32).collect();
    let mut session = Session { ctx, model, kv, logits, table };
    let start = Instant::now();
    let first = session.next(&tokens, 0)?;
    tokens.push(first);
    let prefill = start.elapsed();
    let start = Instant::now();
    while tokens.len() < total {
        let next = session.next(&tokens, tokens.len() - 1)?;
        tokens.push(next);
    }
    let rate = (count - 1) as f64 / start.elapsed().as_secs_f64();
    println!("{prompt} prompt tokens in {prefill:.1?}, then {rate:.1} tokens/s");
    println!("{:?}", &tokens[prompt..]);
    Ok(())
}

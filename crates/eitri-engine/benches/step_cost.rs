//! What the engine itself costs per step: 64 decoding sequences over an executor that does nothing
//! but answer. Run with `cargo bench -p eitri-engine`.
#![allow(clippy::print_stdout, reason = "printing the result is what this program is for")]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use eitri_engine::{
    EngineConfig, EngineCore, Executor, ExecutorError, Request, Sampled, SamplingParams,
    SequenceId, StepOutput, StepPlan, TokenStream,
};

const SEQUENCES: usize = 64;
const WARM_UP: usize = 500;
const ROUNDS: usize = 20;
const STEPS: u32 = 500;

/// Samples token 1 for every row.
#[derive(Default)]
struct Instantly {
    step: u64,
    rows: Vec<SequenceId>,
}

impl Executor for Instantly {
    fn submit(&mut self, plan: &StepPlan) -> Result<(), ExecutorError> {
        self.step = plan.step;
        self.rows.clear();
        self.rows.extend(plan.rows.iter().filter(|row| row.sample).map(|row| row.id));
        Ok(())
    }

    fn collect(&mut self, output: &mut StepOutput) -> Result<(), ExecutorError> {
        output.step = self.step;
        let sampled = self.rows.iter().map(|&id| Sampled { id, token: 1, logprobs: None });
        output.sampled.extend(sampled);
        Ok(())
    }
}

/// Time per step without that of the clients.
fn measure(core: &mut EngineCore, clients: &mut [TokenStream]) -> Result<Duration, Box<dyn Error>> {
    let mut spent = Duration::ZERO;
    for _ in 0..STEPS {
        let begun = Instant::now();
        core.step()?;
        spent += begun.elapsed();
        for client in &mut *clients {
            while client.try_next().is_some() {}
        }
    }
    Ok(spent / STEPS)
}

fn main() -> Result<(), Box<dyn Error>> {
    for max_step in [None, Some(Duration::from_millis(50))] {
        let config = EngineConfig { max_step, ..EngineConfig::new(60_000, 1 << 15) };
        let mut core = EngineCore::new(config, Box::new(Instantly::default()))?;
        let mut clients = Vec::new();
        for client in 0..SEQUENCES as u32 {
            let prompt = (0..512).map(|at| at + client * 1000).collect();
            clients.push(core.submit(Request::new(prompt, SamplingParams::greedy(20_000)))?);
        }
        for _ in 0..WARM_UP {
            core.step()?;
            for client in &mut clients {
                while client.try_next().is_some() {}
            }
        }
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            times.push(measure(&mut core, &mut clients)?);
        }
        times.sort_unstable();
        println!(
            "{SEQUENCES} decoding sequences, max_step {max_step:?}: median {:?}, best {:?} per step",
            times[ROUNDS / 2],
            times[0],
        );
    }
    Ok(())
}

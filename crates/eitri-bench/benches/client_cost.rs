//! Whether the client is the bottleneck, and what it costs: 256 streams of a simulated device that
//! takes a step at a fixed pace, 20,000 tokens per second in all. Run with
//! `cargo bench -p eitri-bench`. `cargo bench -p eitri-bench -- serve 5` only serves, in steps of
//! 5 ms, and prints the address, for `tests/measure/bench_clients.py`.
//!
//! The client runs on one thread, whose CPU time is read; the server has threads of its own. Gaps
//! between tokens are compared with the gaps between the device's steps.
#![allow(clippy::print_stdout, reason = "printing the result is what this program is for")]

use std::{
    error::Error,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use eitri_bench::{
    Api, Arrival, Certificates, Compat, Limits, Progress, RequestOptions, RunControl, RunOptions,
    dataset::Sample,
    outcome::{BenchOutcome, RunSettings},
    run,
};
use eitri_engine::{Engine, EngineConfig, SimExecutor, StepPlan};
use eitri_server::{AppState, GenerationDefaults, ServedModel, ServerConfig};
use eitri_text::{AnswerFormat, Tokenizer};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Map;
use tokio::sync::{oneshot, watch};

const STREAMS: usize = 256;
const TOKENS_PER_SECOND: u32 = 20_000;
/// Per stream.
const TOKENS: usize = 400;
const PROMPT: usize = 16;
const CONTEXT: usize = 1024;
const BLOCK_SIZE: usize = 16;

/// Seconds of CPU time of this thread.
fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Moments at which the device began its steps.
type Steps = Arc<Mutex<Vec<Instant>>>;

/// Sleeps until the next step is due.
fn pace(
    steps: Steps,
    interval: Duration,
) -> impl FnMut(&StepPlan) -> Result<(), String> + Send + 'static {
    let mut due = Instant::now();
    move |_| {
        let now = Instant::now();
        let after_pause = now > due + interval;
        // A step that is called for late ends at once; the first after a pause takes its time.
        due = if after_pause { now + interval } else { (due + interval).max(now) };
        thread::sleep(due.saturating_duration_since(Instant::now()));
        steps.lock().map_err(|error| error.to_string())?.push(Instant::now());
        Ok(())
    }
}

/// A server with the vocabulary of the bundled model and a simulated device in the model's place.
fn state(steps: Steps, interval: Duration) -> Result<AppState, Box<dyn Error + Send + Sync>> {
    let robot = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/robot");
    let tokenizer = Arc::new(Tokenizer::from_dir(&robot)?);
    let blocks = STREAMS * (CONTEXT / BLOCK_SIZE);
    let mut config = EngineConfig::new(blocks, CONTEXT);
    config.max_num_seqs = STREAMS;
    config.max_num_batched_tokens = STREAMS * PROMPT;
    let vocab_size = tokenizer.base_vocab_size() as u32;
    let device = SimExecutor::new(vocab_size, blocks, config.block_size);
    let model = ServedModel {
        name: "sim".to_owned(),
        aliases: Vec::new(),
        root: "sim".to_owned(),
        vocab_size: tokenizer.vocab_size() as u32,
        tokenizer,
        chat_template: None,
        answer_format: AnswerFormat::default(),
        max_model_len: CONTEXT,
        kv_block_size: config.block_size,
        defaults: GenerationDefaults::default(),
    };
    let engine = Engine::spawn(config, Box::new(device.on_step(pace(steps, interval))))?;
    Ok(AppState::new(engine, model, ServerConfig::default()))
}

/// A server in threads of its own, and what ends it.
fn start_server(
    steps: Steps,
    interval: Duration,
) -> Result<(String, oneshot::Sender<()>), Box<dyn Error>> {
    let (send_address, address) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let state = state(steps, interval).map_err(|error| error.to_string())?;
    thread::spawn(move || -> std::io::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            // Nobody waits for it any more if the measurement has failed.
            let _ = send_address.send(listener.local_addr()?);
            let shutdown = async {
                let _ = stopped.await;
            };
            eitri_server::serve(listener, state, shutdown, Duration::ZERO).await
        })
    });
    Ok((format!("http://{}", address.recv()?), stop))
}

fn options(base_url: &str) -> RunOptions {
    RunOptions {
        certificates: Certificates::Checked,
        base_url: base_url.to_owned(),
        limits: Limits::default(),
        request: RequestOptions {
            compat: Compat::V0_32,
            api: Api::Completions,
            endpoint: "/v1/completions".to_owned(),
            model: "sim".to_owned(),
            logprobs: None,
            ignore_eos: true,
            extra_body: Map::new(),
            headers: Vec::new(),
            api_key: None,
            request_id_prefix: None,
        },
        ready_timeout: None,
        num_warmups: STREAMS,
        settings: RunSettings { percentiles: vec![1.0, 99.0], ..RunSettings::default() },
    }
}

fn measure(base_url: &str) -> Result<(BenchOutcome, f64), Box<dyn Error>> {
    let sample = |index| Sample {
        prompt: format!("{index:0PROMPT$}"),
        prompt_tokens: PROMPT,
        output_tokens: TOKENS,
    };
    let samples: Vec<Sample> = (0..STREAMS).map(sample).collect();
    let arrivals = vec![Arrival { time: 0.0, rate: f64::INFINITY }; STREAMS];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (_stop, stop) = watch::channel(false);
    let control = RunControl { progress: Arc::new(Progress::default()), stop };
    let before = thread_seconds();
    let work = run(options(base_url), samples, &arrivals, None, &control, |_| {});
    let outcome = runtime.block_on(work)?;
    let spent = thread_seconds() - before;
    Ok((outcome, spent / control.progress.tokens() as f64))
}

/// Mean and both ends in milliseconds.
fn describe(mut gaps: Vec<f64>) -> String {
    gaps.sort_unstable_by(f64::total_cmp);
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let at = |share: f64| gaps[((gaps.len() - 1) as f64 * share) as usize] * 1e3;
    format!("mean {:.3} ms, P1 {:.3} ms, P99 {:.3} ms", mean * 1e3, at(0.01), at(0.99))
}

fn main() -> Result<(), Box<dyn Error>> {
    let steps = Steps::default();
    let mut arguments = std::env::args().skip_while(|argument| argument != "serve").skip(1);
    if let Some(milliseconds) = arguments.next() {
        let interval = Duration::from_millis(milliseconds.parse()?);
        let (base_url, _stop) = start_server(steps, interval)?;
        println!("{base_url}");
        loop {
            thread::park();
        }
    }
    let interval = Duration::from_secs(1) * STREAMS as u32 / TOKENS_PER_SECOND;
    let (base_url, _stop) = start_server(Arc::clone(&steps), interval)?;
    let (outcome, cost) = measure(&base_url)?;
    let metrics = &outcome.metrics;
    println!(
        "{STREAMS} streams, {} completed, {:.0} of {TOKENS_PER_SECOND} tokens/s",
        metrics.completed, metrics.output_throughput
    );
    let steps = steps.lock().map_err(|error| error.to_string())?;
    // The last steps are those of the measured requests, all of which decode.
    let measured = &steps[steps.len().saturating_sub(TOKENS - 1)..];
    let gaps = measured.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    println!("gaps between steps of the device:  {}", describe(gaps));
    let seen = outcome.requests.iter().flat_map(|record| record.itl.iter().copied()).collect();
    println!("gaps between tokens in the client: {}", describe(seen));
    println!("CPU time of the client per token, requests included: {:.2} µs", cost * 1e6);
    Ok(())
}

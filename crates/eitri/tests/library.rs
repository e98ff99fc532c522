//! The library with a real model, in this process.

#![allow(clippy::unwrap_used, reason = "functions that tests share are test code too")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use eitri::{
    BlockingGeneration, Completion, Engine, EngineBuilder, EngineStats, Error, FinishReason,
    GenerationOptions, Message, Prompt,
};

fn smollm2() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../local/models/smollm2-135m-instruct-q4_1.gguf");
    assert!(path.is_file(), "SmolLM2 is missing: fetch it with `cargo xtask models smollm2`");
    path
}

fn builder() -> EngineBuilder {
    Engine::builder()
        .model(smollm2())
        .threads(1)
        .max_model_len(256)
        .max_num_seqs(4)
        .max_num_batched_tokens(128)
        .num_blocks(64)
}

fn question() -> Prompt {
    Prompt::chat([Message::user("What is the capital of Italy?")])
}

fn short(max_tokens: u32) -> GenerationOptions {
    GenerationOptions { max_tokens: Some(max_tokens), ..GenerationOptions::greedy() }
}

fn answer(engine: &Engine, options: GenerationOptions) -> Completion {
    engine.generate_blocking(question(), options).unwrap().completion().unwrap()
}

/// The counters once nothing runs: an answer's last piece arrives before they are renewed.
fn stats_when_idle(engine: &Engine) -> EngineStats {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut stats = engine.handle().stats();
    runtime.block_on(async {
        let idle = stats.wait_for(|stats| stats.running + stats.waiting == 0);
        *tokio::time::timeout(Duration::from_mins(1), idle).await.unwrap().unwrap()
    })
}

#[test]
fn two_engines_in_one_process_answer_alike_and_end_alone() {
    let first = builder().build().unwrap();
    let second = builder().threads(2).build().unwrap();
    let expected = answer(&first, short(24));
    assert!(expected.text.split_whitespace().count() > 2, "{}", expected.text);
    assert_eq!(answer(&second, short(24)), expected);
    drop(first);
    assert_eq!(answer(&second, short(24)).text, expected.text);
    assert_eq!(stats_when_idle(&second).finished.total(), 2);
    second.shutdown(Duration::ZERO).unwrap();
}

#[tokio::test]
async fn async_pieces_make_up_the_blocking_text() {
    let engine = builder().build_async().await.unwrap();
    let mut generation = engine.generate(question(), short(24)).unwrap();
    let (mut text, mut tokens, mut finish) = (String::new(), 0, None);
    while let Some(piece) = generation.next().await {
        let piece = piece.unwrap();
        assert!(finish.is_none(), "a piece after the last one");
        text.push_str(&piece.text);
        tokens += piece.tokens.len();
        finish = piece.finish;
    }
    assert!(generation.next().await.is_none());
    let finish = finish.expect("the last piece says how it ended");
    assert_eq!(finish.usage.generated, tokens);
    let blocking = move || answer(&engine, short(24)).text;
    assert_eq!(tokio::task::spawn_blocking(blocking).await.unwrap(), text);
}

#[test]
fn a_stop_string_ends_text_tokens_and_work() {
    let engine = builder().build().unwrap();
    let whole = answer(&engine, short(24));
    // Some characters in the middle of the answer, which need not be whole tokens.
    let stop: String = whole.text.chars().skip(9).take(5).collect();
    let before = whole.text.split(&stop).next().unwrap();
    let options = GenerationOptions { stop: vec![stop.clone()], ..short(24) };
    let stopped = answer(&engine, options);
    assert_eq!(stopped.finish.reason, FinishReason::StopString(stop.into()));
    assert_eq!(stopped.text, before);
    assert!(stopped.tokens.len() < whole.tokens.len());
    assert_eq!(stopped.finish.usage.generated, stopped.tokens.len());
    // Aborting what the engine may have computed beyond it takes a step at most.
    let after = answer(&engine, short(1));
    assert_eq!(after.finish.reason, FinishReason::Length);
    assert_eq!(after.tokens.len(), 1);
}

#[test]
fn a_repeated_prompt_is_found_in_the_cache_and_a_dropped_generation_frees_its_blocks() {
    let engine = builder().build().unwrap();
    let mut abandoned: BlockingGeneration =
        engine.generate_blocking(question(), short(200)).unwrap();
    abandoned.next().unwrap().unwrap();
    drop(abandoned);
    let again = answer(&engine, short(4));
    assert_eq!(again.finish.usage.cached, again.finish.usage.prompt - 1);
    let stats = stats_when_idle(&engine);
    assert_eq!(stats.free_blocks, stats.total_blocks);
    assert_eq!((stats.finished.abort, stats.finished.total()), (1, 2));
}

#[test]
fn prompts_that_cannot_be_served_are_refused() {
    let engine = builder().build().unwrap();
    let refused = |prompt: Prompt, options| engine.generate(prompt, options).unwrap_err();
    let unknown = refused(Prompt::tokens([1, 2, 49_152]), short(1));
    assert!(matches!(unknown, Error::UnknownToken { token: 49_152, position: 2, .. }), "{unknown}");
    let long = refused(Prompt::tokens(vec![1; 300]), short(1));
    assert!(long.to_string().contains("300 tokens"), "{long}");
    let hot = GenerationOptions { temperature: Some(3.0), ..short(1) };
    assert!(refused(question(), hot).to_string().contains("temperature"));
    let empty = GenerationOptions { stop: vec![String::new()], ..short(1) };
    assert!(refused(question(), empty).to_string().contains("stop[0]"));
}

#[test]
fn settings_that_cannot_work_are_refused_before_loading() {
    assert_eq!(Engine::builder().plan().unwrap().model_info().name, "robot");
    let missing = Engine::builder().model("no/such/model").plan().unwrap_err();
    assert!(missing.to_string().contains("no/such/model"), "{missing}");
    for (builder, part) in [
        (builder().threads(0), "--threads"),
        (builder().max_model_len(1 << 20), "--max-model-len"),
        (builder().memory_budget(10 << 20), "--memory-budget"),
        (builder().cores([1023]), "core 1023"),
        (builder().max_num_seqs(9).max_num_batched_tokens(8), "--max-num-batched-tokens"),
    ] {
        let error = builder.plan().unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[cfg(target_os = "linux")]
/// The cores that the calling thread may run on, as Linux writes them.
fn allowed_cores() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap_or_default().trim().to_owned()
}

#[cfg(target_os = "linux")]
#[test]
fn a_pinned_engine_runs_its_threads_on_its_cores() {
    use std::sync::{Arc, Mutex};
    let allowed = allowed_cores();
    let first = allowed.split(['-', ',']).next().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let engine = builder()
        .threads(2)
        .cores([first.parse().unwrap()])
        .on_thread_start(move |index| record.lock().unwrap().push((index, allowed_cores())))
        .build()
        .unwrap();
    drop(engine);
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, [(0, first.to_owned()), (1, first.to_owned())]);
    assert_eq!(allowed_cores(), allowed, "the program's own threads are left alone");
}

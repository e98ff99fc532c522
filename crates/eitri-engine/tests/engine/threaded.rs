//! The engine on its thread, with clients on theirs.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use eitri_engine::{
    Engine, EngineConfig, EngineError, EngineHandle, FinishReason, Request, SamplingParams,
    SimExecutor, SubmitError, TokenEvent,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::world::{VOCAB, answers, config, solo};

fn spawn(config: EngineConfig, sim: SimExecutor) -> EngineHandle {
    Engine::spawn(config, Box::new(sim)).unwrap()
}

fn sim(config: &EngineConfig) -> SimExecutor {
    SimExecutor::new(VOCAB, config.num_blocks, config.block_size)
}

fn request(seed: u32, len: usize, max_tokens: u32) -> Request {
    let prompt = (0..len as u32).map(|at| (at * 3 + at / 5 + seed) % VOCAB).collect();
    Request::new(prompt, SamplingParams::greedy(max_tokens))
}

/// A simulated device that takes a step only when it is told to.
fn gated(config: &EngineConfig) -> (SimExecutor, Sender<()>) {
    let (open, gate): (Sender<()>, Receiver<()>) = channel();
    let sim = sim(config).on_step(move |_| gate.recv().map_err(|error| error.to_string()));
    (sim, open)
}

#[test]
fn sixty_four_clients_of_which_many_vanish() {
    for num_blocks in [2000, 40] {
        let config = EngineConfig {
            max_num_seqs: 32,
            max_num_batched_tokens: 128,
            ..config(num_blocks, 16)
        };
        let handle = spawn(config.clone(), sim(&config));
        thread::scope(|scope| {
            for client in 0..64 {
                let (handle, config) = (handle.clone(), &config);
                scope.spawn(move || run_client(client, &handle, config));
            }
        });
        handle.shutdown(Some(Duration::from_mins(1)));
        handle.join().unwrap();
        let stats = *handle.stats().borrow();
        assert_eq!((stats.running, stats.waiting), (0, 0));
        assert_eq!(stats.free_blocks, num_blocks);
        assert_eq!(stats.finished.error, 0);
        assert_eq!(stats.requests, 64 * 4);
    }
}

fn run_client(client: u64, handle: &EngineHandle, config: &EngineConfig) {
    let mut rng = StdRng::seed_from_u64(client);
    for _ in 0..4 {
        let mut request = request(rng.random_range(0..5), rng.random_range(1..300), 30);
        request.params.temperature = if rng.random() { 1.0 } else { 0.0 };
        request.params.seed = Some(rng.random_range(0..3));
        request.n = rng.random_range(1..3);
        let mut stream = handle.submit(request.clone()).unwrap();
        if rng.random_range(0..3) == 0 {
            for _ in 0..rng.random_range(0..10) {
                stream.blocking_next();
            }
            continue;
        }
        for (index, answer) in answers(&mut stream, request.n as usize).iter().enumerate() {
            let (tokens, reason) = solo(&request, index as u32, config.max_sequence_len());
            assert_eq!(answer.tokens, tokens);
            assert_eq!(answer.end.as_ref().unwrap().0, reason);
        }
    }
}

#[test]
fn a_panic_in_the_executor_ends_every_continuation_once() {
    let config = config(64, 16);
    let mut steps = 0;
    let sim = sim(&config).on_step(move |_| {
        steps += 1;
        assert!(steps < 5, "the device is on fire");
        Ok(())
    });
    let handle = spawn(config, sim);
    let mut streams: Vec<_> =
        (0..6).map(|seed| handle.submit(Request { n: 2, ..request(seed, 9, 50) })).collect();
    for stream in streams.iter_mut().flatten() {
        for answer in answers(stream, 2) {
            let Some((FinishReason::Error(message), _)) = answer.end else {
                panic!("ended with {:?}", answer.end);
            };
            assert!(message.contains("the device is on fire"), "{message}");
        }
    }
    assert!(matches!(handle.join(), Err(EngineError::Executor(_))));
    assert_eq!(handle.submit(request(0, 3, 3)).unwrap_err(), SubmitError::ShutDown);
}

#[test]
fn a_slow_reader_stalls_nobody() {
    let config = config(200, 16);
    let handle = spawn(config.clone(), sim(&config));
    let mut slow = handle.submit(request(1, 10, 900)).unwrap();
    for seed in 0..20 {
        let mut quick = handle.submit(request(seed, 20, 30)).unwrap();
        assert_eq!(answers(&mut quick, 1)[0].tokens.len(), 30);
    }
    let answer = answers(&mut slow, 1).remove(0);
    assert_eq!(answer.tokens, solo(&request(1, 10, 900), 0, 1000).0);
}

#[test]
fn shutdown_at_once_aborts_running_and_waiting() {
    let config = EngineConfig { max_num_seqs: 1, ..config(64, 16) };
    let (sim, open) = gated(&config);
    let handle = spawn(config, sim);
    let mut running = handle.submit(request(1, 10, 100)).unwrap();
    let mut waiting = handle.submit(request(2, 10, 100)).unwrap();
    open.send(()).unwrap();
    let first = running.blocking_next().unwrap();
    assert!(matches!(first, TokenEvent::Tokens { .. }));
    handle.shutdown(None);
    assert_eq!(handle.submit(request(3, 3, 3)).unwrap_err(), SubmitError::ShutDown);
    // One step may be under way; then one more tells the executor to let go.
    (0..3).for_each(|_| open.send(()).unwrap_or_default());
    for stream in [&mut running, &mut waiting] {
        assert_eq!(answers(stream, 1)[0].end.as_ref().unwrap().0, FinishReason::Abort);
    }
    handle.join().unwrap();
}

#[test]
fn shutdown_with_time_lets_answers_finish() {
    let config = config(64, 16);
    let handle = spawn(config.clone(), sim(&config));
    let mut streams = [1, 2, 3].map(|seed| handle.submit(request(seed, 10, 100)).unwrap());
    handle.shutdown(Some(Duration::from_mins(1)));
    for stream in &mut streams {
        assert_eq!(answers(stream, 1)[0].end.as_ref().unwrap().0, FinishReason::Length);
    }
    handle.join().unwrap();
}

#[test]
fn answers_outlive_the_last_handle() {
    let config = config(64, 16);
    let handle = spawn(config.clone(), sim(&config));
    let mut stream = handle.submit(request(1, 10, 100)).unwrap();
    drop(handle);
    assert_eq!(answers(&mut stream, 1)[0].tokens.len(), 100);
}

#[test]
fn an_aborted_stream_ends_once_with_abort() {
    let config = config(64, 16);
    let (sim, open) = gated(&config);
    let handle = spawn(config, sim);
    let mut stream = handle.submit(Request { n: 2, ..request(1, 10, 100) }).unwrap();
    open.send(()).unwrap();
    assert!(stream.blocking_next().is_some());
    stream.abort();
    for answer in answers(&mut stream, 2) {
        assert_eq!(answer.end.unwrap().0, FinishReason::Abort);
    }
    drop(open);
    assert!(stream.blocking_next().is_none());
}

#[test]
fn the_hook_runs_on_the_engine_s_thread() {
    let name = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&name);
    let hook = move || {
        *noted.lock().unwrap_or_else(PoisonError::into_inner) =
            thread::current().name().map(str::to_owned);
    };
    let config = EngineConfig { on_thread_start: Some(Arc::new(hook)), ..config(8, 16) };
    let handle = spawn(config.clone(), sim(&config));
    handle.shutdown(None);
    handle.join().unwrap();
    let name: MutexGuard<'_, Option<String>> = name.lock().unwrap();
    assert_eq!(name.as_deref(), Some("eitri-engine"));
}

#[tokio::test]
async fn async_clients_reset_the_cache_and_see_the_end() {
    let config = config(64, 16);
    let handle = spawn(config.clone(), sim(&config));
    let mut stream = handle.submit(request(1, 40, 3)).unwrap();
    let mut ends = 0;
    while let Some(event) = stream.next().await {
        ends += usize::from(matches!(event, TokenEvent::Finished { .. }));
    }
    assert_eq!(ends, 1);
    assert_eq!(handle.reset_prefix_cache().await, Some(3));
    handle.shutdown(None);
    handle.closed().await;
    assert_eq!(handle.reset_prefix_cache().await, None);
    assert!(handle.is_shut_down());
}

//! The line of statistics that users of vLLM look for.

use std::time::{Duration, Instant};

use eitri::{EngineHandle, EngineStats};

/// Logs a line every `interval` until the engine ends. After an interval in which nothing happened
/// there is one more line, which shows that, and then none.
pub(super) async fn run(handle: EngineHandle, interval: Duration) {
    let mut before = *handle.stats().borrow();
    let mut since = Instant::now();
    let mut was_busy = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = handle.closed() => return,
        }
        let now = *handle.stats().borrow();
        let is_busy = now.steps != before.steps || now.running + now.waiting > 0;
        if is_busy || was_busy {
            tracing::info!("{}", line(&before, &now, since.elapsed()));
        }
        (before, since, was_busy) = (now, Instant::now(), is_busy);
    }
}

fn line(before: &EngineStats, now: &EngineStats, elapsed: Duration) -> String {
    let per_second = |now: u64, before: u64| (now - before) as f64 / elapsed.as_secs_f64();
    let percent = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
    format!(
        "Avg prompt throughput: {:.1} tokens/s, Avg generation throughput: {:.1} tokens/s, \
         Running: {} reqs, Waiting: {} reqs, GPU KV cache usage: {:.1}%, \
         Prefix cache hit rate: {:.1}%",
        per_second(now.prompt_tokens, before.prompt_tokens),
        per_second(now.generated_tokens, before.generated_tokens),
        now.running,
        now.waiting,
        percent((now.total_blocks - now.free_blocks) as u64, now.total_blocks as u64),
        percent(now.prefix_hit_tokens, now.prefix_query_tokens),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_interval_and_shares_of_the_moment() {
        let before =
            EngineStats { prompt_tokens: 100, generated_tokens: 50, ..EngineStats::default() };
        let now = EngineStats {
            running: 2,
            waiting: 1,
            total_blocks: 200,
            free_blocks: 150,
            prompt_tokens: 1100,
            generated_tokens: 300,
            prefix_query_tokens: 1000,
            prefix_hit_tokens: 125,
            ..EngineStats::default()
        };
        let expected = "Avg prompt throughput: 100.0 tokens/s, Avg generation throughput: 25.0 \
                        tokens/s, Running: 2 reqs, Waiting: 1 reqs, GPU KV cache usage: 25.0%, \
                        Prefix cache hit rate: 12.5%";
        assert_eq!(line(&before, &now, Duration::from_secs(10)), expected);
    }
}

//! `eitri bench throughput`.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;

use super::{in_process, write_json};
use crate::{cli::ThroughputArgs, console};

pub(super) fn run(arguments: &ThroughputArgs) -> Result<()> {
    let ThroughputArgs { num_prompts, input_len, output_len, .. } = *arguments;
    // Not more at once than the engine's flags say: the rest waits, as it would on a server.
    let engine = Arc::new(in_process::load(&arguments.engine, 1)?);
    let prompts = in_process::prompts(&engine, num_prompts, input_len, 0);
    let batch = in_process::run_batch(&engine, prompts, output_len)?;
    let seconds = batch.total();
    let (input, output) = (num_prompts * input_len, batch.count());
    let total = input + output;
    let rate = |count: usize| count as f64 / seconds;
    let result = json!({
        "elapsed_time": seconds,
        "num_requests": num_prompts,
        "total_num_tokens": total,
        "requests_per_second": rate(num_prompts),
        "tokens_per_second": rate(total),
    });
    write_json(arguments.output_json.as_deref(), &result)?;
    console::print_result(&format!(
        "Throughput: {:.2} requests/s, {:.2} total tokens/s, {:.2} output tokens/s\n\
         Total num prompt tokens:  {input}\n\
         Total num output tokens:  {output}",
        rate(num_prompts),
        rate(total),
        rate(output)
    ))
}

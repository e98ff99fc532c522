//! Prompts of the newer client are cut to their length by the server's tokenizer, where that counts
//! more tokens than the client's.

use hyper::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::{BenchError, RunOptions, client::Http, client::Limits, dataset::Sample};

/// What became of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// The server has no `/tokenize`, or does not answer it.
    Unknown,
    /// Both count the same for the first prompt.
    Equal,
    /// The server counts otherwise; this many prompts were cut.
    Cut(usize),
}

/// Compares the number of tokens of the first prompt with the server's, and where they differ cuts
/// all prompts that are too long for the server.
///
/// # Errors
/// When the address is not usable.
pub async fn align_prompts(
    run: &RunOptions,
    samples: &mut [Sample],
) -> Result<Alignment, BenchError> {
    let http = Http::new(&run.base_url, run.certificates, Limits::default())?;
    let model = &run.request.model;
    let Some(first) = samples.first() else { return Ok(Alignment::Unknown) };
    match tokenize(&http, model, &first.prompt).await {
        None => return Ok(Alignment::Unknown),
        Some(tokens) if tokens.len() == first.prompt_tokens => return Ok(Alignment::Equal),
        Some(_) => {}
    }
    let mut cut = 0;
    for sample in samples {
        let Some(mut tokens) = tokenize(&http, model, &sample.prompt).await else { continue };
        if tokens.len() > sample.prompt_tokens {
            tokens.truncate(sample.prompt_tokens);
            if let Some(prompt) = detokenize(&http, model, &tokens).await {
                sample.prompt = prompt;
                cut += 1;
            }
        }
    }
    Ok(Alignment::Cut(cut))
}

async fn tokenize(http: &Http, model: &str, prompt: &str) -> Option<Vec<u64>> {
    let body = json!({"model": model, "prompt": prompt, "add_special_tokens": false});
    let answer = call(http, "/tokenize", &body).await?;
    answer["tokens"].as_array()?.iter().map(Value::as_u64).collect()
}

async fn detokenize(http: &Http, model: &str, tokens: &[u64]) -> Option<String> {
    let answer = call(http, "/detokenize", &json!({"model": model, "tokens": tokens})).await?;
    answer["prompt"].as_str().map(str::to_owned)
}

async fn call(http: &Http, path: &str, body: &Value) -> Option<Value> {
    let headers = HeaderMap::from_iter([(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    )]);
    let limit = http.limits().connect;
    let page = http.call("POST", path, body.to_string().into(), &headers, limit).await.ok()?;
    (page.status == StatusCode::OK).then(|| serde_json::from_str(&page.text).ok())?
}

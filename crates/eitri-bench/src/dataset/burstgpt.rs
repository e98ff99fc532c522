//! Data set `burstgpt`: the CSV file of that name has a row per request that some service got.

use std::path::Path;

use super::{Sample, Sampling, bad_data};
use crate::{BenchError, draws::RandomState};

/// Rows of this model are used.
const MODEL: &str = "GPT-4";
/// Longest prompt that is believed.
const MAX_LEN: f64 = 1e7;

pub(super) fn samples(path: &Path, sampling: &Sampling<'_>) -> Result<Vec<Sample>, BenchError> {
    let rows = rows(path)?;
    if rows.is_empty() {
        return Err(bad_data(path, format!("no row of model {MODEL} with response tokens")));
    }
    let chosen = choose(rows.len(), sampling);
    let vocab = sampling.tokenizer.base_vocab_size();
    let mut samples = Vec::with_capacity(sampling.count);
    for (index, at) in chosen.into_iter().enumerate() {
        let (prompt_tokens, output_tokens) = rows[at];
        let ids: Vec<u32> =
            (index..index + prompt_tokens).map(|place| (place % vocab) as u32).collect();
        let prompt = sampling.tokenizer.decode(&ids, false)?;
        samples.push(Sample { prompt, prompt_tokens, output_tokens });
    }
    Ok(samples)
}

/// As `DataFrame.sample` of pandas chooses rows, with replacement only where it must.
fn choose(rows: usize, sampling: &Sampling<'_>) -> Vec<usize> {
    let mut numpy = RandomState::new(sampling.seed);
    if sampling.count <= rows {
        let order = numpy.permutation(rows as u32).into_iter();
        return order.take(sampling.count).map(|row| row as usize).collect();
    }
    let chosen = numpy.integers(0, rows as i64, sampling.count).into_iter();
    chosen.map(|row| row as usize).collect()
}

/// Lengths of prompt and answer.
fn rows(path: &Path) -> Result<Vec<(usize, usize)>, BenchError> {
    let bad = |error: csv::Error| bad_data(path, error.to_string());
    let mut reader = csv::Reader::from_path(path).map_err(bad)?;
    let headers = reader.headers().map_err(bad)?.clone();
    let column = |name: &str| {
        headers.iter().position(|header| header == name).ok_or_else(|| {
            bad_data(path, format!("no column {name:?}, which a file of BurstGPT has"))
        })
    };
    let columns = [column("Model")?, column("Request tokens")?, column("Response tokens")?];
    let mut rows = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let record = record.map_err(bad)?;
        let [model, request, response] = columns.map(|at| record.get(at).unwrap_or_default());
        if model != MODEL {
            continue;
        }
        let number = |text: &str| {
            let value = text.trim().parse::<f64>().ok();
            value.filter(|value| (0.0..=MAX_LEN).contains(value)).ok_or_else(|| {
                bad_data(path, format!("row {}: {text:?} is no count of tokens", number + 1))
            })
        };
        let (request, response) = (number(request)?, number(response)?);
        if response > 0.0 {
            rows.push((request as usize, response as usize));
        }
    }
    Ok(rows)
}

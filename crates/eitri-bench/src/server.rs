//! What a server says of itself. Nothing here is needed for a run: what it does not say stays open.

use std::time::Duration;

use hyper::{
    StatusCode,
    header::{HeaderMap, SERVER},
};
use serde_json::Value;

use crate::{
    BenchError,
    client::{Certificates, Client, Http, Limits},
    outcome::ServerFacts,
};

/// For a page about the server.
const PAGE_LIMIT: Duration = Duration::from_secs(10);

/// Names of vLLM's counters of the prefix cache, in prompt tokens.
const QUERIES: &[&str] =
    &["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"];
const HITS: &[&str] = &["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"];

/// The first model in `GET /v1/models`, for runs without `--model`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstModel {
    /// Its name in requests.
    pub id: String,
    /// Where the server loaded it from, where it says so.
    pub root: Option<String>,
}

/// Where a server is and how it is asked, before the model is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerAddress {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub base_url: String,
    /// `--header`.
    pub headers: Vec<(String, String)>,
    /// Whether it has to show who it is.
    pub certificates: Certificates,
}

/// Asks a server for its first model.
///
/// # Errors
/// When the server cannot be reached or lists no model.
pub async fn first_model(
    server: &ServerAddress,
    api_key: Option<&str>,
) -> Result<FirstModel, BenchError> {
    const PATH: &str = "/v1/models";
    let http = Http::new(&server.base_url, server.certificates, Limits::default())?;
    let failed = |message: String| BenchError::Server { url: http.url(PATH), message };
    let mut sent = HeaderMap::new();
    let key = api_key.map(|key| ("authorization".to_owned(), format!("Bearer {key}")));
    for (name, value) in key.iter().chain(&server.headers) {
        if let (Ok(name), Ok(value)) =
            (hyper::header::HeaderName::try_from(name), hyper::header::HeaderValue::try_from(value))
        {
            sent.insert(name, value);
        }
    }
    let page =
        http.get(PATH, &sent, PAGE_LIMIT).await.map_err(|failure| failed(failure.message))?;
    if page.status != StatusCode::OK {
        return Err(failed(format!("answered with status {}", page.status)));
    }
    let value: Value = serde_json::from_str(&page.text)
        .map_err(|error| failed(format!("the answer is no JSON: {error}")))?;
    let first = &value["data"][0];
    let id = first["id"].as_str().ok_or_else(|| failed("lists no model".to_owned()))?;
    Ok(FirstModel { id: id.to_owned(), root: first["root"].as_str().map(str::to_owned) })
}

pub(crate) async fn server_facts(client: &Client) -> ServerFacts {
    let mut facts = ServerFacts::default();
    if let Some(value) = json_page(client, "/version", &mut facts).await {
        facts.version = value["version"].as_str().map(str::to_owned);
    }
    if let Some(value) = json_page(client, "/v1/models", &mut facts).await {
        let models = value["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names = models.iter().filter_map(|model| model["id"].as_str());
        facts.models = names.map(str::to_owned).collect();
        let longest = models.iter().find_map(|model| model["max_model_len"].as_u64());
        facts.max_model_len = longest.map(|len| len as usize);
    }
    facts
}

async fn json_page(client: &Client, path: &str, facts: &mut ServerFacts) -> Option<Value> {
    let page = client.get(path, PAGE_LIMIT).await?;
    if let Some(software) = page.headers.get(SERVER).and_then(|value| value.to_str().ok()) {
        facts.software = Some(software.to_owned());
    }
    serde_json::from_str(&page.text).ok().filter(|_| page.status == StatusCode::OK)
}

/// Counters in `GET /metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counters {
    queries: Option<f64>,
    hits: Option<f64>,
}

impl Counters {
    pub(crate) async fn read(client: &Client) -> Self {
        match client.get("/metrics", PAGE_LIMIT).await {
            Some(page) if page.status == StatusCode::OK => Self::parse(&page.text),
            _ => Self::default(),
        }
    }

    fn parse(text: &str) -> Self {
        let find = |names: &[&str]| names.iter().find_map(|name| counter(text, name));
        Self { queries: find(QUERIES), hits: find(HITS) }
    }

    /// Notes what was counted since `before`.
    pub(crate) fn since(self, before: &Self, facts: &mut ServerFacts) {
        let difference = |after: Option<f64>, before: Option<f64>| Some(after? - before?);
        facts.prefix_cache_queries = difference(self.queries, before.queries);
        facts.prefix_cache_hits = difference(self.hits, before.hits);
    }
}

/// The sum over all labels of a counter in Prometheus' text format.
fn counter(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_their_labels() {
        let text = "# TYPE vllm:prefix_cache_queries counter\n\
                    vllm:prefix_cache_queries_total{engine=\"0\",model_name=\"a}b\"} 12.0\n\
                    vllm:prefix_cache_queries_total{engine=\"1\"} 3\n\
                    vllm:prefix_cache_hits_total 5 1700000000\n\
                    vllm:prefix_cache_hits_total_created{engine=\"0\"} 1.7e9\n";
        assert_eq!(Counters::parse(text), Counters { queries: Some(15.0), hits: Some(5.0) });
        assert_eq!(Counters::parse("other 1\n"), Counters::default());
    }
}

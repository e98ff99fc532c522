//! Many clients at once, some of which vanish.

use std::{
    io::{Read, Write},
    thread,
};

use anyhow::{Context, Result, ensure};
use eitri_tests::{Server, smollm2};
use serde_json::{Value, json};

/// Prompt ids of any length that differ from client to client from the first token on.
fn prompt(client: usize, length: usize) -> Vec<usize> {
    (0..length).map(|i| 1000 + (client * 7919 + i * 104_729) % 40_000).collect()
}

fn body(client: usize) -> Value {
    let length = 1 + client * 37 % 400;
    let temperature = if client.is_multiple_of(2) { 0.0 } else { 0.8 };
    json!({
        "model": "m", "prompt": prompt(client, length), "max_tokens": 12, "seed": client,
        "temperature": temperature, "ignore_eos": true, "return_token_ids": true,
    })
}

fn tokens(server: &Server, client: usize) -> Result<Vec<Value>> {
    let (status, answer) = server.post("/v1/completions", &body(client))?;
    ensure!(status == 200, "status {status}: {answer}");
    answer["choices"][0]["token_ids"].as_array().cloned().context("no token ids")
}

/// Starts a long stream, reads its beginning and goes away.
fn vanish(server: &Server, client: usize) -> Result<()> {
    let body = json!({
        "model": "m", "prompt": prompt(client, 50), "max_tokens": 2000, "stream": true,
        "ignore_eos": true,
    })
    .to_string();
    let mut stream = server.connect()?;
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut first = [0; 64];
    ensure!(stream.read(&mut first)? > 0, "the stream ended before it began");
    Ok(())
}

/// Whether nothing runs, waits or holds memory.
fn idle(server: &Server) -> Result<bool> {
    let names = ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"];
    for name in names {
        if server.metric(&format!("vllm:{name}"))? > 0.0 {
            return Ok(false);
        }
    }
    Ok(true)
}

#[test]
fn answers_among_64_clients_equal_those_given_alone() {
    let arguments =
        ["--served-model-name", "m", "--max-num-seqs", "32", "--num-gpu-blocks-override", "300"];
    let server = Server::start(&smollm2().unwrap(), &arguments).unwrap();
    let together: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|client| {
                let server = &server;
                scope.spawn(move || {
                    if client % 4 == 3 {
                        vanish(server, client).unwrap();
                        None
                    } else {
                        Some((client, tokens(server, client).unwrap()))
                    }
                })
            })
            .collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together.len(), 48);
    // Those who left are noticed at the next token; nobody runs once a last request has finished.
    let alone = tokens(&server, 0).unwrap();
    assert_eq!(alone.len(), 12);
    for (client, answer) in together.iter().step_by(4) {
        assert_eq!(&tokens(&server, *client).unwrap(), answer, "client {client}");
    }
    let mut looks = 0..1000;
    assert!(looks.any(|_| idle(&server).unwrap()), "somebody still runs or holds blocks");
    assert!(server.terminate().unwrap(), "a graceful stop is a success");
}

#[test]
fn a_repeated_prompt_computes_one_token() {
    let server = Server::start(&smollm2().unwrap(), &["--served-model-name", "m"]).unwrap();
    for length in [15, 16, 17, 200, 256] {
        let body =
            json!({"model": "m", "prompt": prompt(5, length), "max_tokens": 1, "temperature": 0});
        let cached = || {
            let (status, answer) = server.post("/v1/completions", &body).unwrap();
            assert_eq!(status, 200, "{answer}");
            answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
        };
        cached();
        assert_eq!(cached(), length as u64 - 1);
    }
}

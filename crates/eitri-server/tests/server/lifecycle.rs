//! Clients that vanish, engines that fail, servers that end.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use eitri_engine::EngineConfig;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::{JoinHandle, JoinSet},
};

use crate::support::{CONTEXT, Gate, Options, TestServer, events, oracle, server, within};

fn long(stream: bool) -> Value {
    json!({"prompt": "hello", "max_tokens": CONTEXT - 5, "temperature": 0, "stream": stream})
}

struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// The server behind a real socket.
async fn listen(server: &TestServer, drain: Duration) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(eitri_server::serve(listener, server.state.clone(), shutdown, drain));
    Listening { address, stop, task }
}

async fn send(address: SocketAddr, body: &Value) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body.as_bytes()).await.unwrap();
    socket
}

/// Reads until the response contains `wanted`.
async fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut bytes = Vec::new();
    while !String::from_utf8_lossy(&bytes).contains(wanted) {
        let read = within(socket.read_buf(&mut bytes)).await.unwrap();
        assert_ne!(read, 0, "ended without {wanted}: {}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

/// Reads the whole response and gives status and body, put together from its chunks.
async fn finish(mut socket: TcpStream) -> (u16, String) {
    let mut response = String::new();
    within(socket.read_to_string(&mut response)).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (status, body.to_owned());
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    (status, whole)
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_aborted() {
    let (gate, hook) = Gate::new();
    let server = TestServer::new(Options { on_step: Some(hook), ..Options::default() });
    let listening = listen(&server, Duration::ZERO).await;
    let mut socket = send(listening.address, &long(true)).await;
    gate.pass(3);
    let begin = read_until(&mut socket, "data: {").await;
    assert!(begin.starts_with("HTTP/1.1 200 OK\r\n"), "{begin}");
    server.stats(|stats| stats.running == 1).await;
    drop(socket);
    server.abandoned().await;
    drop(gate);
    let stats = server.stats(|stats| stats.finished.total() == 1).await;
    assert_eq!(stats.finished.abort, 1, "{stats:?}");
    server.idle().await;
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_aborted() {
    let (gate, hook) = Gate::new();
    let server = TestServer::new(Options { on_step: Some(hook), ..Options::default() });
    let listening = listen(&server, Duration::ZERO).await;
    let socket = send(listening.address, &long(false)).await;
    gate.pass(3);
    server.stats(|stats| stats.running == 1 && stats.generated_tokens > 0).await;
    drop(socket);
    server.abandoned().await;
    drop(gate);
    let stats = server.stats(|stats| stats.finished.total() == 1).await;
    assert_eq!(stats.finished.abort, 1, "{stats:?}");
    server.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_at_once() {
    let engine = EngineConfig { max_num_seqs: 24, ..EngineConfig::new(96, CONTEXT) };
    let server = TestServer::new(Options { engine, ..Options::default() });
    let listening = listen(&server, Duration::ZERO).await;
    let mut clients = JoinSet::new();
    for i in 0..64_usize {
        let address = listening.address;
        clients.spawn(async move {
            let prompt = format!("client {i} ").repeat(1 + i % 7);
            let len = 20 + i;
            let stream = i % 2 == 0;
            let body = json!({"prompt": prompt, "max_tokens": len, "temperature": 0,
                              "stream": stream});
            let mut socket = send(address, &body).await;
            if i % 8 == 4 {
                // Leaves in the middle.
                read_until(&mut socket, "data: {").await;
                return;
            }
            let (status, body) = finish(socket).await;
            assert_eq!(status, 200, "{body}");
            let chunks =
                if stream { events(&body) } else { vec![serde_json::from_str(&body).unwrap()] };
            let text: String =
                chunks.iter().map(|c| c["choices"][0]["text"].as_str().unwrap()).collect();
            assert_eq!(text, oracle(&prompt, len), "client {i}");
        });
    }
    while let Some(client) = within(clients.join_next()).await {
        client.unwrap();
    }
    let stats = server.stats(|stats| stats.finished.total() == 64).await;
    assert!(stats.finished.length >= 56, "{stats:?}");
    server.idle().await;
}

#[tokio::test]
async fn requests_in_progress_are_finished_before_the_end() {
    let (gate, hook) = Gate::new();
    let server = TestServer::new(Options { on_step: Some(hook), ..Options::default() });
    let listening = listen(&server, Duration::from_mins(1)).await;
    let mut body = long(true);
    body["max_tokens"] = json!(20);
    let socket = send(listening.address, &body).await;
    gate.pass(2);
    server.stats(|stats| stats.generated_tokens > 0).await;
    listening.stop.send(()).unwrap();
    let mut closing = server.get("/health").await.0;
    while closing == StatusCode::OK {
        tokio::task::yield_now().await;
        closing = server.get("/health").await.0;
    }
    assert_eq!(closing, StatusCode::SERVICE_UNAVAILABLE);
    let (status, refused) = server.post("/v1/completions", long(false)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused["error"]["message"], "the server is shutting down");
    drop(gate);
    let (_, text) = finish(socket).await;
    let chunks = events(&text);
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
    let text: String = chunks.iter().map(|c| c["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, oracle("hello", 20));
    within(listening.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_aborted() {
    let (gate, hook) = Gate::new();
    let server = TestServer::new(Options { on_step: Some(hook), ..Options::default() });
    let listening = listen(&server, Duration::ZERO).await;
    let socket = send(listening.address, &long(true)).await;
    gate.pass(2);
    server.stats(|stats| stats.generated_tokens > 0).await;
    listening.stop.send(()).unwrap();
    while !server.state.engine().is_shut_down() {
        tokio::task::yield_now().await;
    }
    drop(gate);
    let (_, text) = finish(socket).await;
    let chunks = events(&text);
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "abort");
    within(listening.task).await.unwrap().unwrap();
    assert_eq!(server.stats(|stats| stats.finished.total() == 1).await.finished.abort, 1);
}

#[tokio::test]
async fn a_full_queue_is_a_503() {
    let (gate, hook) = Gate::new();
    let engine =
        EngineConfig { max_num_seqs: 1, max_queued: Some(1), ..EngineConfig::new(1024, CONTEXT) };
    let server = TestServer::new(Options { engine, on_step: Some(hook), ..Options::default() });
    let listening = listen(&server, Duration::ZERO).await;
    let running = send(listening.address, &long(true)).await;
    gate.pass(1);
    server.stats(|stats| stats.running == 1).await;
    let waiting = send(listening.address, &long(true)).await;
    // The engine takes requests in between two steps.
    let mut stats = server.state.engine().stats();
    while stats.borrow_and_update().requests < 2 {
        gate.pass(1);
        within(stats.changed()).await.unwrap();
    }
    let (status, answer) = server.post("/v1/completions", long(false)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    assert_eq!(answer["error"]["type"], "Service Unavailable");
    assert!(answer["error"]["message"].as_str().unwrap().contains("waiting already"));
    drop((running, waiting, gate));
    server.idle().await;
}

#[tokio::test]
async fn a_late_answer_says_so() {
    let slow = |_: &eitri_engine::StepPlan| {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
        Ok(())
    };
    let server = TestServer::new(Options { on_step: Some(Box::new(slow)), ..Options::default() });
    let mut body = long(false);
    body["deadline_ms"] = json!(1);
    let answer = server.completion(body).await;
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["stop_reason"]),
        (&json!("abort"), &json!("deadline"))
    );
    server.idle().await;
}

#[tokio::test]
async fn a_failed_step_is_a_500_and_a_dead_engine_is_told() {
    let fail = |_: &eitri_engine::StepPlan| Err("no power".to_owned());
    let server = TestServer::new(Options { on_step: Some(Box::new(fail)), ..Options::default() });
    let (status, answer) = server.post("/v1/completions", long(false)).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer["error"]["type"], "InternalServerError");
    assert!(answer["error"]["message"].as_str().unwrap().contains("no power"), "{answer}");
    // The steps that release what failed do not succeed either, and the engine gives up.
    within(server.state.engine().closed()).await;
    assert_eq!(server.get("/health").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (status, answer) = server.post("/v1/completions", long(false)).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer["error"]["message"], "the engine has stopped");
}

#[tokio::test]
async fn one_failing_prompt_fails_the_request() {
    let fail = |plan: &eitri_engine::StepPlan| {
        let second = plan.admitted.iter().any(|admission| admission.tokens[0] == 66);
        if second { Err("B is not liked".to_owned()) } else { Ok(()) }
    };
    let server = TestServer::new(Options { on_step: Some(Box::new(fail)), ..Options::default() });
    let body = json!({"prompt": ["A", "B", "C"], "max_tokens": 1500, "temperature": 0});
    let (status, answer) = server.post("/v1/completions", body).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer["error"]["message"].as_str().unwrap().contains("B is not liked"));
    server.idle().await;
}

#[tokio::test]
async fn two_requests_on_one_connection() {
    let server = server();
    let listening = listen(&server, Duration::ZERO).await;
    let mut socket = TcpStream::connect(listening.address).await.unwrap();
    for _ in 0..2 {
        socket.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_until(&mut socket, "}").await;
    }
}

//! The small routes, and what holds for all of them.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use eitri_server::ServerConfig;
use serde_json::{Value, json};

use crate::support::{CONTEXT, Options, TestServer, VOCAB_SIZE, server, text};

fn with_config(config: ServerConfig) -> TestServer {
    TestServer::new(Options { config, ..Options::default() })
}

#[tokio::test]
async fn models() {
    let (status, body) = server().get("/v1/models").await;
    assert_eq!(status, StatusCode::OK);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["object"], "list");
    let ids: Vec<_> = body["data"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
    assert_eq!(ids, ["sim", "other"]);
    let model = &body["data"][0];
    assert_eq!(
        (&model["object"], &model["root"], &model["parent"], &model["max_model_len"]),
        (&json!("model"), &json!("sim-model"), &Value::Null, &json!(CONTEXT))
    );
    assert_eq!(model["permission"][0]["object"], "model_permission");
    assert!(model["created"].is_u64());
}

#[tokio::test]
async fn health_and_its_like() {
    let server = server();
    assert_eq!(server.get("/health").await, (StatusCode::OK, String::new()));
    assert_eq!(server.get("/ping").await.0, StatusCode::OK);
    assert_eq!(server.post_raw("/ping", "").await.0, StatusCode::OK);
    let version = format!("{{\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(server.get("/version").await, (StatusCode::OK, version));
    assert_eq!(server.get("/load").await.1, r#"{"server_load":0}"#);
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let server = server();
    let not_found = (StatusCode::NOT_FOUND, r#"{"detail":"Not Found"}"#.to_owned());
    assert_eq!(server.get("/nope").await, not_found);
    assert_eq!(server.get("/v1/nope").await, not_found);
    assert_eq!(server.post_raw("/reset_prefix_cache", "").await, not_found);
    let wrong = (StatusCode::METHOD_NOT_ALLOWED, r#"{"detail":"Method Not Allowed"}"#.to_owned());
    assert_eq!(server.get("/v1/chat/completions").await, wrong);
    assert_eq!(server.post_raw("/health", "").await, wrong);
}

#[tokio::test]
async fn keys() {
    let api_keys = vec!["first".to_owned(), "second".to_owned()];
    let server = with_config(ServerConfig { api_keys, ..ServerConfig::default() });
    let models = async |authorization: Option<&str>| {
        let mut request = Request::get("/v1/models").body(Body::empty()).unwrap();
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        text(server.send(request).await).await
    };
    let unauthorized = (StatusCode::UNAUTHORIZED, r#"{"error":"Unauthorized"}"#.to_owned());
    let wrong =
        [None, Some("first"), Some("Bearer None"), Some("Bearer firs"), Some("Basic first")];
    for authorization in wrong {
        assert_eq!(models(authorization).await, unauthorized, "{authorization:?}");
    }
    for authorization in ["Bearer first", "bearer second"] {
        assert_eq!(models(Some(authorization)).await.0, StatusCode::OK);
    }
    assert_eq!(server.get("/health").await.0, StatusCode::OK);
    assert_eq!(server.get("/metrics").await.0, StatusCode::OK);
    assert_eq!(server.post_raw("/tokenize", r#"{"prompt":"x"}"#).await.0, StatusCode::OK);
}

#[tokio::test]
async fn without_keys_any_authorization_will_do() {
    let mut request = Request::get("/v1/models").body(Body::empty()).unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, "Bearer None".parse().unwrap());
    assert_eq!(server().send(request).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn browsers() {
    let preflight = || {
        Request::builder()
            .method(Method::OPTIONS)
            .uri("/v1/chat/completions")
            .header(header::ORIGIN, "http://a.example")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
            .body(Body::empty())
            .unwrap()
    };
    let origin = async |origins: &[&str]| {
        let config = ServerConfig {
            api_keys: vec!["key".to_owned()],
            allowed_origins: origins.iter().map(|&o| o.to_owned()).collect(),
            ..ServerConfig::default()
        };
        let response = with_config(config).send(preflight()).await;
        assert_ne!(response.status(), StatusCode::UNAUTHORIZED);
        let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        allowed.map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(origin(&["*"]).await.as_deref(), Some("*"));
    assert_eq!(origin(&["http://a.example"]).await.as_deref(), Some("http://a.example"));
    assert_eq!(origin(&["http://b.example"]).await, None);
    assert_eq!(origin(&[]).await, None);
}

#[tokio::test]
async fn tokenize() {
    let server = server();
    let answer = server.ok("/tokenize", json!({"prompt": "hé"})).await;
    let expected = json!({"count": 3, "max_model_len": CONTEXT, "tokens": [104, 195, 169],
                          "token_strs": null});
    assert_eq!(answer.to_string(), expected.to_string());
    let body = json!({"prompt": "a<|im_end|>", "return_token_strs": true});
    let answer = server.ok("/tokenize", body).await;
    assert_eq!(answer["token_strs"], json!(["a", "<|im_end|>"]));

    let messages = json!([{"role": "user", "content": "x"}]);
    let chat = server.ok("/tokenize", json!({ "messages": messages })).await;
    let rendered = "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n";
    let text = server.ok("/tokenize", json!({ "prompt": rendered })).await;
    assert_eq!(chat["tokens"], text["tokens"]);
    let open = json!({"messages": messages, "add_generation_prompt": false});
    let open = server.ok("/tokenize", open).await;
    assert!(open["count"].as_u64().unwrap() < chat["count"].as_u64().unwrap());

    for body in [json!({}), json!({"prompt": "x", "messages": messages})] {
        let (status, answer) = server.post("/tokenize", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["error"]["message"].as_str().unwrap().contains("either prompt or messages"));
    }
}

#[tokio::test]
async fn detokenize() {
    let server = server();
    let answer = server.ok("/detokenize", json!({"tokens": [104, 195, 169, 257]})).await;
    assert_eq!(answer.to_string(), r#"{"prompt":"hé<|im_end|>"}"#);
    let long = "lorem ipsum é ".repeat(2000);
    let tokens = server.ok("/tokenize", json!({ "prompt": long })).await;
    let back = server.ok("/detokenize", json!({"tokens": tokens["tokens"]})).await;
    assert_eq!(back["prompt"], json!(long));
    let (status, answer) = server.post("/detokenize", json!({"tokens": [VOCAB_SIZE]})).await;
    assert_eq!((status, &answer["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("tokens")));
}

#[tokio::test]
async fn metrics() {
    let server = server();
    let body = json!({"prompt": "hello", "max_tokens": 3, "temperature": 0});
    server.completion(body.clone()).await;
    server.completion(body).await;
    server.idle().await;
    let response = server.send(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    let (_, body) = text(response).await;
    let labels = r#"model_name="sim",engine="0""#;
    let samples = [
        format!("vllm:num_requests_running{{{labels}}} 0.0"),
        format!("vllm:num_requests_waiting{{{labels}}} 0.0"),
        format!("vllm:kv_cache_usage_perc{{{labels}}} 0.0"),
        format!("vllm:prompt_tokens_total{{{labels}}} 10"),
        format!("vllm:generation_tokens_total{{{labels}}} 6"),
        format!("vllm:prefix_cache_queries_total{{{labels}}} 10"),
        format!("vllm:prefix_cache_hits_total{{{labels}}} 4"),
        format!("vllm:num_preemptions_total{{{labels}}} 0"),
        format!("vllm:request_success_total{{{labels},finished_reason=\"length\"}} 2"),
        format!("vllm:request_success_total{{{labels},finished_reason=\"abort\"}} 0"),
        format!("vllm:time_to_first_token_seconds_count{{{labels}}} 2"),
        format!("vllm:inter_token_latency_seconds_count{{{labels}}} 4"),
        format!("vllm:request_time_per_output_token_seconds_count{{{labels}}} 2"),
        format!("vllm:e2e_request_latency_seconds_count{{{labels}}} 2"),
        format!("vllm:request_queue_time_seconds_count{{{labels}}} 2"),
        format!("vllm:request_prompt_tokens_sum{{{labels}}} 10.0"),
        format!("vllm:request_generation_tokens_sum{{{labels}}} 6.0"),
        format!("vllm:cache_config_info{{{labels},block_size=\"16\",num_gpu_blocks=\"1024\"}} 1"),
    ];
    for sample in samples {
        assert!(body.lines().any(|line| line == sample), "{sample} is not in\n{body}");
    }
    assert!(body.contains("engine=\"0\",le=\"2560.0\"} 2\n"), "{body}");
    assert!(body.contains("# TYPE vllm:prompt_tokens_total counter\n"));
    assert!(!body.contains("# EOF"));
}

#[tokio::test]
async fn the_prefix_cache_can_be_reset_in_development() {
    let server = with_config(ServerConfig { dev_mode: true, ..ServerConfig::default() });
    let prompt = "lorem ipsum dolor sit amet ".repeat(4);
    let cached = async || {
        let answer = server.completion(json!({"prompt": prompt, "max_tokens": 1})).await;
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached().await, 0);
    assert_eq!(cached().await, prompt.len() as u64 - 1);
    assert_eq!(server.post_raw("/reset_prefix_cache", "").await.0, StatusCode::OK);
    assert_eq!(cached().await, 0);
}

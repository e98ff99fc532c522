//! A server without a model, and ways to talk to it.

use std::{
    future::Future,
    sync::{Arc, mpsc},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
    response::Response,
};
use eitri_engine::{
    Engine, EngineConfig, EngineStats, Executor, SamplingParams, SimExecutor, StepPlan,
};
use eitri_server::{AppState, GenerationDefaults, ServedModel, ServerConfig, router};
use eitri_text::{AnswerFormat, ChatTemplate, Tokenizer};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

/// Bytes, then `<|im_start|>`, `<|im_end|>`, `<|endoftext|>`.
pub(crate) const VOCAB_SIZE: u32 = 259;
pub(crate) const CONTEXT: usize = 2048;
const BLOCKS: usize = 1024;
const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
    {{ message.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{{ suffix }}";

/// The character that stands for a byte in byte-level vocabularies (Radford et al. 2019).
fn byte_name(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + rank).unwrap()
}

/// A tokenizer in which every byte is the token of the same number.
pub(crate) fn byte_tokenizer() -> Tokenizer {
    let vocab: Map<String, Value> =
        (0..=255).map(|b| (byte_name(b).to_string(), json!(b))).collect();
    let added: Vec<Value> = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
        .iter()
        .zip(256..)
        .map(|(content, id)| {
            json!({"id": id, "content": content, "special": true, "single_word": false,
                   "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                            "use_regex": false});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
                  "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    });
    Tokenizer::from_bytes(tokenizer.to_string().as_bytes(), None, None).unwrap()
}

pub(crate) type StepHook = Box<dyn FnMut(&StepPlan) -> Result<(), String> + Send>;

/// What differs between servers.
pub(crate) struct Options {
    /// Tokens below this are generated; 128 makes all text ASCII.
    pub(crate) sim_vocab: u32,
    pub(crate) engine: EngineConfig,
    pub(crate) config: ServerConfig,
    pub(crate) defaults: GenerationDefaults,
    pub(crate) chat: bool,
    pub(crate) template: &'static str,
    pub(crate) answer_format: AnswerFormat,
    pub(crate) on_step: Option<StepHook>,
    /// Computes in place of the simulated device.
    pub(crate) executor: Option<Box<dyn Executor>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sim_vocab: 128,
            engine: EngineConfig::new(BLOCKS, CONTEXT),
            config: ServerConfig::default(),
            defaults: GenerationDefaults::default(),
            chat: true,
            template: TEMPLATE,
            answer_format: AnswerFormat::default(),
            on_step: None,
            executor: None,
        }
    }
}

pub(crate) struct TestServer {
    pub(crate) state: AppState,
    pub(crate) router: Router,
}

/// A server with the usual settings.
pub(crate) fn server() -> TestServer {
    TestServer::new(Options::default())
}

impl TestServer {
    pub(crate) fn new(options: Options) -> Self {
        let Options { sim_vocab, engine, config, defaults, chat, on_step, .. } = options;
        let mut executor = SimExecutor::new(sim_vocab, engine.num_blocks, engine.block_size);
        if let Some(hook) = on_step {
            executor = executor.on_step(hook);
        }
        let tokenizer = Arc::new(byte_tokenizer());
        let template = ChatTemplate::new(options.template, tokenizer.special_tokens()).unwrap();
        let model = ServedModel {
            name: "sim".to_owned(),
            aliases: vec!["other".to_owned()],
            root: "sim-model".to_owned(),
            tokenizer,
            chat_template: chat.then(|| Arc::new(template)),
            answer_format: options.answer_format,
            vocab_size: VOCAB_SIZE,
            max_model_len: engine.max_model_len,
            kv_block_size: engine.block_size,
            defaults,
        };
        let executor = options.executor.unwrap_or_else(|| Box::new(executor));
        let engine = Engine::spawn(engine, executor).unwrap();
        let state = AppState::new(engine, model, config);
        Self { router: router(state.clone()), state }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        within(self.router.clone().oneshot(request)).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        text(self.send(request).await).await
    }

    pub(crate) async fn post_raw(&self, path: &str, body: impl Into<Body>) -> (StatusCode, String) {
        text(self.send(post(path, body)).await).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let (status, text) = self.post_raw(path, body.to_string()).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    /// A successful answer.
    pub(crate) async fn ok(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body.clone()).await;
        assert_eq!(status, StatusCode::OK, "{body}: {answer}");
        answer
    }

    pub(crate) async fn completion(&self, body: Value) -> Value {
        self.ok("/v1/completions", body).await
    }

    pub(crate) async fn chat(&self, body: Value) -> Value {
        self.ok("/v1/chat/completions", body).await
    }

    /// The events of a stream, parsed, without the final `[DONE]`, which must be there.
    pub(crate) async fn stream(&self, path: &str, mut body: Value) -> Vec<Value> {
        body["stream"] = json!(true);
        let (status, text) = self.post_raw(path, body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        events(&text)
    }

    /// Waits until the engine's state is as wanted.
    pub(crate) async fn stats(&self, wanted: impl FnMut(&EngineStats) -> bool) -> EngineStats {
        let mut stats = self.state.engine().stats();
        let result = within(stats.wait_for(wanted)).await.map(|stats| *stats);
        result.unwrap_or_else(|_| *self.state.engine().stats().borrow())
    }

    /// Waits until nothing runs and checks that no block is lost.
    pub(crate) async fn idle(&self) -> EngineStats {
        let stats = self.stats(|stats| stats.running == 0 && stats.waiting == 0).await;
        assert_eq!(stats.free_blocks, stats.total_blocks, "{stats:?}");
        stats
    }

    /// Waits until the server has given up on a request whose client is gone.
    pub(crate) async fn abandoned(&self) {
        let noticed = async {
            while !self.get("/metrics").await.1.contains("finished_reason=\"abort\"} 1\n") {
                tokio::task::yield_now().await;
            }
        };
        within(noticed).await;
    }
}

/// `base` with more fields.
pub(crate) fn with(mut base: Value, more: Value) -> Value {
    let Value::Object(fields) = more else { panic!("{more} is no object") };
    base.as_object_mut().unwrap().extend(fields);
    base
}

pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .unwrap()
}

pub(crate) async fn text(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Fails instead of hanging.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect("took too long")
}

/// The data of the events of a stream.
pub(crate) fn events(text: &str) -> Vec<Value> {
    let rest = text.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("no end: {text:?}"));
    let lines = rest.split_terminator("\n\n");
    let data = lines.map(|line| line.strip_prefix("data: ").expect("a data line"));
    data.map(|json| serde_json::from_str(json).unwrap()).collect()
}

/// What the simulated model generates, greedily, as text.
pub(crate) fn oracle(prompt: &str, len: usize) -> String {
    oracle_with(prompt, &SamplingParams::greedy(len as u32), len)
}

pub(crate) fn oracle_with(prompt: &str, params: &SamplingParams, len: usize) -> String {
    let prompt: Vec<u32> = prompt.bytes().map(u32::from).collect();
    let ids = SimExecutor::continuation(&prompt, params, 128, len);
    ids.into_iter().map(|id| char::from(id as u8)).collect()
}

/// A prompt whose greedy continuation has a character at `at` that does not occur before; with that
/// character.
pub(crate) fn prompt_with_new_char(at: usize) -> (String, char) {
    let candidates = (0..).map(|i| format!("prompt {i}"));
    let with_char = candidates.map(|prompt| {
        let text: Vec<char> = oracle(&prompt, at + 1).chars().collect();
        (prompt, text[at], !text[..at].contains(&text[at]))
    });
    let (prompt, char, _) = with_char.take(1000).find(|found| found.2).unwrap();
    (prompt, char)
}

/// Lets steps pass one by one, and all of them once it is dropped.
pub(crate) struct Gate(mpsc::Sender<()>);

impl Gate {
    pub(crate) fn new() -> (Self, StepHook) {
        let (sender, receiver) = mpsc::channel();
        let hook = move |_: &StepPlan| {
            // An error means that the gate is gone.
            let _ = receiver.recv();
            Ok(())
        };
        (Self(sender), Box::new(hook))
    }

    pub(crate) fn pass(&self, steps: usize) {
        for _ in 0..steps {
            self.0.send(()).unwrap();
        }
    }
}

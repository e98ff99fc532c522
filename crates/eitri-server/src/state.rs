//! What all routes share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use eitri_engine::{EngineHandle, Request, SubmitError, TokenStream};
use eitri_text::{AnswerFormat, ChatTemplate, Tokenizer};
use serde_json::{Map, Value};

use crate::{ApiError, metrics::Metrics};

/// Settings of the server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Bearer tokens of which `/v1` routes want one; none means no check.
    pub api_keys: Vec<String>,
    /// Origins from which browsers may call; `*` is any, none turns CORS off.
    pub allowed_origins: Vec<String>,
    /// Largest request body in bytes.
    pub max_body_bytes: usize,
    /// Most log-probabilities per position.
    pub max_logprobs: u32,
    /// Most choices per prompt.
    pub max_n: u32,
    /// Most prompts in one request for completions.
    pub max_prompts: usize,
    /// Most stop strings per request.
    pub max_stop_strings: usize,
    /// Open the routes that are meant for development, such as `/reset_prefix_cache`.
    pub dev_mode: bool,
    /// End every stream with token counts, asked for or not.
    pub force_include_usage: bool,
    /// Do not show tools to the model in requests that forbid their use.
    pub exclude_tools_when_tool_choice_none: bool,
    /// Variables of the chat template that a request may override.
    pub default_chat_template_kwargs: Map<String, Value>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            api_keys: Vec::new(),
            allowed_origins: vec!["*".to_owned()],
            max_body_bytes: 64 << 20,
            max_logprobs: 20,
            max_n: 128,
            max_prompts: 1024,
            max_stop_strings: 16,
            dev_mode: false,
            force_include_usage: false,
            exclude_tools_when_tool_choice_none: false,
            default_chat_template_kwargs: Map::new(),
        }
    }
}

/// The model's own generation settings, from `generation_config.json`. They stand in for fields
/// that a request leaves out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Softmax temperature.
    pub temperature: Option<f64>,
    /// Nucleus.
    pub top_p: Option<f64>,
    /// Most likely tokens to keep.
    pub top_k: Option<i64>,
    /// Least relative probability.
    pub min_p: Option<f64>,
    /// Factor for tokens of prompt and output.
    pub repetition_penalty: Option<f64>,
    /// Most tokens of a chat answer.
    pub max_new_tokens: Option<u32>,
    /// End tokens, the primary one first. It ends an answer silently; the others act as stop
    /// tokens, so that a response names them in `stop_reason`.
    pub eos_token_ids: Vec<u32>,
}

/// The model behind the server, as far as text is concerned.
#[derive(Debug, Clone)]
pub struct ServedModel {
    /// The name that responses carry.
    pub name: String,
    /// Further names that requests may use.
    pub aliases: Vec<String>,
    /// What was loaded, for people.
    pub root: String,
    /// Text to ids and back.
    pub tokenizer: Arc<Tokenizer>,
    /// Conversations to text; without one, chat is refused.
    pub chat_template: Option<Arc<ChatTemplate>>,
    /// What is looked for in its answers.
    pub answer_format: AnswerFormat,
    /// Number of token ids that the model knows.
    pub vocab_size: u32,
    /// Most tokens of prompt and answer together; not more than the engine's limit.
    pub max_model_len: usize,
    /// Tokens per block of KV memory, for metrics.
    pub kv_block_size: usize,
    /// The model's generation settings.
    pub defaults: GenerationDefaults,
}

#[derive(Debug)]
struct Shared {
    engine: EngineHandle,
    model: ServedModel,
    config: ServerConfig,
    metrics: Arc<Metrics>,
    fingerprint: String,
    started: u64,
    draining: AtomicBool,
}

/// What all routes share; clones refer to the same.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

impl AppState {
    /// Joins an engine and the text side of its model.
    pub fn new(engine: EngineHandle, model: ServedModel, config: ServerConfig) -> Self {
        let metrics = Arc::new(Metrics::new(&model, engine.stats()));
        let fingerprint = fingerprint(&model);
        let (started, draining) = (unix_seconds(), AtomicBool::new(false));
        Self(Arc::new(Shared { engine, model, config, metrics, fingerprint, started, draining }))
    }

    /// The engine.
    pub fn engine(&self) -> &EngineHandle {
        &self.0.engine
    }

    /// The model.
    pub fn model(&self) -> &ServedModel {
        &self.0.model
    }

    /// The settings.
    pub fn config(&self) -> &ServerConfig {
        &self.0.config
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Changes when the same request may get another answer.
    pub(crate) fn fingerprint(&self) -> String {
        self.0.fingerprint.clone()
    }

    /// Start of the server, seconds since 1970.
    pub(crate) fn started(&self) -> u64 {
        self.0.started
    }

    pub(crate) fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Checks the model that a request names.
    pub(crate) fn check_model(&self, name: Option<&str>) -> Result<(), ApiError> {
        let model = self.model();
        match name {
            None | Some("") => Ok(()),
            Some(name) if model.name == name || model.aliases.iter().any(|a| a == name) => Ok(()),
            Some(name) => Err(ApiError::UnknownModel(name.to_owned())),
        }
    }

    pub(crate) fn submit(&self, request: Request) -> Result<TokenStream, ApiError> {
        self.engine().submit(request).map_err(|error| match error {
            SubmitError::ShutDown if self.0.draining.load(Ordering::Acquire) => ApiError::Draining,
            error => error.into(),
        })
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// `eitri-<version>-<hash8>`, the hash (FNV-1a, Fowler, Noll, Vo 1991) being of what was loaded.
fn fingerprint(model: &ServedModel) -> String {
    let identity = format!(
        "{}\n{}\n{}\n{}",
        model.root,
        model.vocab_size,
        model.tokenizer.vocab_size(),
        model.max_model_len
    );
    let hash = identity
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("eitri-{}-{hash:08x}", env!("CARGO_PKG_VERSION"))
}

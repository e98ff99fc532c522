//! Flags of `eitri serve`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use eitri::{AnswerFormat, EngineBuilder, Error, GenerationSource, SchedulingPolicy};
use eitri_server::ServerConfig;
use serde_json::{Map, Value};

use super::{
    EngineArgs,
    engine_args::set,
    quantity::{
        Strings, parse_count, parse_milliseconds, parse_object, parse_seconds, parse_strings,
    },
};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// Names under which clients ask for the model [default: MODEL]
    #[arg(long, value_name = "NAME", num_args = 1.., help_heading = "Model")]
    served_model_name: Vec<String>,

    /// Accepted for compatibility: weights keep their stored type, activations are f32
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Dtype::Auto)]
    #[arg(help_heading = "Model")]
    dtype: Dtype,

    /// Sampling defaults: auto (the model's), vllm (neutral), or a directory
    #[arg(long, value_name = "SOURCE", default_value = "auto", help_heading = "Model")]
    generation_config: PathBuf,

    /// Sampling defaults that replace single ones
    #[arg(long, value_name = "JSON", value_parser = parse_object, help_heading = "Model")]
    override_generation_config: Option<Map<String, Value>>,

    /// Variables of the chat template that requests may override
    #[arg(long, value_name = "JSON", value_parser = parse_object, help_heading = "Model")]
    default_chat_template_kwargs: Option<Map<String, Value>>,

    /// Format of tool calls in answers; auto judges by the chat template
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = ToolCallParser::Auto)]
    #[arg(help_heading = "Model")]
    tool_call_parser: ToolCallParser,

    /// Format of reasoning in answers; auto judges by the chat template
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = ReasoningParser::Auto)]
    #[arg(help_heading = "Model")]
    reasoning_parser: ReasoningParser,

    /// Do not show tools to the model in requests that forbid their use
    #[arg(long, help_heading = "Model")]
    exclude_tools_when_tool_choice_none: bool,

    /// Address to listen on
    #[arg(long, value_name = "HOST", default_value = "0.0.0.0", help_heading = "Server")]
    pub(crate) host: String,

    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8000, help_heading = "Server")]
    pub(crate) port: u16,

    /// Keys of which clients must send one
    #[arg(long, value_name = "KEY", num_args = 1.., help_heading = "Server")]
    #[arg(env = "VLLM_API_KEY", hide_env_values = true)]
    api_key: Vec<String>,

    /// Origins from which browsers may call, as a JSON list
    #[arg(long, value_name = "JSON", value_parser = parse_strings, default_value = "*")]
    #[arg(help_heading = "Server")]
    allowed_origins: Strings,

    /// Most log-probabilities per token that clients may ask for; -1 for no limit
    #[arg(long, value_name = "N", default_value_t = 20, help_heading = "Server")]
    #[arg(allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-1..=1 << 20))]
    max_logprobs: i64,

    /// End every stream with token counts
    #[arg(long, help_heading = "Server")]
    enable_force_include_usage: bool,

    /// Seconds that requests in progress may take after SIGTERM or Ctrl-C; a second one aborts
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, default_value = "30")]
    #[arg(help_heading = "Server")]
    pub(crate) shutdown_timeout: Duration,

    /// Longest time that a request may wait for its next token because of another one's prompt; 0
    /// for no bound
    #[arg(long, value_name = "MS", value_parser = parse_milliseconds, default_value = "200")]
    #[arg(help_heading = "Scheduling")]
    max_step_ms: Duration,

    /// Most prompt tokens of one request in one step; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Scheduling")]
    long_prefill_token_threshold: usize,

    /// Order of service: first come, first served, or the lowest `priority` of the requests first
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = Policy::Fcfs)]
    #[arg(help_heading = "Scheduling")]
    scheduling_policy: Policy,

    /// Most requests that wait; more get 503 [default: no limit]
    #[arg(long, value_name = "N", value_parser = parse_count, help_heading = "Scheduling")]
    max_num_queued_reqs: Option<usize>,

    /// Let prompts reuse what earlier ones computed (this is the default)
    #[arg(long, overrides_with = "no_enable_prefix_caching", help_heading = "Scheduling")]
    enable_prefix_caching: bool,

    /// Compute every prompt anew
    #[arg(long, overrides_with = "enable_prefix_caching", help_heading = "Scheduling")]
    no_enable_prefix_caching: bool,

    /// No line with throughput, running and waiting requests every 10 seconds
    #[arg(long, help_heading = "Logging")]
    pub(crate) disable_log_stats: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Policy {
    Fcfs,
    Priority,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dtype {
    Auto,
    Half,
    Float16,
    Bfloat16,
    Float,
    Float32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ToolCallParser {
    Auto,
    Hermes,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReasoningParser {
    Auto,
    Qwen3,
    None,
}

impl ServeArgs {
    /// What is wrong although each flag alone is right.
    pub(super) fn check(&self) -> Result<(), String> {
        let takes_all = |flag: &str| {
            format!("{flag} takes all words that follow: give MODEL before it, or with --model")
        };
        if !self.engine.names_model() && self.served_model_name.len() > 1 {
            return Err(takes_all("--served-model-name"));
        }
        if !self.engine.names_model() && self.api_key.len() > 1 {
            return Err(takes_all("--api-key"));
        }
        Ok(())
    }

    /// What the user should know about flags that have no effect.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.dtype != Dtype::Auto {
            let note = "--dtype has no effect: weights keep their stored type, activations are f32";
            notes.push(note.to_owned());
        }
        notes
    }

    /// The engine's settings.
    pub(crate) fn builder(&self) -> Result<EngineBuilder, Error> {
        let generation = match self.generation_config.to_str() {
            Some("auto") => GenerationSource::Model,
            Some("vllm") => GenerationSource::Neutral,
            _ => GenerationSource::Directory(self.generation_config.clone()),
        };
        let policy = match self.scheduling_policy {
            Policy::Fcfs => SchedulingPolicy::Fcfs,
            Policy::Priority => SchedulingPolicy::Priority,
        };
        let overrides = self.override_generation_config.clone().unwrap_or_default();
        let builder = self
            .engine
            .builder()?
            .generation_config(generation)
            .override_generation_config(overrides)
            .scheduling_policy(policy)
            .prefix_caching(!self.no_enable_prefix_caching);
        let threshold = Some(self.long_prefill_token_threshold).filter(|&threshold| threshold > 0);
        let builder = set(builder, threshold, EngineBuilder::long_prefill_token_threshold);
        let builder = builder.max_step(self.max_step_ms);
        Ok(set(builder, self.max_num_queued_reqs, EngineBuilder::max_queued))
    }

    /// The server's settings. `dev_mode` opens the routes meant for development.
    pub(crate) fn server_config(&self, dev_mode: bool) -> ServerConfig {
        ServerConfig {
            api_keys: self.api_key.clone(),
            allowed_origins: self.allowed_origins.0.clone(),
            max_logprobs: u32::try_from(self.max_logprobs).unwrap_or(u32::MAX),
            dev_mode,
            force_include_usage: self.enable_force_include_usage,
            exclude_tools_when_tool_choice_none: self.exclude_tools_when_tool_choice_none,
            default_chat_template_kwargs: self
                .default_chat_template_kwargs
                .clone()
                .unwrap_or_default(),
            ..ServerConfig::default()
        }
    }

    /// What is looked for in answers; `detected` is what the chat template has tags for.
    pub(crate) fn answer_format(&self, detected: AnswerFormat) -> AnswerFormat {
        AnswerFormat {
            reasoning: match self.reasoning_parser {
                ReasoningParser::Auto => detected.reasoning,
                ReasoningParser::Qwen3 => true,
                ReasoningParser::None => false,
            },
            tools: match self.tool_call_parser {
                ToolCallParser::Auto => detected.tools,
                ToolCallParser::Hermes => true,
                ToolCallParser::None => false,
            },
        }
    }

    /// Names of the model for clients, the one that responses carry first.
    pub(crate) fn names(&self) -> Vec<String> {
        if self.served_model_name.is_empty() {
            vec![self.engine.model().display().to_string()]
        } else {
            self.served_model_name.clone()
        }
    }
}

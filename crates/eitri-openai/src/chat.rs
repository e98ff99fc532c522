//! `POST /v1/chat/completions`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ChatLogprobs, ChatMessage, PromptLogprobs, SamplingFields, StopReason, StreamOptions, ToolCall,
    ToolCallDelta, ToolChoice, Usage, lax,
};

/// A request for an answer in a conversation. Defaults are in brackets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// One of the served names [the first].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The conversation so far.
    pub messages: Vec<ChatMessage>,
    /// Most tokens to generate [what the context leaves].
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<i64>,
    /// Older name of the same; `max_completion_tokens` wins.
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<i64>,
    /// Return log-probabilities (default: false).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// Candidates per token; needs `logprobs` (default: 0).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<i64>,
    /// End the prompt with the opening of an assistant turn (default: true).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub add_generation_prompt: Option<bool>,
    /// Go on with the last message (default: false).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub continue_final_message: Option<bool>,
    /// Add special tokens around the rendered prompt, which holds its own (default: false).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// A template in place of the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Further variables of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// Functions that the model may call, as the chat template is to show them; each is
    /// `{"type": "function", "function": {"name", "description", "parameters"}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Value>>,
    /// Whether the model may call them (default: `auto` with `tools`, else `none`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Deliver more than one call per answer (default: true).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Deliver what the model thought before answering (default: true).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub include_reasoning: Option<bool>,
    /// Send the answer as it comes (default: false).
    #[serde(default, deserialize_with = "lax::option", skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Only with `stream`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingFields,
    /// Every field that is not listed here.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatResponse {
    /// `chatcmpl-` and the request's id.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// First of the served names.
    pub model: String,
    /// `n` choices.
    pub choices: Vec<ChatChoice>,
    /// Always null.
    pub service_tier: Option<String>,
    /// Changes when answers may change.
    pub system_fingerprint: Option<String>,
    /// Token counts of all choices.
    pub usage: Usage,
    /// Present when asked for.
    pub prompt_logprobs: Option<PromptLogprobs>,
    /// With `return_token_ids`: the prompt's ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Always null.
    pub kv_transfer_params: Option<Value>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChoice {
    /// Position among the choices.
    pub index: u32,
    /// What the assistant says.
    pub message: AssistantMessage,
    /// Present when asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length`, `tool_calls` or `abort`.
    pub finish_reason: Option<String>,
    /// What it stopped at.
    pub stop_reason: StopReason,
    /// With `return_token_ids`: the generated ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// What the assistant says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AssistantMessage {
    /// `assistant`.
    pub role: String,
    /// The answer.
    pub content: Option<String>,
    /// Always null.
    pub refusal: Option<String>,
    /// Always null.
    pub annotations: Option<Value>,
    /// Always null.
    pub audio: Option<Value>,
    /// Always null.
    pub function_call: Option<Value>,
    /// Absent when no tool is called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// What it thought before answering.
    pub reasoning: Option<String>,
    /// Older name of the same.
    pub reasoning_content: Option<String>,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatChunk {
    /// As in [`ChatResponse`].
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// First of the served names.
    pub model: String,
    /// One entry; none in the chunk that ends a stream with its token counts.
    pub choices: Vec<ChatChunkChoice>,
    /// When asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// With `return_token_ids`, in the first chunk: the prompt's ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// What is new in one choice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatChunkChoice {
    /// Position among the choices.
    pub index: u32,
    /// What is new.
    pub delta: ChatDelta,
    /// Of the new tokens, when asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// In the last chunk of the choice.
    pub finish_reason: Option<String>,
    /// What it stopped at; only in the last chunk of the choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// With `return_token_ids`: the new ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// New parts of a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatDelta {
    /// In the first chunk of the choice: `assistant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// New text; empty while it is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// More of what it thinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Older name of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// A call that begins, or more of its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta>,
}

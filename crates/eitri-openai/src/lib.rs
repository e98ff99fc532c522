//! Wire types of the OpenAI API and of vLLM's extensions to it.
//!
//! Nothing here behaves: these are the shapes of requests and responses, read and written with
//! serde. Requests are read as vLLM's Python reads them: `"16"` and `16.0` are integers, `null` is
//! the same as an absent field, and fields that nobody knows are kept aside.
//!
//! Responses are written as vLLM writes them. Objects that are sent whole carry their nulls, chunks
//! of a chat stream leave out what is not set.

mod chat;
mod completion;
mod error;
mod json;
mod lax;
mod logprobs;
mod message;
mod models;
mod sampling;
mod stream;
mod tokenize;
mod tools;
mod usage;

pub use chat::{
    AssistantMessage, ChatChoice, ChatChunk, ChatChunkChoice, ChatDelta, ChatRequest, ChatResponse,
};
pub use completion::{
    CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionRequest,
    CompletionResponse, Prompt,
};
pub use error::{ErrorBody, ErrorResponse};
pub use json::{JsonError, from_json};
pub use logprobs::{
    ChatLogprobs, ChatTokenLogprob, ChatTopLogprob, CompletionLogprobs, PromptLogprob,
    PromptLogprobs,
};
pub use message::{ChatContent, ChatMessage, ContentPart};
pub use models::{Model, ModelList, ModelPermission};
pub use sampling::SamplingFields;
pub use stream::{StopReason, StreamOptions};
pub use tokenize::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse};
pub use tools::{FunctionCall, FunctionDelta, ToolCall, ToolCallDelta, ToolChoice};
pub use usage::{PromptTokensDetails, Usage};

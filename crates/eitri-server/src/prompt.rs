//! From text and conversations to token ids.

use std::sync::Arc;

use eitri_openai::{ChatContent, ChatMessage, Prompt};
use eitri_text::{ChatInput, ChatTemplate};
use serde_json::{Map, Value};

use crate::{ApiError, AppState, sampling::check_vocabulary, tools::message_for_template};

/// Bytes of text from which on encoding would hold up other requests of the same thread.
const LARGE: usize = 8 * 1024;

/// One prompt: its ids, and its text where it was given as text.
#[derive(Debug, Clone)]
pub(crate) struct TokenizedPrompt {
    pub(crate) ids: Vec<u32>,
    pub(crate) text: Option<String>,
}

/// Runs `work` here, or on the blocking pool when there are many bytes to work on.
async fn run<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= LARGE {
        return work();
    }
    let result = tokio::task::spawn_blocking(work).await;
    result.map_err(|error| ApiError::Internal(format!("tokenisation failed: {error}")))?
}

/// The prompts of a request for completions.
pub(crate) async fn tokenize_prompts(
    state: &AppState,
    prompt: Prompt,
    add_special: bool,
) -> Result<Vec<TokenizedPrompt>, ApiError> {
    let prompts = match prompt {
        Prompt::Text(text) => tokenize_texts(state, vec![text], add_special).await?,
        Prompt::Texts(texts) => tokenize_texts(state, texts, add_special).await?,
        Prompt::Ids(ids) => vec![TokenizedPrompt { ids, text: None }],
        Prompt::IdLists(lists) => {
            lists.into_iter().map(|ids| TokenizedPrompt { ids, text: None }).collect()
        }
    };
    let max = state.config().max_prompts;
    if prompts.len() > max {
        let message = format!("prompt holds {} prompts: at most {max} are allowed", prompts.len());
        return Err(ApiError::field("prompt", message));
    }
    for prompt in &prompts {
        check_vocabulary("prompt", &prompt.ids, state.model())?;
    }
    Ok(prompts)
}

async fn tokenize_texts(
    state: &AppState,
    texts: Vec<String>,
    add_special: bool,
) -> Result<Vec<TokenizedPrompt>, ApiError> {
    let tokenizer = Arc::clone(&state.model().tokenizer);
    let bytes = texts.iter().map(String::len).sum();
    run(bytes, move || {
        let tokenize = |text: String| {
            let ids = tokenizer.encode(&text, add_special)?;
            Ok(TokenizedPrompt { ids, text: Some(text) })
        };
        texts.into_iter().map(tokenize).collect()
    })
    .await
}

/// A conversation and how it is to be rendered.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) tools: Option<Vec<Value>>,
    pub(crate) add_generation_prompt: bool,
    pub(crate) continue_final_message: bool,
    pub(crate) add_special_tokens: bool,
    pub(crate) chat_template: Option<String>,
    pub(crate) kwargs: Option<Map<String, Value>>,
}

/// A rendered conversation.
#[derive(Debug, Clone)]
pub(crate) struct ChatPrompt {
    pub(crate) text: String,
    pub(crate) ids: Vec<u32>,
}

/// Renders a conversation and encodes what comes out.
pub(crate) async fn tokenize_chat(
    state: &AppState,
    conversation: Conversation,
) -> Result<ChatPrompt, ApiError> {
    check_conversation(&conversation)?;
    let model = state.model();
    let Some(template) = model.chat_template.clone() else {
        let message = "this model has no chat template: start the server with --chat-template";
        return Err(ApiError::field("messages", message));
    };
    let mut kwargs = state.config().default_chat_template_kwargs.clone();
    kwargs.extend(conversation.kwargs.clone().unwrap_or_default());
    let tokenizer = Arc::clone(&model.tokenizer);
    let bytes = conversation.messages.iter().map(content_len).sum();
    run(bytes, move || {
        let text = render(&template, &conversation, &kwargs)?;
        let ids = tokenizer.encode(&text, conversation.add_special_tokens)?;
        Ok(ChatPrompt { text, ids })
    })
    .await
}

fn check_conversation(conversation: &Conversation) -> Result<(), ApiError> {
    if conversation.messages.is_empty() {
        return Err(ApiError::field("messages", "messages is empty: at least one is needed"));
    }
    if conversation.continue_final_message && conversation.add_generation_prompt {
        return Err(ApiError::field(
            "continue_final_message",
            "continue_final_message and add_generation_prompt cannot both be true",
        ));
    }
    if conversation.chat_template.is_some() {
        let message = "chat_template of a request is not trusted: the server's template is used";
        return Err(ApiError::field("chat_template", message));
    }
    for (i, message) in conversation.messages.iter().enumerate() {
        let ChatContent::Parts(parts) = &message.content else { continue };
        for (j, part) in parts.iter().enumerate() {
            let path = format!("messages[{i}].content[{j}]");
            if part.kind != "text" {
                let message = format!("{path}.type: `{}` is not supported yet", part.kind);
                return Err(ApiError::Body { message, param: Some(format!("{path}.type")) });
            }
            if part.text.is_none() {
                let message = format!("{path}.text is missing");
                return Err(ApiError::Body { message, param: Some(format!("{path}.text")) });
            }
        }
    }
    Ok(())
}

fn content_len(message: &ChatMessage) -> usize {
    match &message.content {
        ChatContent::Null => 0,
        ChatContent::Text(text) => text.len(),
        ChatContent::Parts(parts) => {
            parts.iter().filter_map(|part| part.text.as_ref()).map(String::len).sum()
        }
    }
}

fn render(
    template: &ChatTemplate,
    conversation: &Conversation,
    kwargs: &Map<String, Value>,
) -> Result<String, ApiError> {
    let internal = |error: serde_json::Error| ApiError::Internal(error.to_string());
    let messages = conversation.messages.iter().enumerate();
    let messages: Result<Vec<Value>, _> =
        messages.map(|(i, message)| message_for_template(i, message)).collect();
    let tools = conversation.tools.as_ref().map(serde_json::to_value).transpose();
    Ok(template.render(&ChatInput {
        messages: &messages?,
        tools: tools.map_err(internal)?.as_ref(),
        add_generation_prompt: conversation.add_generation_prompt,
        continue_final_message: conversation.continue_final_message,
        kwargs,
    })?)
}

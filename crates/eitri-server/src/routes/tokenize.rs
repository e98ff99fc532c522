//! `POST /tokenize` and `POST /detokenize`.

use axum::{Json, extract::State};
use eitri_openai::{
    DetokenizeRequest, DetokenizeResponse, Prompt, TokenizeRequest, TokenizeResponse,
};

use crate::{
    ApiError, AppState,
    extract::JsonBody,
    prompt::{Conversation, tokenize_chat, tokenize_prompts},
    sampling::check_vocabulary,
    tools::check_tools,
};

/// The ids of a text or of a rendered conversation.
pub(crate) async fn tokenize(
    State(state): State<AppState>,
    JsonBody(request): JsonBody<TokenizeRequest>,
) -> Result<Json<TokenizeResponse>, ApiError> {
    state.check_model(request.model.as_deref())?;
    let return_token_strs = request.return_token_strs.unwrap_or(false);
    let tokens = token_ids(&state, request).await?;
    let tokenizer = &state.model().tokenizer;
    let token_strs = return_token_strs.then(|| {
        let entry = |&id: &u32| tokenizer.id_to_token(id).unwrap_or_default().to_owned();
        tokens.iter().map(entry).collect()
    });
    let (count, max_model_len) = (tokens.len(), state.model().max_model_len);
    Ok(Json(TokenizeResponse { count, max_model_len, tokens, token_strs }))
}

async fn token_ids(state: &AppState, request: TokenizeRequest) -> Result<Vec<u32>, ApiError> {
    match (request.prompt, request.messages) {
        (Some(text), None) => {
            let add_special = request.add_special_tokens.unwrap_or(true);
            let prompts = tokenize_prompts(state, Prompt::Text(text), add_special).await?;
            Ok(prompts.into_iter().flat_map(|prompt| prompt.ids).collect())
        }
        (None, Some(messages)) => {
            check_tools(request.tools.as_deref().unwrap_or_default())?;
            let conversation = Conversation {
                messages,
                tools: request.tools,
                add_generation_prompt: request.add_generation_prompt.unwrap_or(true),
                continue_final_message: request.continue_final_message.unwrap_or(false),
                add_special_tokens: request.add_special_tokens.unwrap_or(false),
                chat_template: request.chat_template,
                kwargs: request.chat_template_kwargs,
            };
            Ok(tokenize_chat(state, conversation).await?.ids)
        }
        _ => Err(ApiError::field("prompt", "either prompt or messages must be given")),
    }
}

/// The text of ids, special tokens included.
pub(crate) async fn detokenize(
    State(state): State<AppState>,
    JsonBody(request): JsonBody<DetokenizeRequest>,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    state.check_model(request.model.as_deref())?;
    check_vocabulary("tokens", &request.tokens, state.model())?;
    let prompt = state.model().tokenizer.decode(&request.tokens, false)?;
    Ok(Json(DetokenizeResponse { prompt }))
}

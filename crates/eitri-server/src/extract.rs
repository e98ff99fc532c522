//! Reading request bodies.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use eitri_openai::from_json;
use serde::de::DeserializeOwned;

use crate::{ApiError, AppState};

/// Bodies from this size on are read on the blocking pool.
const LARGE: usize = 256 * 1024;

/// A JSON body. Differs from axum's in its errors: they are 400, never 422, and name the field.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<AppState> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::TooLarge { limit: state.config().max_body_bytes }
            } else {
                body_error(format!("the body cannot be read: {}", rejection.body_text()))
            }
        })?;
        let value = if body.len() < LARGE {
            parse(&body)
        } else {
            let parsed = tokio::task::spawn_blocking(move || parse(&body)).await;
            parsed.map_err(|error| ApiError::Internal(error.to_string()))?
        };
        value.map(Self)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        body_error(format!("the body is not valid UTF-8 at byte {}", error.valid_up_to()))
    })?;
    Ok(from_json(text)?)
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(body_error("the header Content-Type is missing: application/json is expected"));
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = media_type.strip_prefix("application/").unwrap_or_default();
    if subtype == "json" || subtype.ends_with("+json") {
        Ok(())
    } else {
        Err(body_error(format!("Content-Type is `{value}`: application/json is expected")))
    }
}

fn body_error(message: impl Into<String>) -> ApiError {
    ApiError::Body { message: message.into(), param: None }
}

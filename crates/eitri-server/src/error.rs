//! Errors and their HTTP form.

use std::sync::Arc;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use eitri_engine::{ParamError, SubmitError};
use eitri_openai::{ErrorBody, ErrorResponse, JsonError};
use eitri_text::TextError;

/// Why a request gets no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The body is not what the route wants: not JSON, a missing field, a wrong type.
    #[error("{message}")]
    Body {
        /// What is wrong.
        message: String,
        /// The field.
        param: Option<String>,
    },
    /// A field has a value that cannot be served.
    #[error("{message}")]
    Field {
        /// What is wrong and what would be right.
        message: String,
        /// The field.
        param: &'static str,
    },
    /// Another model was asked for.
    #[error("the model `{0}` does not exist; `GET /v1/models` lists the names that do")]
    UnknownModel(String),
    /// The body exceeds the limit.
    #[error("the body is larger than {limit} bytes, which is the limit")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// As many requests wait as are allowed to.
    #[error("the server is busy: {0}")]
    Busy(String),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Draining,
    /// The engine has stopped by itself, or a step failed.
    #[error("{0}")]
    Engine(Arc<str>),
    /// A fault of the server.
    #[error("{0}")]
    Internal(String),
}

impl ApiError {
    /// A value that cannot be served.
    pub(crate) fn field(param: &'static str, message: impl Into<String>) -> Self {
        Self::Field { message: message.into(), param }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Body { .. } | Self::Field { .. } => StatusCode::BAD_REQUEST,
            Self::UnknownModel(_) => StatusCode::NOT_FOUND,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy(_) | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Engine(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Body { .. } => "Bad Request",
            Self::Field { .. } => "BadRequestError",
            Self::UnknownModel(_) => "NotFoundError",
            Self::TooLarge { .. } => "Payload Too Large",
            Self::Busy(_) | Self::Draining => "Service Unavailable",
            Self::Engine(_) | Self::Internal(_) => "InternalServerError",
        }
    }

    fn param(&self) -> Option<String> {
        match self {
            Self::Body { param, .. } => param.clone(),
            Self::Field { param, .. } => Some((*param).to_owned()),
            Self::UnknownModel(_) => Some("model".to_owned()),
            _ => None,
        }
    }

    /// The body, as a response or as an event of a stream.
    pub fn body(&self) -> ErrorResponse {
        ErrorResponse {
            error: ErrorBody {
                message: self.to_string(),
                kind: self.kind().to_owned(),
                param: self.param(),
                code: self.status().as_u16(),
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status().is_server_error() {
            tracing::warn!(status = self.status().as_u16(), "{self}");
        }
        (self.status(), Json(self.body())).into_response()
    }
}

impl From<JsonError> for ApiError {
    fn from(JsonError { path, message }: JsonError) -> Self {
        let message = match &path {
            Some(path) => format!("{path}: {message}"),
            None => format!("the body is not a valid JSON object: {message}"),
        };
        Self::Body { message, param: path }
    }
}

impl From<ParamError> for ApiError {
    fn from(error: ParamError) -> Self {
        Self::Field { message: error.to_string(), param: error.field }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::EmptyPrompt
            | SubmitError::PromptTooLong { .. }
            | SubmitError::DoesNotFit { .. } => Self::field("prompt", error.to_string()),
            SubmitError::Param(error) => error.into(),
            SubmitError::QueueFull { .. } => Self::Busy(error.to_string()),
            SubmitError::ShutDown => Self::Engine("the engine has stopped".into()),
        }
    }
}

impl From<TextError> for ApiError {
    fn from(error: TextError) -> Self {
        let message = error.to_string();
        match error {
            TextError::EmptyStop { .. } => Self::field("stop", message),
            TextError::Encode(_) => Self::field("prompt", message),
            TextError::Render(_) => Self::field("messages", message),
            TextError::ChatInput { field, .. } => Self::Body { message, param: Some(field) },
            _ => Self::Internal(message),
        }
    }
}

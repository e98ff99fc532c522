//! Error bodies.

use serde::{Deserialize, Serialize};

/// Body of every error of a `/v1` route, and event of an error within a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The error.
    pub error: ErrorBody,
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For a person.
    pub message: String,
    /// Kind of error, for example `BadRequestError`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The field that is to blame.
    pub param: Option<String>,
    /// The HTTP status.
    pub code: u16,
}

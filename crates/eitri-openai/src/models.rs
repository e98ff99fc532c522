//! The list of models.

use serde::{Deserialize, Serialize};

/// Answer of `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelList {
    /// `list`.
    pub object: String,
    /// The names that requests may use.
    pub data: Vec<Model>,
}

/// One served model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The name that requests use.
    pub id: String,
    /// `model`.
    pub object: String,
    /// When the server started, seconds since 1970.
    pub created: u64,
    /// Who serves it.
    pub owned_by: String,
    /// What was loaded.
    pub root: String,
    /// The base model, for adapters.
    pub parent: Option<String>,
    /// Most tokens of prompt and answer together.
    pub max_model_len: usize,
    /// What may be done with it; one entry.
    pub permission: Vec<ModelPermission>,
}

/// Historic part of the OpenAI API that clients still parse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field says its name and nothing more")]
pub struct ModelPermission {
    pub id: String,
    pub object: String,
    pub created: u64,
    pub allow_create_engine: bool,
    pub allow_sampling: bool,
    pub allow_logprobs: bool,
    pub allow_search_indices: bool,
    pub allow_view: bool,
    pub allow_fine_tuning: bool,
    pub organization: String,
    pub group: Option<String>,
    pub is_blocking: bool,
}

impl ModelPermission {
    /// Everything that a server for inference permits.
    pub fn inference(id: String, created: u64) -> Self {
        Self {
            id,
            object: "model_permission".to_owned(),
            created,
            allow_create_engine: false,
            allow_sampling: true,
            allow_logprobs: true,
            allow_search_indices: false,
            allow_view: true,
            allow_fine_tuning: false,
            organization: "*".to_owned(),
            group: None,
            is_blocking: false,
        }
    }
}

//! `GET /v1/models`.

use axum::{Json, extract::State};
use eitri_openai::{Model, ModelList, ModelPermission};

use crate::AppState;

/// Every name of the served model.
pub(crate) async fn list(State(state): State<AppState>) -> Json<ModelList> {
    let (model, created) = (state.model(), state.started());
    let entry = |name: &String| Model {
        id: name.clone(),
        object: "model".to_owned(),
        created,
        owned_by: "eitri".to_owned(),
        root: model.root.clone(),
        parent: None,
        max_model_len: model.max_model_len,
        permission: vec![ModelPermission::inference(format!("modelperm-{name}"), created)],
    };
    let data = std::iter::once(&model.name).chain(&model.aliases).map(entry).collect();
    Json(ModelList { object: "list".to_owned(), data })
}

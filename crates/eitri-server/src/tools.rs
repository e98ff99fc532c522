//! Tools in requests: which may be called, and calls in earlier turns.

use eitri_openai::{ChatMessage, ChatRequest, ToolChoice};
use serde_json::{Map, Value, json};

use crate::{ApiError, AppState};

const NEEDS_STRUCTURE: &str = "is not supported yet: it needs structured outputs";

/// What a request says about tools.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tools {
    /// To be shown to the model.
    pub(crate) shown: Option<Vec<Value>>,
    /// Look for calls in the answer.
    pub(crate) parse: bool,
}

impl Tools {
    /// Checks `tools` and `tool_choice`.
    pub(crate) fn of(request: &ChatRequest, state: &AppState) -> Result<Self, ApiError> {
        let Some(tools) = &request.tools else {
            let choice = request.tool_choice.as_ref();
            if choice.is_some_and(|choice| *choice != ToolChoice::Mode("none".to_owned())) {
                let message = "tool_choice is only allowed with tools";
                return Err(ApiError::field("tool_choice", message));
            }
            return Ok(Self { shown: None, parse: false });
        };
        if tools.is_empty() {
            let message = "tools is empty: leave it out or list at least one";
            return Err(ApiError::field("tools", message));
        }
        check_tools(tools)?;
        let parse = is_auto(request.tool_choice.as_ref())?;
        if parse && !state.model().answer_format.tools {
            let message = "tools: calls of this model are not understood, because its chat template \
                           has no <tool_call> tags around JSON; only tool_choice \"none\" is \
                           possible";
            return Err(ApiError::field("tools", message));
        }
        let hidden = !parse && state.config().exclude_tools_when_tool_choice_none;
        Ok(Self { shown: (!hidden).then(|| tools.clone()), parse })
    }
}

/// Whether the model decides (`true`) or may not call (`false`).
fn is_auto(choice: Option<&ToolChoice>) -> Result<bool, ApiError> {
    let refused = |message| Err(ApiError::field("tool_choice", message));
    match choice {
        None => Ok(true),
        Some(ToolChoice::Mode(mode)) => match mode.as_str() {
            "auto" => Ok(true),
            "none" => Ok(false),
            "required" => refused(format!("tool_choice \"required\" {NEEDS_STRUCTURE}")),
            other => refused(format!("tool_choice is {other:?}: it must be \"auto\" or \"none\"")),
        },
        Some(ToolChoice::Named(_)) => {
            refused(format!("tool_choice with the name of a function {NEEDS_STRUCTURE}"))
        }
    }
}

/// Checks the form of tools that a template is to show.
pub(crate) fn check_tools(tools: &[Value]) -> Result<(), ApiError> {
    for (i, tool) in tools.iter().enumerate() {
        let refuse = |field: &str, message: &str| {
            let param = format!("tools[{i}]{field}");
            Err(ApiError::Body { message: format!("{param} {message}"), param: Some(param) })
        };
        if tool.get("type").and_then(Value::as_str) != Some("function") {
            return refuse(".type", "must be \"function\"");
        }
        let Some(function) = tool.get("function").and_then(Value::as_object) else {
            return refuse(".function", "must be an object with name, description and parameters");
        };
        match function.get("name") {
            Some(Value::String(name)) if !name.is_empty() => {}
            _ => return refuse(".function.name", "must be a string that is not empty"),
        }
        if !matches!(function.get("parameters"), None | Some(Value::Null | Value::Object(_))) {
            return refuse(".function.parameters", "must be a JSON schema, that is an object");
        }
        if function.get("strict") == Some(&Value::Bool(true)) {
            return refuse(".function.strict", NEEDS_STRUCTURE);
        }
    }
    Ok(())
}

/// A message as templates expect it, which is how vLLM hands it over: the arguments of calls are
/// objects and not text, there is no empty list of calls, no content is an empty text, and reasoning
/// has its older name.
pub(crate) fn message_for_template(
    position: usize,
    message: &ChatMessage,
) -> Result<Value, ApiError> {
    let mut value =
        serde_json::to_value(message).map_err(|error| ApiError::Internal(error.to_string()))?;
    let Some(fields) = value.as_object_mut() else { return Ok(value) };
    if fields.get("content").is_none_or(Value::is_null) {
        fields.insert("content".to_owned(), Value::from(""));
    }
    if let Some(reasoning @ Value::String(_)) = fields.get("reasoning").cloned() {
        fields.entry("reasoning_content").or_insert(reasoning);
    }
    match fields.get_mut("tool_calls") {
        None => {}
        Some(Value::Array(calls)) if !calls.is_empty() => {
            for (i, call) in calls.iter_mut().enumerate() {
                read_arguments(call, &format!("messages[{position}].tool_calls[{i}].function"))?;
            }
        }
        Some(Value::Null | Value::Array(_)) => {
            fields.shift_remove("tool_calls");
        }
        Some(_) => {
            let param = format!("messages[{position}].tool_calls");
            let message = format!("{param} must be a list");
            return Err(ApiError::Body { message, param: Some(param) });
        }
    }
    Ok(value)
}

fn read_arguments(call: &mut Value, path: &str) -> Result<(), ApiError> {
    let refuse = |param: String, message: &str| {
        Err(ApiError::Body { message: format!("{param} {message}"), param: Some(param) })
    };
    let Some(function) = call.get_mut("function").and_then(Value::as_object_mut) else {
        return refuse(path.to_owned(), "must be an object with name and arguments");
    };
    if !function.get("name").is_some_and(Value::is_string) {
        return refuse(format!("{path}.name"), "must be a string");
    }
    let arguments = match function.get("arguments") {
        None | Some(Value::Null) => json!({}),
        Some(Value::String(text)) if text.trim().is_empty() => json!({}),
        Some(Value::String(text)) => match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(object) => Value::Object(object),
            Err(error) => {
                let message = format!("must be a JSON object as text: {error}");
                return refuse(format!("{path}.arguments"), &message);
            }
        },
        Some(Value::Object(_)) => return Ok(()),
        Some(_) => return refuse(format!("{path}.arguments"), "must be a JSON object as text"),
    };
    function.insert("arguments".to_owned(), arguments);
    Ok(())
}

//! The commands by which the robot models, and the formats they are stored in, are judged.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{Server, workspace};

/// Requests in flight at once.
const CLIENTS: usize = 8;

/// A request and the answer that is wanted.
#[derive(Debug, Clone)]
pub struct Case {
    /// What kind of command it is.
    pub category: String,
    /// Body of a request to `/v1/chat/completions`.
    pub request: Value,
    /// `calls` (all, in order), `text`, or `refusal` (no call, a text that begins with "Sorry").
    pub expected: Value,
}

/// What came back for a case.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Position of the case.
    pub case: usize,
    /// Whether it was what is wanted.
    pub right: bool,
    /// The message that came, for people.
    pub message: Value,
}

/// The commands of `models/robot-commands.json`, written by hand.
///
/// # Errors
/// When the file is missing or damaged.
pub fn hand_written() -> Result<Vec<Case>> {
    let all = tools()?;
    let entries = read("robot-commands.json")?;
    entries
        .as_array()
        .context("robot-commands.json must be a list")?
        .iter()
        .map(|entry| case(entry, None, &all))
        .collect()
}

/// The held-out split of the generator, `models/robot-held-out.json`.
///
/// # Errors
/// When the file is missing or damaged.
pub fn held_out() -> Result<Vec<Case>> {
    let all = tools()?;
    let scenes = read("robot-held-out.json")?;
    let mut cases = Vec::new();
    for scene in scenes.as_array().context("robot-held-out.json must be a list")? {
        let named = |name: &Value| all.iter().find(|tool| tool["function"]["name"] == *name);
        let names = scene["tools"].as_array().context("a scene needs tools")?;
        let tools: Vec<Value> = names.iter().filter_map(named).cloned().collect();
        let system = scene["system"].as_str().filter(|text| !text.is_empty());
        for entry in scene["cases"].as_array().context("a scene needs cases")? {
            cases.push(case(entry, system, &tools)?);
        }
    }
    Ok(cases)
}

fn read(name: &str) -> Result<Value> {
    let path = workspace().join("models").join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// The robot's functions, `models/robot-tools.json`.
///
/// # Errors
/// When the file is missing or damaged.
pub fn tools() -> Result<Vec<Value>> {
    match read("robot-tools.json")? {
        Value::Array(tools) => Ok(tools),
        _ => bail!("robot-tools.json must be a list"),
    }
}

fn case(entry: &Value, system: Option<&str>, tools: &[Value]) -> Result<Case> {
    let mut messages = entry["messages"].as_array().context("a case needs messages")?.clone();
    if let Some(system) = system {
        messages.insert(0, json!({"role": "system", "content": system}));
    }
    let mut request = json!({
        "messages": messages, "temperature": 0, "max_tokens": 400,
        "chat_template_kwargs": {"enable_thinking": entry["thinking"]},
    });
    if !tools.is_empty() {
        request["tools"] = json!(tools);
    }
    let category = entry["category"].as_str().context("a case needs a category")?.to_owned();
    Ok(Case { category, request, expected: entry["expected"].clone() })
}

/// Whether an answer's message is what a case wants.
pub fn is_right(expected: &Value, message: &Value) -> bool {
    let calls = message.get("tool_calls").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let content = message["content"].as_str().unwrap_or_default();
    if let Some(wanted) = expected["calls"].as_array() {
        return wanted.len() == calls.len()
            && wanted.iter().zip(calls).all(|(wanted, call)| is_call(wanted, &call["function"]));
    }
    calls.is_empty()
        && match expected["text"].as_str() {
            Some(text) => content == text,
            None => content.starts_with("Sorry"),
        }
}

fn is_call(wanted: &Value, function: &Value) -> bool {
    let text = function["arguments"].as_str().unwrap_or_default();
    let Ok(arguments) = serde_json::from_str::<Value>(text) else { return false };
    wanted["name"] == function["name"] && is_same(&wanted["arguments"], &arguments)
}

/// Equality in which 2 and 2.0 are the same and the order of members does not matter.
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| is_same(value, other)))
        }
        (a, b) => a == b,
    }
}

/// Sends all cases to a server, several at once.
///
/// # Errors
/// At the first request that is not answered with 200.
pub fn judge(server: &Server, cases: &[Case]) -> Result<Vec<Verdict>> {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::with_capacity(cases.len()));
    let work = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(index) else { return Ok(()) };
            let (status, answer) = server.post("/v1/chat/completions", &case.request)?;
            if status != 200 {
                bail!("status {status}: {answer}");
            }
            let message = answer["choices"][0]["message"].clone();
            let right = is_right(&case.expected, &message);
            let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
            verdicts.push(Verdict { case: index, right, message });
        }
    };
    thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        Ok(())
    })?;
    let mut verdicts = verdicts.into_inner().unwrap_or_else(PoisonError::into_inner);
    verdicts.sort_by_key(|verdict| verdict.case);
    Ok(verdicts)
}

/// Right answers and all, by category.
pub fn by_category(cases: &[Case], verdicts: &[Verdict]) -> BTreeMap<String, (usize, usize)> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for verdict in verdicts {
        let count = counts.entry(cases[verdict.case].category.clone()).or_default();
        count.0 += usize::from(verdict.right);
        count.1 += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_by_meaning() {
        let message = |name: &str, arguments: &str| json!({"content": null, "tool_calls": [{"function": {"name": name, "arguments": arguments}}]});
        let expected =
            json!({"calls": [{"name": "move", "arguments": {"direction": "left", "m": 2}}]});
        assert!(is_right(&expected, &message("move", "{\"m\": 2.0, \"direction\": \"left\"}")));
        for wrong in [
            message("turn", "{\"m\": 2, \"direction\": \"left\"}"),
            message("move", "{\"m\": 2}"),
            message("move", "{\"m\": 2, \"direction\": \"left\", \"x\": 1}"),
            message("move", "{\"m\": 3, \"direction\": \"left\"}"),
            json!({"content": "moving"}),
        ] {
            assert!(!is_right(&expected, &wrong), "{wrong}");
        }
        let refusal = json!({"refusal": true});
        assert!(is_right(&refusal, &json!({"content": "Sorry, no."})));
        assert!(!is_right(&refusal, &message("stop", "{}")));
        let text = json!({"text": "Done."});
        assert!(
            is_right(&text, &json!({"content": "Done."}))
                && !is_right(&text, &json!({"content": "Done"}))
        );
    }

    #[test]
    fn the_sets_are_complete() {
        assert!(hand_written().unwrap().len() >= 150);
        let held_out = held_out().unwrap();
        assert!(held_out.len() >= 500);
        assert!(
            held_out
                .iter()
                .any(|case| case.request["chat_template_kwargs"]["enable_thinking"] == true)
        );
    }
}

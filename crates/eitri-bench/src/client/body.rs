//! Bodies of requests.

use serde_json::{Map, Value, json};

use super::{Api, RequestOptions};
use crate::{Compat, dataset::Sample};

/// The fields that the client of the release sends, in its order, with those asked for over them.
pub(super) fn request_body(sample: &Sample, options: &RequestOptions) -> Value {
    let RequestOptions { api, model, logprobs, .. } = options;
    let limit = sample.output_tokens;
    let mut fields = match api {
        Api::Completions => object(json!({
            "model": model,
            "prompt": sample.prompt,
            "repetition_penalty": 1.0,
            "max_tokens": limit,
            "logprobs": logprobs,
            "stream": true,
            "stream_options": {"include_usage": true},
        })),
        Api::Chat => object(json!({
            "model": model,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": sample.prompt}]},
            ],
            "max_completion_tokens": limit,
            "stream": true,
            "stream_options": {"include_usage": true},
        })),
        Api::Responses => object(json!({
            "model": model,
            "input": sample.prompt,
            "max_output_tokens": limit,
            "stream": true,
            // Servers that store answers would grow with the run.
            "store": false,
        })),
    };
    if options.compat < Compat::V0_32 {
        fields.insert("temperature".to_owned(), json!(0.0));
    }
    if options.ignore_eos {
        fields.insert("ignore_eos".to_owned(), json!(true));
    }
    fields.extend(options.extra_body.clone());
    Value::Object(fields)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

//! The jinja environment: settings, filters and functions that chat templates rely on.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Rest, ValueKind},
};

use super::{python, strftime, tojson};

/// Instructions plus 64-byte units of data that one rendering may use. A template of a few hundred
/// instructions per message can show tens of thousands of messages; an endless one ends within
/// about a second.
const FUEL: u64 = 4_000_000;

/// An environment that behaves like that of `transformers`: blocks swallow the line they stand on,
/// nothing is escaped, values print as Python prints them.
pub(super) fn python_like() -> Environment<'static> {
    let mut env = Environment::new();
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        env.set_syntax(syntax);
    }
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.set_formatter(|out, _state, value| {
        let written = match value.as_str() {
            Some(text) => out.write_str(text),
            None => out.write_str(&python::to_str(value)?),
        };
        written.map_err(Error::from)
    });
    env.add_filter("tojson", |value: &Value, positional: Rest<Value>, named: Kwargs| {
        tojson::filter(value, &positional, &named)
    });
    env.add_filter("string", |value: Value| -> Result<Value, Error> {
        if value.as_str().is_some() { Ok(value) } else { python::to_str(&value).map(Value::from) }
    });
    // Python can iterate over and index more and other things than minijinja: not None, but text.
    env.add_test("iterable", |value: &Value| {
        !matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number)
    });
    env.add_test("sequence", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined
        )
    });
    env.add_test("number", |value: &Value| {
        matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
    });
    env.add_function("raise_exception", |message: &str| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.to_owned()))
    });
    env.add_function("strftime_now", |format: &str| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        strftime::format_utc(format, now)
            .map_err(|message| Error::new(ErrorKind::InvalidOperation, message))
    });
    env
}

/// An error as one line: what, and in which line of the template.
pub(super) fn describe(error: &Error) -> String {
    let what = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

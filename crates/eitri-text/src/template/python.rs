//! How Python prints values.

use std::fmt::Write;

use minijinja::{Error, ErrorKind, Value, value::ValueKind};

/// Deepest nesting that is printed or serialised; JSON input cannot reach it.
const MAX_DEPTH: usize = 256;

/// Fails when a template has built something nested without end.
pub(super) fn check_depth(depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("value is nested more than {MAX_DEPTH} levels deep"),
        ));
    }
    Ok(())
}

/// Python's `str(value)`.
pub(super) fn to_str(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    let mut out = String::new();
    write_repr(value, 0, &mut out)?;
    Ok(out)
}

/// Python's `repr(float)`: the shortest digits that round-trip, an exponent outside
/// `1e-4 <= |x| < 1e16`.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    // Rust's debug form switches to an exponent at the same places and writes it as `1e16`.
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) =
                exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

fn write_repr(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::String => write_str_repr(value.as_str().unwrap_or_default(), out),
        ValueKind::Number if !value.is_integer() => {
            out.push_str(&float_repr(f64::try_from(value.clone())?));
        }
        ValueKind::Seq => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            out.push(open);
            let mut count = 0;
            for item in value.try_iter()? {
                if count > 0 {
                    out.push_str(", ");
                }
                write_repr(&item, depth + 1, out)?;
                count += 1;
            }
            if count == 1 && value.is_tuple() {
                out.push(',');
            }
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_repr(&key, depth + 1, out)?;
                out.push_str(": ");
                write_repr(&value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        // minijinja prints the rest as Python does: True, None, integers, nothing for undefined.
        _ => write!(out, "{value}").map_err(Error::from)?,
    }
    Ok(())
}

/// Python's `repr(str)`: single quotes unless only double quotes avoid escaping.
fn write_str_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => write_escape(c as u32, out),
        }
    }
    out.push(quote);
}

fn write_escape(code: u32, out: &mut String) {
    let escaped = match code {
        0..=0xff => format!("\\x{code:02x}"),
        0x100..=0xffff => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    };
    out.push_str(&escaped);
}

/// `str.isprintable` for the characters that occur in conversations: not a control, format,
/// private-use or separator character (the space excepted).
fn is_printable(c: char) -> bool {
    let format_or_private = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}');
    !(c.is_control() || format_or_private || (c.is_whitespace() && c != ' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_python() {
        for (value, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e300, "1.5e+300"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float_repr(value), expected);
        }
    }

    #[test]
    fn containers_print_as_in_python() {
        let repr = |json: &str| {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            to_str(&Value::from(minijinja::value::Serde(value))).unwrap()
        };
        assert_eq!(
            repr(r#"{"b": [1, 2.50, true, null], "a": {"it's": "\"x\"", "n": "a\nb\u0007"}}"#),
            r#"{'b': [1, 2.5, True, None], 'a': {"it's": '"x"', 'n': 'a\nb\x07'}}"#
        );
        assert_eq!(
            repr(r#"["it's \"x\"", "é日😀", "\u200b"]"#),
            r#"['it\'s "x"', 'é日😀', '\u200b']"#
        );
        assert_eq!(repr("[]"), "[]");
        assert_eq!(repr("{}"), "{}");
    }
}

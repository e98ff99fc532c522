//! Numbers as people write them: `1k`, `25.6k`, `6G`, `0,2-5`.

/// Parses a count of tokens or bytes. Lower-case suffixes (and `kB`, `MB`, ...) are powers of
/// 1000; upper-case ones (and `KiB`, `MiB`, ...) powers of 1024, as in vLLM. A fraction of the last
/// unit is dropped.
pub(super) fn parse_quantity(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is not a number such as 4096, 32k (1000s), 32K (1024s) or 6.5G");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor = factor(suffix).ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // More digits than these cannot change the result.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_u128.pow(fraction.len() as u32);
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let fraction: u64 = fraction.parse().map_err(|_| wrong())?;
    let value = u128::from(whole) * factor + u128::from(fraction) * factor / scale;
    u64::try_from(value).map_err(|_| format!("{text} is too large"))
}

fn factor(suffix: &str) -> Option<u128> {
    let power = |letter: char| "kmgt".find(letter.to_ascii_lowercase()).map(|at| at as u32 + 1);
    let mut letters = suffix.chars();
    let Some(letter) = letters.next() else { return Some(1) };
    match letters.as_str() {
        "" if letter.is_ascii_lowercase() => Some(1000_u128.pow(power(letter)?)),
        "" | "iB" => Some(1024_u128.pow(power(letter)?)),
        "B" => Some(1000_u128.pow(power(letter)?)),
        _ => None,
    }
}

/// [`parse_quantity`] for counts that index memory, at least 1.
pub(super) fn parse_count(text: &str) -> Result<usize, String> {
    match usize::try_from(parse_quantity(text)?) {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err(format!("{text} is too large")),
    }
}

/// A length in tokens, or what the model and memory allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelLen {
    Auto,
    Tokens(usize),
}

pub(super) fn parse_model_len(text: &str) -> Result<ModelLen, String> {
    match text {
        "auto" | "-1" => Ok(ModelLen::Auto),
        _ => parse_count(text).map(ModelLen::Tokens),
    }
}

/// A list of cores such as `0,2-5`, kept in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cores(pub(crate) Vec<usize>);

pub(super) fn parse_cores(text: &str) -> Result<Cores, String> {
    const MOST: usize = 1024;
    let wrong = || format!("{text:?} is not a list of cores such as 0,2-5");
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        if first > last || last >= MOST {
            return Err(wrong());
        }
        cores.extend(first..=last);
    }
    Ok(Cores(cores))
}

/// A share of something, above 0 and at most 1.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err("it must be in (0, 1]".to_owned()) }
}

/// A time in milliseconds, 0 included.
pub(super) fn parse_milliseconds(text: &str) -> Result<std::time::Duration, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    std::time::Duration::try_from_secs_f64(value / 1e3)
        .map_err(|_| "it must be a time in milliseconds".to_owned())
}

/// A time in seconds, 0 included.
pub(super) fn parse_seconds(text: &str) -> Result<std::time::Duration, String> {
    let value: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    std::time::Duration::try_from_secs_f64(value)
        .map_err(|_| "it must be a time of at least 0 in seconds".to_owned())
}

/// A JSON object.
pub(super) fn parse_object(
    text: &str,
) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

/// A JSON list of strings as in vLLM, or one string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Strings(pub(crate) Vec<String>);

pub(super) fn parse_strings(text: &str) -> Result<Strings, String> {
    if !text.trim_start().starts_with('[') {
        return Ok(Strings(vec![text.to_owned()]));
    }
    let strings = serde_json::from_str(text);
    strings.map(Strings).map_err(|error| format!("not a JSON list of strings: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("0", 0),
            ("4096", 4096),
            ("1k", 1000),
            ("1K", 1024),
            ("25.6k", 25_600),
            ("1.001k", 1001),
            ("1.5K", 1536),
            ("2m", 2_000_000),
            ("50M", 50 << 20),
            ("6.5G", 13 << 29),
            ("1g", 1_000_000_000),
            ("1T", 1 << 40),
            ("2GiB", 2 << 30),
            ("2GB", 2_000_000_000),
            ("10kB", 10_000),
            ("1.k", 0),
        ] {
            let parsed = parse_quantity(text);
            if text == "1.k" {
                assert!(parsed.is_err(), "{text}");
            } else {
                assert_eq!(parsed, Ok(expected), "{text}");
            }
        }
        for text in
            ["", "k", "-1", "1x", "1kk", "1 k", ".5k", "1.2.3", "1e3", "99999999999999T", "²"]
        {
            assert!(parse_quantity(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_and_counts() {
        assert_eq!(parse_model_len("auto"), Ok(ModelLen::Auto));
        assert_eq!(parse_model_len("-1"), Ok(ModelLen::Auto));
        assert_eq!(parse_model_len("32K"), Ok(ModelLen::Tokens(32_768)));
        assert!(parse_model_len("0").is_err());
        assert!(parse_count("0").is_err());
    }

    #[test]
    fn cores() {
        assert_eq!(parse_cores("3").unwrap().0, [3]);
        assert_eq!(parse_cores("4,0-2").unwrap().0, [4, 0, 1, 2]);
        for text in ["", "a", "2-1", "1,,2", "-1", "0-99999"] {
            assert!(parse_cores(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_shares_and_lists() {
        assert_eq!(parse_milliseconds("2.5"), Ok(Duration::from_micros(2500)));
        assert_eq!(parse_milliseconds("0"), Ok(Duration::ZERO));
        assert_eq!(parse_seconds("0"), Ok(Duration::ZERO));
        for text in ["-1", "NaN", "inf", "x"] {
            assert!(parse_milliseconds(text).is_err(), "{text}");
        }
        assert!(parse_seconds("-1").is_err());
        assert_eq!(parse_share("0.9"), Ok(0.9));
        assert!(parse_share("0").is_err() && parse_share("1.1").is_err());
        assert_eq!(parse_strings(r#"["a", "b"]"#).unwrap().0, ["a", "b"]);
        assert_eq!(parse_strings("*").unwrap().0, ["*"]);
        assert!(parse_strings("[1]").is_err());
        assert!(parse_object("[]").is_err() && parse_object("{\"a\": 1}").is_ok());
    }
}

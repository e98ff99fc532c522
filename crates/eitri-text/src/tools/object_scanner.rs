//! A JSON object (RFC 8259) in text that arrives in pieces: where it ends, and whether it can still
//! become one.

use std::ops::Range;

use crate::tag::is_space;

/// Checks one JSON object character by character and notes where its members are.
///
/// It rejects at the first character that no valid object could have there, so that text which only
/// looks like a call is not held back.
#[derive(Debug, Clone)]
pub(super) struct ObjectScanner {
    state: State,
    open: Vec<Container>,
    /// Bytes taken so far.
    position: usize,
    key: Range<usize>,
    value_start: usize,
    members: Vec<Member>,
}

/// One member of the outer object, as byte ranges of the text.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// With the quotes.
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Object,
    Array,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Start,
    KeyOrEnd,
    Key,
    Colon,
    Value,
    ValueOrEnd,
    AfterValue,
    String {
        is_key: bool,
        escape: Escape,
    },
    /// What remains of `true`, `false` or `null`.
    Literal(&'static str),
    Number(Number),
    Complete,
}

#[derive(Debug, Clone, Copy)]
enum Escape {
    None,
    Backslash,
    /// How many hex digits are missing.
    Unicode(u8),
}

/// What of a number came last.
#[derive(Debug, Clone, Copy)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    fn next(self, c: char) -> Option<Self> {
        match (self, c) {
            (Self::Minus, '0') => Some(Self::Zero),
            (Self::Minus | Self::Integer, '0'..='9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, '.') => Some(Self::Point),
            (Self::Point | Self::Fraction, '0'..='9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, 'e' | 'E') => Some(Self::Exponent),
            (Self::Exponent, '+' | '-') => Some(Self::ExponentSign),
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, '0'..='9') => {
                Some(Self::ExponentDigits)
            }
            _ => None,
        }
    }

    fn is_complete(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits)
    }
}

impl ObjectScanner {
    pub(super) fn new() -> Self {
        Self {
            state: State::Start,
            open: Vec::new(),
            position: 0,
            key: 0..0,
            value_start: 0,
            members: Vec::new(),
        }
    }

    /// Whether the object is closed. Nothing may follow then.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// The members of the outer object that are complete, in order and with duplicates.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Takes one character; false when the text is not, and cannot become, a JSON object.
    #[must_use]
    pub(super) fn advance(&mut self, c: char) -> bool {
        let at = self.position;
        self.position += c.len_utf8();
        match self.state {
            State::String { is_key, escape } => self.string(is_key, escape, c),
            State::Literal(rest) => match rest.strip_prefix(c) {
                Some("") => self.end_value(self.position),
                Some(rest) => self.enter(State::Literal(rest)),
                None => false,
            },
            State::Number(number) => match number.next(c) {
                Some(next) => self.enter(State::Number(next)),
                None if number.is_complete() => {
                    self.end_value(at);
                    is_space(c) || self.structure(c, at)
                }
                None => false,
            },
            State::Complete => false,
            _ => is_space(c) || self.structure(c, at),
        }
    }

    fn enter(&mut self, state: State) -> bool {
        self.state = state;
        true
    }

    fn structure(&mut self, c: char, at: usize) -> bool {
        let container = self.open.last().copied();
        match (self.state, c) {
            (State::Start, '{') => self.open(Container::Object),
            (State::KeyOrEnd | State::Key, '"') => {
                if self.open.len() == 1 {
                    self.key.start = at;
                }
                self.enter(State::String { is_key: true, escape: Escape::None })
            }
            (State::Colon, ':') => self.enter(State::Value),
            (State::KeyOrEnd, '}') | (State::ValueOrEnd, ']') => self.close(),
            (State::AfterValue, '}') if container == Some(Container::Object) => self.close(),
            (State::AfterValue, ']') if container == Some(Container::Array) => self.close(),
            (State::AfterValue, ',') => self.enter(match container {
                Some(Container::Object) => State::Key,
                _ => State::Value,
            }),
            (State::Value | State::ValueOrEnd, _) => self.begin_value(c, at),
            _ => false,
        }
    }

    fn begin_value(&mut self, c: char, at: usize) -> bool {
        if self.open.len() == 1 {
            self.value_start = at;
        }
        match c {
            '{' => self.open(Container::Object),
            '[' => self.open(Container::Array),
            '"' => self.enter(State::String { is_key: false, escape: Escape::None }),
            't' => self.enter(State::Literal("rue")),
            'f' => self.enter(State::Literal("alse")),
            'n' => self.enter(State::Literal("ull")),
            '-' => self.enter(State::Number(Number::Minus)),
            '0' => self.enter(State::Number(Number::Zero)),
            '1'..='9' => self.enter(State::Number(Number::Integer)),
            _ => false,
        }
    }

    fn string(&mut self, is_key: bool, escape: Escape, c: char) -> bool {
        let escape = match (escape, c) {
            (Escape::None, '"') if is_key => {
                if self.open.len() == 1 {
                    self.key.end = self.position;
                }
                return self.enter(State::Colon);
            }
            (Escape::None, '"') => return self.end_value(self.position),
            (Escape::None, '\\') => Escape::Backslash,
            (Escape::None, ' '..)
            | (Escape::Backslash, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Escape::None,
            (Escape::Backslash, 'u') => Escape::Unicode(4),
            (Escape::Unicode(1), c) if c.is_ascii_hexdigit() => Escape::None,
            (Escape::Unicode(left), c) if c.is_ascii_hexdigit() => Escape::Unicode(left - 1),
            _ => return false,
        };
        self.enter(State::String { is_key, escape })
    }

    fn open(&mut self, container: Container) -> bool {
        self.open.push(container);
        self.enter(match container {
            Container::Object => State::KeyOrEnd,
            Container::Array => State::ValueOrEnd,
        })
    }

    fn close(&mut self) -> bool {
        self.open.pop();
        if self.open.is_empty() {
            return self.enter(State::Complete);
        }
        self.end_value(self.position)
    }

    /// A value ended before byte `end`.
    fn end_value(&mut self, end: usize) -> bool {
        if self.open.len() == 1 {
            let value = self.value_start..end;
            self.members.push(Member { key: self.key.clone(), value });
        }
        self.enter(State::AfterValue)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::error::Category;

    use super::*;

    /// The scanner after `text`; `None` when it rejects.
    fn scan(text: &str) -> Option<ObjectScanner> {
        let mut scanner = ObjectScanner::new();
        text.chars().all(|c| scanner.advance(c)).then_some(scanner)
    }

    /// Text that is JSON now and then, and nearly JSON most of the time.
    fn near_json() -> impl Strategy<Value = String> {
        let token = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"\"",
            "\"é\\n\"",
            "\"\\u00e9\"",
            "\"\\ud800\"",
            "\"\\u12\"",
            "\"\\x\"",
            "\"\n\"",
            "\"",
            "0",
            "-",
            "12",
            "1.5",
            ".",
            "1e9",
            "E+2",
            "01",
            "true",
            "false",
            "null",
            "nul",
            " ",
            "\n",
            "\t",
            "x",
            "</tool_call>",
        ]);
        prop::collection::vec(token, 0..12).prop_map(|tokens| format!("{{{}", tokens.concat()))
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "-0.5e-3",
            "12E+4",
            "7",
            "\"\"",
            "\"a \\\" \\\\ é\"",
            "\"</tool_call>\"",
            "\"\\u00E9\\ud83d\\ude00\"",
            "{}",
            "[]",
            "{ }",
            "[\n]",
        ])
        .prop_map(str::to_owned);
        let value = leaf.prop_recursive(4, 24, 4, |inner| {
            let list = prop::collection::vec(inner.clone(), 1..4);
            let members = prop::collection::vec(inner, 1..4);
            prop_oneof![
                list.prop_map(|items| format!("[{}]", items.join(" ,"))),
                members.prop_map(|items| {
                    let member = |item: &String| format!("\"k\\t\" : {item}");
                    format!("{{{}}}", items.iter().map(member).collect::<Vec<_>>().join(",\n"))
                }),
            ]
        });
        prop::collection::vec(value, 0..4).prop_map(|values| {
            let member = |(i, value): (usize, &String)| format!(" \"{i}\": {value} ");
            format!("{{{}}}", values.iter().enumerate().map(member).collect::<Vec<_>>().join(","))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_parser_agrees_with_serde_json(text in near_json()) {
            let text = text.trim_end();
            let expected = serde_json::from_str::<IgnoredAny>(text);
            match (scan(text), expected) {
                (Some(scanner), Ok(_)) => prop_assert!(scanner.is_complete()),
                (Some(scanner), Err(error)) => {
                    prop_assert!(!scanner.is_complete());
                    // serde_json calls a lone minus at the end invalid, though digits may follow.
                    let open = error.classify() == Category::Eof || text.ends_with('-');
                    prop_assert!(open, "{text}: {error}");
                }
                (None, expected) => prop_assert!(expected.is_err(), "{text}"),
            }
        }

        #[test]
        fn the_parser_takes_every_object_and_finds_its_members(text in json()) {
            let scanner = scan(&text).unwrap();
            prop_assert!(scanner.is_complete());
            let whole: serde_json::Map<_, _> = serde_json::from_str(&text).unwrap();
            let members: serde_json::Map<String, serde_json::Value> = scanner
                .members()
                .iter()
                .map(|m| {
                    let key = serde_json::from_str(&text[m.key.clone()]).unwrap();
                    (key, serde_json::from_str(&text[m.value.clone()]).unwrap())
                })
                .collect();
            prop_assert_eq!(members, whole);
        }
    }
}

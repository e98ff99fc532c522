//! Server-sent events (WHATWG HTML, section 9.2) as bytes arrive.

use crate::outcome::{Failure, FailureKind};

/// Longest event; more is no token.
const MAX_EVENT: usize = 64 << 20;

/// Puts events together from pieces of any size.
#[derive(Debug, Default)]
pub(super) struct EventParser {
    /// The line that has begun.
    line: Vec<u8>,
    /// Data of the event that has begun, with a line break after each line.
    data: String,
    /// The last byte was a carriage return, which a line feed may follow as part of the same end.
    after_return: bool,
}

impl EventParser {
    /// Takes what has arrived and hands the data of every complete event to `event`.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut event: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut rest = bytes;
        if self.after_return && rest.first() == Some(&b'\n') {
            rest = &rest[1..];
        }
        self.after_return = false;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&rest[..end]);
            let is_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if is_return {
                match rest.split_first() {
                    Some((b'\n', after)) => rest = after,
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
            self.end_line(&mut event)?;
        }
        self.line.extend_from_slice(rest);
        if self.line.len() + self.data.len() > MAX_EVENT {
            let message = format!("an event is longer than {MAX_EVENT} bytes");
            return Err(Failure::new(FailureKind::Malformed, message));
        }
        Ok(())
    }

    /// Hands over an event that the end of the stream cut off before its blank line.
    pub(super) fn end(
        &mut self,
        mut event: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.end_line(&mut event)?;
        self.end_line(&mut event)
    }

    fn end_line(
        &mut self,
        event: &mut impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let result = data.strip_suffix('\n').map_or(Ok(()), &mut *event);
            self.data = data;
            self.data.clear();
            return result;
        }
        // Comments and the fields `event`, `id` and `retry` carry nothing that is measured.
        if let Some(value) = self.line.strip_prefix(b"data:") {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            let text = std::str::from_utf8(value).map_err(|error| {
                Failure::new(FailureKind::Malformed, format!("an event is not UTF-8: {error}"))
            })?;
            self.data.push_str(text);
            self.data.push('\n');
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = EventParser::default();
        let mut found = Vec::new();
        let mut keep = |data: &str| {
            found.push(data.to_owned());
            Ok(())
        };
        for piece in pieces {
            parser.push(piece, &mut keep).unwrap();
        }
        parser.end(&mut keep).unwrap();
        found
    }

    #[test]
    fn a_stream_gives_the_same_events_however_it_is_cut() {
        let stream = "data: {\"a\": \"é\"}\n\n: comment\n\nevent: x\r\ndata:b\r\ndata: c\r\n\r\n\
                      id: 1\n\ndata: [DONE]\n\n"
            .as_bytes();
        let expected = ["{\"a\": \"é\"}", "b\nc", "[DONE]"];
        assert_eq!(events(&[stream]), expected);
        for cut in 0..=stream.len() {
            assert_eq!(events(&[&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(events(&bytes), expected);
    }

    #[test]
    fn lone_returns_end_lines_and_the_last_blank_line_may_be_missing() {
        assert_eq!(events(&[b"data: a\r\rdata: b\n\ndata: c"]), ["a", "b", "c"]);
        assert_eq!(events(&[b"data: a\n", b"\n", b"data:"]), ["a", ""]);
    }

    #[test]
    fn bytes_that_are_not_text_are_reported() {
        let failure = EventParser::default().push(b"data: \xff\n", |_| Ok(())).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Malformed);
    }
}

//! Reasoning in the format of Qwen3: `<think>\n...\n</think>\n\n` before the answer.

use crate::tag::{TagMatch, TagMatcher, is_space};

pub(crate) const OPEN: &str = "<think>";
pub(crate) const CLOSE: &str = "</think>";

/// Splits reasoning from the answer in text that arrives in pieces.
///
/// - Reasoning is what stands between the tags. `<think>` opens it only as the first thing in the
///   text, whitespace aside: an answer that later speaks about the tag is an answer. A prompt may
///   already have opened it (`starts_in_reasoning`); then a further `<think>` at the start is
///   dropped.
/// - The newlines that the template puts around the tags belong to neither side: all at both ends
///   of the reasoning and at the start of the answer, as Qwen3's template strips them when it writes
///   the turn back. vLLM leaves them in. An empty think block gives no reasoning.
/// - Text that ends without `</think>` was cut off, so all of it is reasoning and there is no answer.
///   This is what vLLM's `qwen3` parser decides while thinking is enabled, and the only choice that
///   agrees with what was streamed. Unlike there, text that neither starts with `<think>` nor in
///   reasoning is an answer: the model chose not to think.
///
/// Only what could still become a tag, and newlines that could be next to one, are held back, and
/// the result does not depend on how the text was cut into pieces.
#[derive(Debug, Clone)]
pub struct ReasoningParser {
    state: State,
    starts_in_reasoning: bool,
    open: TagMatcher,
    close: TagMatcher,
    /// Whitespace at the start of the text, before what may be `<think>`.
    leading: String,
    /// Newlines at the end of the reasoning so far.
    newlines: usize,
    /// Whether the reasoning has more than newlines.
    has_reasoning: bool,
}

/// What a piece of text adds to each side. What is in one delta is in order: reasoning first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReasoningDelta {
    /// New reasoning.
    pub reasoning: String,
    /// New text of the answer.
    pub content: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but whitespace and perhaps the start of `<think>`.
    Start,
    Reasoning,
    /// Newlines after `</think>`.
    Between,
    Content,
}

impl ReasoningParser {
    /// A parser for the text that follows a prompt; `starts_in_reasoning` when the prompt ended
    /// within a think block ([`ReasoningParser::prompt_opens_reasoning`]).
    pub fn new(starts_in_reasoning: bool) -> Self {
        Self {
            state: State::Start,
            starts_in_reasoning,
            open: TagMatcher::new(OPEN),
            close: TagMatcher::new(CLOSE),
            leading: String::new(),
            newlines: 0,
            has_reasoning: false,
        }
    }

    /// Whether a rendered prompt ends with an opened think block, as that of the thinking-only
    /// models does.
    pub fn prompt_opens_reasoning(prompt: &str) -> bool {
        prompt.trim_end_matches(is_space).ends_with(OPEN)
    }

    /// Takes the next piece of text.
    pub fn push(&mut self, text: &str) -> ReasoningDelta {
        let mut delta = ReasoningDelta::default();
        for (at, c) in text.char_indices() {
            if self.state == State::Content {
                delta.content.push_str(&text[at..]);
                break;
            }
            self.advance(c, &mut delta);
        }
        delta
    }

    /// The text ended: what was held back.
    pub fn finish(&mut self) -> ReasoningDelta {
        let mut delta = ReasoningDelta::default();
        if self.state == State::Start {
            let released = self.open.release();
            self.begin_without_tag(released, &mut delta);
        }
        if self.state == State::Reasoning {
            let released = self.close.release();
            self.reason(released, &mut delta);
            self.release_newlines(&mut delta);
        }
        self.state = State::Content;
        delta
    }

    fn advance(&mut self, c: char, delta: &mut ReasoningDelta) {
        match self.state {
            State::Start if is_space(c) && !self.open.is_partial() => self.leading.push(c),
            State::Start => match self.open.advance(c) {
                (_, TagMatch::Complete) => self.state = State::Reasoning,
                ("", TagMatch::Partial) => {}
                (released, _) => {
                    self.begin_without_tag(released, delta);
                    self.advance(c, delta);
                }
            },
            State::Reasoning => {
                let (released, found) = self.close.advance(c);
                self.reason(released, delta);
                match found {
                    TagMatch::Text => self.reason(c.encode_utf8(&mut [0; 4]), delta),
                    TagMatch::Partial => {}
                    TagMatch::Complete => self.state = State::Between,
                }
            }
            State::Between if c == '\n' => {}
            State::Between | State::Content => {
                self.state = State::Content;
                delta.content.push(c);
            }
        }
    }

    /// The text does not start with `<think>`; `released` is what looked like it.
    fn begin_without_tag(&mut self, released: &str, delta: &mut ReasoningDelta) {
        self.state = if self.starts_in_reasoning { State::Reasoning } else { State::Content };
        // What is not `<think>` may still be the start of `</think>`.
        for c in std::mem::take(&mut self.leading).chars().chain(released.chars()) {
            self.advance(c, delta);
        }
    }

    /// Adds to the reasoning, without the newlines at its start and with those at its end held back.
    fn reason(&mut self, text: &str, delta: &mut ReasoningDelta) {
        for c in text.chars() {
            if c == '\n' {
                self.newlines += usize::from(self.has_reasoning);
            } else {
                self.release_newlines(delta);
                self.has_reasoning = true;
                delta.reasoning.push(c);
            }
        }
    }

    fn release_newlines(&mut self, delta: &mut ReasoningDelta) {
        delta.reasoning.extend(std::iter::repeat_n('\n', std::mem::take(&mut self.newlines)));
    }
}

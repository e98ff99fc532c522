//! Tags such as `<think>` in text that arrives in pieces.

/// Finds one tag, character by character.
///
/// A tag is ASCII, at least two characters long, and has its only `<` at the start: a failed match
/// can then only begin anew at the character that failed.
#[derive(Debug, Clone)]
pub(crate) struct TagMatcher {
    tag: &'static str,
    matched: usize,
}

/// What a character is to the tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagMatch {
    /// It belongs to no tag.
    Text,
    /// It could belong to the tag.
    Partial,
    /// It completes the tag.
    Complete,
}

impl TagMatcher {
    pub(crate) const fn new(tag: &'static str) -> Self {
        Self { tag, matched: 0 }
    }

    /// Takes one character. The first part of the result is text from before it that was the start
    /// of the tag until now and no longer is.
    pub(crate) fn advance(&mut self, c: char) -> (&'static str, TagMatch) {
        if self.tag[self.matched..].starts_with(c) {
            self.matched += 1;
            if self.matched < self.tag.len() {
                return ("", TagMatch::Partial);
            }
            self.matched = 0;
            return ("", TagMatch::Complete);
        }
        let released = self.release();
        if self.tag.starts_with(c) {
            self.matched = 1;
            return (released, TagMatch::Partial);
        }
        (released, TagMatch::Text)
    }

    /// Whether the text ends with the start of the tag.
    pub(crate) fn is_partial(&self) -> bool {
        self.matched > 0
    }

    /// Gives up a match that is not complete: what had matched is text.
    pub(crate) fn release(&mut self) -> &'static str {
        let released = &self.tag[..self.matched];
        self.matched = 0;
        released
    }
}

/// Whitespace that may stand next to a tag; the same as in JSON.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

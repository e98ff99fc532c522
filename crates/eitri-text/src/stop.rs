//! Stop strings across token borders.

use crate::TextError;

/// Finds the first of several stop strings in text that arrives in pieces.
///
/// The match that completes first wins; when two complete at the same character, the one listed
/// first. Text is held back only while it could still become the start of a stop string, so the
/// result does not depend on how the text was cut into pieces. One Knuth-Morris-Pratt automaton per
/// stop string: time is linear in the text.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    automata: Vec<Automaton>,
    include_stop: bool,
    /// Text that is the start of a stop string so far.
    held: String,
    stopped: bool,
}

/// Where a stop string was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopMatch {
    /// Position in the list of stop strings.
    pub index: usize,
}

#[derive(Debug, Clone)]
struct Automaton {
    pattern: Box<[u8]>,
    /// `border[i]`: length of the longest proper prefix of `pattern[..i]` that is also its suffix.
    border: Box<[usize]>,
    /// How many bytes of `pattern` the text ends with.
    state: usize,
}

impl Automaton {
    fn new(pattern: &str) -> Self {
        let pattern: Box<[u8]> = pattern.as_bytes().into();
        let mut border = vec![0; pattern.len() + 1];
        let mut length = 0;
        for i in 1..pattern.len() {
            while length > 0 && pattern[i] != pattern[length] {
                length = border[length];
            }
            if pattern[i] == pattern[length] {
                length += 1;
            }
            border[i + 1] = length;
        }
        Self { pattern, border: border.into(), state: 0 }
    }

    /// Takes one byte; true when the text now ends with the pattern.
    fn advance(&mut self, byte: u8) -> bool {
        if self.state == self.pattern.len() {
            self.state = self.border[self.state];
        }
        while self.state > 0 && self.pattern[self.state] != byte {
            self.state = self.border[self.state];
        }
        if self.pattern[self.state] == byte {
            self.state += 1;
        }
        self.state == self.pattern.len()
    }

    /// How many bytes at the end of the text could still become a match.
    fn partial(&self) -> usize {
        if self.state == self.pattern.len() { self.border[self.state] } else { self.state }
    }
}

impl StopMatcher {
    /// A matcher for `stop`. With `include_stop` the matched string stays at the end of the text.
    ///
    /// # Errors
    /// When a stop string is empty.
    pub fn new<S: AsRef<str>>(stop: &[S], include_stop: bool) -> Result<Self, TextError> {
        if let Some(index) = stop.iter().position(|s| s.as_ref().is_empty()) {
            return Err(TextError::EmptyStop { index });
        }
        let automata = stop.iter().map(|s| Automaton::new(s.as_ref())).collect();
        Ok(Self { automata, include_stop, held: String::new(), stopped: false })
    }

    /// Takes the next piece of text and appends to `out` what is certain not to belong to a stop
    /// string. After a match everything is ignored.
    pub fn push(&mut self, text: &str, out: &mut String) -> Option<StopMatch> {
        self.advance(text, true, out)
    }

    /// [`StopMatcher::push`] for text in which a stop string may begin but not end, because
    /// `min_tokens` are not reached yet.
    pub fn push_unarmed(&mut self, text: &str, out: &mut String) {
        self.advance(text, false, out);
    }

    fn advance(&mut self, text: &str, armed: bool, out: &mut String) -> Option<StopMatch> {
        if self.stopped {
            return None;
        }
        if self.automata.is_empty() {
            out.push_str(text);
            return None;
        }
        let before = self.held.len();
        self.held.push_str(text);
        for (offset, &byte) in text.as_bytes().iter().enumerate() {
            let mut completed = None;
            for (index, automaton) in self.automata.iter_mut().enumerate() {
                if automaton.advance(byte) && completed.is_none() {
                    completed = Some(index);
                }
            }
            if let (true, Some(index)) = (armed, completed) {
                let end = before + offset + 1;
                let cut =
                    if self.include_stop { end } else { end - self.automata[index].pattern.len() };
                out.push_str(&self.held[..cut]);
                self.held.clear();
                self.stopped = true;
                return Some(StopMatch { index });
            }
        }
        let keep = self.automata.iter().map(Automaton::partial).max().unwrap_or(0);
        let release = self.held.len() - keep;
        out.extend(self.held.drain(..release));
        None
    }

    /// The text ended: appends what was held back.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }

    /// Whether a stop string was found.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Number of bytes held back.
    pub fn held_back(&self) -> usize {
        self.held.len()
    }
}

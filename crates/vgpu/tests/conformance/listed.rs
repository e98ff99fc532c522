//! The forms that the decoder accepts, and a form's words, each of which a test must look at.

use std::cell::RefCell;

/// Words that are types.
const TYPES: [&str; 30] = [
    "pred", "b8", "u8", "s8", "b16", "u16", "s16", "f16", "bf16", "b32", "u32", "s32", "f32",
    "f16x2", "bf16x2", "tf32", "u16x2", "s16x2", "b64", "u64", "s64", "f64", "f32x2", "b128",
    "e4m3", "e5m2", "e4m3x2", "e5m2x2", "e2m1x2", "ue8m0x2",
];

/// An opcode with its modifiers.
#[derive(Debug)]
pub(crate) struct Opcode {
    pub(crate) text: String,
    words: Vec<String>,
    seen: RefCell<Vec<bool>>,
}

impl Opcode {
    fn new(text: &str) -> Self {
        let words: Vec<String> = text.split('.').skip(1).map(str::to_owned).collect();
        let seen = RefCell::new(vec![false; words.len()]);
        Self { text: text.to_owned(), words, seen }
    }

    /// The same without a word that combines its result with another.
    pub(crate) fn uncombined(other: &Self) -> Self {
        let plain = |word: &&str| !matches!(*word, "and" | "or" | "xor");
        Self::new(&other.text.split('.').filter(plain).collect::<Vec<_>>().join("."))
    }

    pub(crate) fn name(&self) -> &str {
        self.text.split('.').next().unwrap()
    }

    /// Whether a modifier is there, which the caller then heeds.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.one_of(&[word]).is_some()
    }

    /// The one of some modifiers that is there.
    pub(crate) fn one_of<'a>(&self, words: &[&'a str]) -> Option<&'a str> {
        let index = self.words.iter().position(|word| words.contains(&word.as_str()))?;
        self.seen.borrow_mut()[index] = true;
        words.iter().copied().find(|word| *word == self.words[index])
    }

    /// Modifiers that are known to change no result.
    pub(crate) fn ignore(&self, words: &[&str]) {
        for (word, seen) in self.words.iter().zip(self.seen.borrow_mut().iter_mut()) {
            *seen |= words.contains(&word.as_str());
        }
    }

    /// The types, in order.
    pub(crate) fn types(&self) -> Vec<&'static str> {
        self.ignore(&TYPES);
        let known = |word: &String| TYPES.iter().copied().find(|kind| kind == word);
        self.words.iter().filter_map(known).collect()
    }

    pub(crate) fn last_type(&self) -> &'static str {
        self.types().last().unwrap()
    }

    /// Fails if a modifier was not looked at: a reference that does not know of it proves nothing.
    pub(crate) fn assert_all_seen(&self) {
        let unseen: Vec<&String> = self
            .words
            .iter()
            .zip(self.seen.borrow().iter())
            .filter_map(|(word, seen)| (!seen).then_some(word))
            .collect();
        assert!(unseen.is_empty(), "{}: no test heeds {unseen:?}", self.text);
    }
}

/// All accepted forms of some instructions.
pub(crate) fn listed(names: &[&str]) -> Vec<Opcode> {
    let mut opcodes: Vec<Opcode> = vgpu::forms().iter().map(|form| Opcode::new(form)).collect();
    opcodes.retain(|opcode| names.contains(&opcode.name()));
    assert!(!opcodes.is_empty(), "no forms of {names:?}");
    opcodes
}

//! Whether the answers are text at all.
//!
//! A broken kernel is often fast. None of these signs proves one, since small models do repeat
//! themselves, but a fast run with them is not to be trusted before someone has read the answers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::outcome::BenchOutcome;

/// Characters that must repeat before it counts.
const MIN_REPEATING: usize = 48;
/// How often the same passage must come in a row.
const MIN_TIMES: usize = 4;
/// Longest passage that is taken for a single token.
const TOKEN_CHARACTERS: usize = 12;

/// How many answers show which sign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputCheck {
    /// Answers that were looked at.
    pub answers: usize,
    /// Nothing but white space.
    pub empty: usize,
    /// One token again and again, from beginning to end.
    pub single_token: usize,
    /// At least half of it is one passage again and again, up to its end.
    pub repeating: usize,
    /// Bytes that are no UTF-8, other than a character cut off at the end.
    pub invalid_utf8: usize,
    /// The same words as the answer to another prompt.
    pub identical: usize,
}

impl OutputCheck {
    /// Looks at the answers of a run.
    pub fn of(outcome: &BenchOutcome) -> Self {
        let completed = outcome.requests.iter().filter(|request| request.success());
        Self::of_texts(completed.map(|request| request.generated_text.as_str()))
    }

    /// Looks at answers to different prompts.
    pub fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut check = Self::default();
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for text in texts {
            check.answers += 1;
            check.invalid_utf8 += usize::from(has_invalid_utf8(text));
            match text.trim() {
                "" => check.empty += 1,
                text => {
                    *seen.entry(text).or_default() += 1;
                    match repetition(text) {
                        Repetition::None => {}
                        Repetition::OneToken => check.single_token += 1,
                        Repetition::Passage => check.repeating += 1,
                    }
                }
            }
        }
        check.identical = seen.values().filter(|&&count| count > 1).sum();
        check
    }

    /// Answers with the most frequent sign.
    pub fn worst(&self) -> usize {
        [self.empty, self.single_token + self.repeating, self.invalid_utf8, self.identical]
            .into_iter()
            .max()
            .unwrap_or_default()
    }

    /// Whether a fifth of the answers or more show the same sign.
    pub fn is_alarm(&self) -> bool {
        self.answers > 0 && self.worst() * 5 >= self.answers
    }
}

impl std::fmt::Display for OutputCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let signs = [
            (self.empty, "empty"),
            (self.single_token, "of a single token"),
            (self.repeating, "repeating"),
            (self.invalid_utf8, "not UTF-8"),
            (self.identical, "identical"),
        ];
        let mut found = signs.iter().filter(|(count, _)| *count > 0).peekable();
        if found.peek().is_none() {
            return write!(f, "{} answers, no sign of damage", self.answers);
        }
        write!(f, "of {} answers", self.answers)?;
        for (index, (count, sign)) in found.enumerate() {
            write!(f, "{} {count} {sign}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// U+FFFD stands for what was no UTF-8; at the end it may be a character that was cut off.
fn has_invalid_utf8(text: &str) -> bool {
    text.trim_end_matches(char::REPLACEMENT_CHARACTER).contains(char::REPLACEMENT_CHARACTER)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repetition {
    None,
    OneToken,
    Passage,
}

/// Looks for the shortest passage that the text repeats up to its end. The failure function of Knuth,
/// Morris and Pratt over the reversed text gives the period of every ending.
fn repetition(text: &str) -> Repetition {
    let reversed: Vec<char> = text.chars().rev().collect();
    let mut border = vec![0; reversed.len()];
    let mut found = Repetition::None;
    for end in 1..reversed.len() {
        let mut length = border[end - 1];
        while length > 0 && reversed[end] != reversed[length] {
            length = border[length - 1];
        }
        border[end] = if reversed[end] == reversed[length] { length + 1 } else { 0 };
        let ending = end + 1;
        let period = ending - border[end];
        if ending < MIN_REPEATING.min(reversed.len()) || period * MIN_TIMES > ending {
            continue;
        }
        if ending == reversed.len() && period <= TOKEN_CHARACTERS {
            found = Repetition::OneToken;
        } else if ending >= MIN_REPEATING && ending * 2 >= reversed.len() {
            found = Repetition::Passage;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROSE: &str = "The smith sets the iron on the anvil and waits for the colour to turn, \
                         since steel that is struck too cold will crack under the hammer.";

    #[test]
    fn prose_has_no_sign() {
        let other = "Rain fell over the harbour all night, and by morning the boats lay low.";
        let check = OutputCheck::of_texts([PROSE, other, "Yes.", "no no", "\u{fffd}"]);
        assert_eq!(check, OutputCheck { answers: 5, ..OutputCheck::default() });
        assert!(!check.is_alarm());
    }

    #[test]
    fn each_sign_is_counted() {
        let token = "!".repeat(128);
        let words = " the".repeat(100);
        let passage = format!("{PROSE}{}", " and then it went on".repeat(20));
        let cut = format!("{PROSE}\u{fffd}");
        let broken = format!("\u{fffd}{PROSE}?");
        let check = OutputCheck::of_texts(
            [&token, &words, &passage, &cut, &broken, " \n", PROSE, PROSE].map(|text: &str| text),
        );
        let want = OutputCheck {
            answers: 8,
            empty: 1,
            single_token: 2,
            repeating: 1,
            invalid_utf8: 1,
            identical: 2,
        };
        assert_eq!(check, want);
        assert!(check.is_alarm());
        assert_eq!(
            check.to_string(),
            "of 8 answers 1 empty, 2 of a single token, 1 repeating, 1 not UTF-8, 2 identical"
        );
    }

    proptest! {
        #[test]
        fn whatever_repeats_for_most_of_an_answer_is_found(
            start in "[a-z ]{0,40}", unit in "[a-z]{1,20}", times in 12_usize..40,
        ) {
            let text = format!("{start}|{}", unit.repeat(times));
            let long_enough = unit.len() * times >= MIN_REPEATING.max(start.len() + 1);
            prop_assume!(long_enough);
            prop_assert_ne!(repetition(&text), Repetition::None);
        }

        #[test]
        fn words_in_random_order_are_not_repetition(seed in any::<u64>()) {
            let mut state = seed | 1;
            let words: Vec<String> = (0..60).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                format!("w{}", state >> 40)
            }).collect();
            prop_assert_eq!(repetition(&words.join(" ")), Repetition::None);
        }
    }
}

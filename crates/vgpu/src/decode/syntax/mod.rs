//! Which forms of which instructions are accepted. A decoder sees no other; the conformance tests
//! go through the same list.

mod table;

use std::collections::HashMap;
use std::sync::LazyLock;

use table::{GROUPS, PATTERNS};

use crate::ptx::types::Type;

/// A place in an opcode where one of several words stands.
#[derive(Debug)]
struct Place {
    choices: Vec<&'static str>,
    optional: bool,
    /// The words change no result, so that not every combination with others is a form of its own.
    neutral: bool,
}

/// Opcodes that have the same places.
#[derive(Debug)]
struct Pattern(Vec<Place>);

/// The patterns by the first word of an opcode.
static TABLE: LazyLock<HashMap<&'static str, Vec<Pattern>>> = LazyLock::new(|| {
    let mut table: HashMap<&str, Vec<Pattern>> = HashMap::new();
    for pattern in PATTERNS {
        let pattern = Pattern::parse(pattern);
        for name in &pattern.0[0].choices {
            table
                .entry(name)
                .or_default()
                .push(Pattern(pattern.0[1..].iter().map(Place::copy).collect()));
        }
    }
    table
});

impl Place {
    fn parse(text: &'static str) -> Self {
        let (text, neutral) = text.strip_prefix('~').map_or((text, false), |text| (text, true));
        let (text, optional) = text.strip_suffix('?').map_or((text, false), |text| (text, true));
        let choices = text
            .split('|')
            .flat_map(|word| {
                let group = GROUPS.iter().find(|(name, _)| *name == word);
                group.map_or(word, |(_, words)| *words).split('|')
            })
            .collect();
        Self { choices, optional, neutral }
    }

    fn copy(&self) -> Self {
        Self { choices: self.choices.clone(), ..*self }
    }

    /// What may stand here, nothing as an empty word.
    fn words(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.optional.then_some("").into_iter().chain(self.choices.iter().copied())
    }
}

impl Pattern {
    fn parse(text: &'static str) -> Self {
        Self(text.split('.').map(Place::parse).collect())
    }

    /// Whether the words are one of the pattern's forms. As the assembler does, this takes
    /// modifiers in any order; only types must keep theirs.
    fn matches(&self, words: &[&str]) -> bool {
        fn fits(places: &[Place], words: &[&str], left: u32) -> bool {
            let Some((place, rest)) = places.split_first() else { return left == 0 };
            let waiting = || (0..words.len()).filter(|index| left >> index & 1 == 1);
            let is_type = |index: &usize| Type::from_suffix(words[*index]).is_some();
            let first_type = waiting().find(is_type);
            waiting()
                .filter(|index| place.choices.contains(&words[*index]))
                .filter(|index| !is_type(index) || Some(*index) == first_type)
                .any(|index| fits(rest, words, left & !(1 << index)))
                || place.optional && fits(rest, words, left)
        }
        words.len() < 32 && fits(&self.0, words, (1 << words.len()) - 1)
    }

    fn has(&self, word: &str) -> bool {
        self.0.iter().any(|place| place.choices.contains(&word))
    }

    /// What could stand at the first place that must have a word and has none.
    fn missing(&self, words: &[&str]) -> Option<&[&'static str]> {
        let empty = |place: &&Place| {
            !place.optional && !words.iter().any(|word| place.choices.contains(word))
        };
        self.0.iter().find(empty).map(|place| &place.choices[..])
    }

    /// Every combination of words, but of neutral ones each once, with the first of all others.
    fn forms(&self, name: &str) -> Vec<String> {
        let mut forms = vec![name.to_owned()];
        for place in &self.0 {
            let words: Vec<&str> = if place.neutral {
                place.words().take(1).collect()
            } else {
                place.words().collect()
            };
            forms = forms
                .iter()
                .flat_map(|form| words.iter().map(move |word| with(form, word)))
                .collect();
        }
        for (index, place) in self.0.iter().enumerate().filter(|(_, place)| place.neutral) {
            for word in place.words().skip(1) {
                let first = |(at, other): (usize, &Place)| {
                    if at == index { word } else { other.words().next().unwrap_or_default() }
                };
                let words = self.0.iter().enumerate().map(first);
                forms.push(words.fold(name.to_owned(), |form, word| with(&form, word)));
            }
        }
        forms
    }
}

fn with(form: &str, word: &str) -> String {
    if word.is_empty() { form.to_owned() } else { format!("{form}.{word}") }
}

/// Why an opcode is of none of the forms; nothing if it is of one.
pub(super) fn refusal(opcode: &[&str]) -> Option<String> {
    let (name, words) = opcode.split_first()?;
    let Some(patterns) = TABLE.get(name) else {
        return Some("this instruction is not supported".to_owned());
    };
    if patterns.iter().any(|pattern| pattern.matches(words)) {
        return None;
    }
    let known = |word: &&str| patterns.iter().any(|pattern| pattern.has(word));
    if let Some(word) = words.iter().find(|word| !known(word)) {
        return Some(format!("modifier .{word} is not supported"));
    }
    let missing = patterns
        .iter()
        .filter(|pattern| words.iter().all(|word| pattern.has(word)))
        .find_map(|pattern| pattern.missing(words));
    Some(match missing {
        Some(choices) => format!("one of .{} is missing", choices.join(" .")),
        None => "these modifiers and types are not supported together".to_owned(),
    })
}

/// Every form of every instruction that is accepted, in alphabetical order. Of words that change
/// no result, such as cache hints and scopes, each occurs, but not every combination.
///
/// # Example
/// ```
/// let forms = vgpu::forms();
/// assert!(forms.iter().any(|form| form == "add.sat.s32"));
/// assert!(!forms.iter().any(|form| form == "add.sat.u32"));
/// ```
pub fn forms() -> Vec<String> {
    let mut forms: Vec<String> = TABLE
        .iter()
        .flat_map(|(name, patterns)| patterns.iter().flat_map(|pattern| pattern.forms(name)))
        .collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_may_be_missing_and_change_places_but_types_may_not() {
        let pattern = Pattern::parse("rn|rz?.ftz?.~cta|gpu?.f32.s32|f32");
        let matches = |text: &str| pattern.matches(&text.split('.').collect::<Vec<_>>());
        assert!(matches("f32.s32") && matches("rz.ftz.gpu.f32.f32") && matches("gpu.f32.rn.s32"));
        assert!(!matches("s32.f32") && !matches("rn.rn.f32.s32") && !matches("rn.f32"));
        assert!(!matches("rn.f32.s32.hi"));
        let forms = pattern.forms("cvt");
        assert_eq!(forms.len(), 3 * 2 * 2 + 2, "{forms:?}");
        assert!(forms.contains(&"cvt.gpu.f32.s32".to_owned()), "{forms:?}");
    }

    #[test]
    fn every_form_of_the_list_is_accepted() {
        for form in forms() {
            let words: Vec<&str> = form.split('.').collect();
            assert_eq!(refusal(&words), None, "{form}");
        }
        let why = |text: &str| refusal(&text.split('.').collect::<Vec<_>>()).unwrap();
        assert_eq!(why("add.hi.u32"), "modifier .hi is not supported");
        assert_eq!(why("add.sat.u32"), "these modifiers and types are not supported together");
        assert_eq!(why("redux.add.u32"), "one of .sync is missing");
        assert_eq!(why("wgmma"), "this instruction is not supported");
    }
}

//! Incremental decoding and stop strings, as properties over random tokens and cuts.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod tiny_vocab;

use std::sync::{Arc, LazyLock};

use eitri_text::{StopMatcher, TextDecoder, TextDecoderOptions, TextError, Tokenizer};
use proptest::prelude::*;
use tiny_vocab::{END, THINK, tokenizer, tokenizer_json};

/// Ids of the whole vocabulary and beyond, half of them from a text that has whole characters.
fn ids() -> impl Strategy<Value = Vec<u32>> {
    let tokenizer = tokenizer();
    let size = tokenizer.vocab_size() as u32;
    let text =
        "[a-cé日😀👩‍ hel1234\n]{0,12}".prop_map(move |s| tokenizer.encode(&s, false).unwrap());
    let random = prop::collection::vec(0..size + 3, 0..6);
    prop::collection::vec(prop_oneof![text, random], 0..6).prop_map(|parts| parts.concat())
}

/// Cuts `items` at the given places.
fn cut<'a, T>(items: &'a [T], cuts: &[prop::sample::Index]) -> Vec<&'a [T]> {
    let mut places: Vec<usize> = cuts.iter().map(|c| c.index(items.len() + 1)).collect();
    places.extend([0, items.len()]);
    places.sort_unstable();
    places.windows(2).map(|w| &items[w[0]..w[1]]).collect()
}

/// By definition: the first place where a stop string ends, the first listed on a tie.
fn first_stop(text: &str, stops: &[String]) -> Option<(usize, usize)> {
    (1..=text.len()).find_map(|end| {
        let index = stops.iter().position(|s| text.as_bytes()[..end].ends_with(s.as_bytes()))?;
        Some((end, index))
    })
}

/// One file, read by the `tokenizers` crate and by ours.
static FROM_FILE: LazyLock<(tokenizers::Tokenizer, Tokenizer)> = LazyLock::new(|| {
    let json = serde_json::to_vec(&tokenizer_json()).unwrap();
    let oracle = tokenizers::Tokenizer::from_bytes(&json).unwrap();
    (oracle, Tokenizer::from_bytes(&json, None, None).unwrap())
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_add_up_and_no_character_is_split(ids in ids(), skip_special: bool) {
        let tokenizer = tokenizer();
        let whole = tokenizer.decode(&ids, skip_special).unwrap();
        let mut stream = tokenizer.decode_stream(&[], skip_special);
        let (mut text, mut bytes) = (String::new(), Vec::new());
        for &id in &ids {
            if !(skip_special && tokenizer.is_special(id)) {
                bytes.extend_from_slice(tokenizer.token_bytes(id));
            }
            text.push_str(&stream.push(id));
            prop_assert!(whole.starts_with(&text));
            // What is not emitted is the start of a character and nothing more.
            let decided = String::from_utf8_lossy(&bytes);
            let waiting = decided.strip_prefix(&text).unwrap();
            prop_assert!(matches!(waiting, "" | "\u{fffd}"), "{waiting:?} waits");
        }
        text.push_str(&stream.finish());
        prop_assert_eq!(text, whole);
    }

    #[test]
    fn decoding_equals_the_tokenizers_crate(ids in ids(), skip_special: bool) {
        let (oracle, ours) = &*FROM_FILE;
        let expected = oracle.decode(&ids, skip_special).unwrap();
        prop_assert_eq!(ours.decode(&ids, skip_special).unwrap(), expected);
    }

    #[test]
    fn any_text_survives_and_continues_any_prompt(text in "\\PC{0,24}", place: prop::sample::Index) {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode(&text, false).unwrap();
        prop_assert_eq!(&tokenizer.decode(&ids, false).unwrap(), &text);
        let (prompt, continuation) = ids.split_at(place.index(ids.len() + 1));
        let mut stream = tokenizer.decode_stream(prompt, false);
        let mut rest: String = continuation.iter().map(|&id| stream.push(id)).collect();
        rest.push_str(&stream.finish());
        // A character that the prompt began and the continuation ended belongs to the latter.
        let prompt_bytes: usize = prompt.iter().map(|&id| tokenizer.token_bytes(id).len()).sum();
        let border = (0..=prompt_bytes).rev().find(|&i| text.is_char_boundary(i)).unwrap();
        prop_assert_eq!(rest, &text[border..]);
    }

    #[test]
    fn stop_strings_do_not_depend_on_cuts(
        text in "[abé]{0,40}",
        stops in prop::collection::vec("[abé]{1,4}", 0..4),
        include: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let characters: Vec<char> = text.chars().collect();
        let mut matcher = StopMatcher::new(&stops, include).unwrap();
        let (mut out, mut seen, mut found) = (String::new(), String::new(), None);
        for piece in cut(&characters, &cuts) {
            let piece: String = piece.iter().collect();
            seen.push_str(&piece);
            found = found.or(matcher.push(&piece, &mut out));
            if found.is_none() {
                // Exactly what can still become a stop string is held back.
                let could_match = |n: &usize| {
                    seen.is_char_boundary(seen.len() - n)
                        && stops.iter().any(|s| s.len() > *n && s.starts_with(&seen[seen.len() - n..]))
                };
                let needed = (0..=seen.len()).rev().find(could_match).unwrap_or(0);
                prop_assert_eq!(matcher.held_back(), needed);
                prop_assert_eq!(&out, &seen[..seen.len() - needed]);
            }
        }
        matcher.finish(&mut out);
        if let Some((end, index)) = first_stop(&text, &stops) {
            prop_assert_eq!(found.map(|f| f.index), Some(index));
            let end = if include { end } else { end - stops[index].len() };
            prop_assert_eq!(out, &text[..end]);
        } else {
            prop_assert!(found.is_none());
            prop_assert_eq!(out, text);
        }
    }

    #[test]
    fn decoded_text_does_not_depend_on_pushes(
        ids in ids(),
        stop in prop::collection::vec("[a-c日é😀 hel1]{1,3}", 0..3),
        include_stop: bool,
        min_tokens in 0_usize..6,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let options = TextDecoderOptions { stop, include_stop, min_tokens, ..Default::default() };
        let run = |pushes: Vec<&[u32]>| {
            let mut decoder = TextDecoder::new(tokenizer(), &[], options.clone()).unwrap();
            let (mut text, mut stopped, mut tokens, mut offsets) = (String::new(), None, 0, vec![]);
            for push in pushes {
                let delta = decoder.push(push);
                assert!(stopped.is_none() || delta == eitri_text::TextDelta::default());
                text.push_str(&delta.text);
                stopped = stopped.or(delta.stopped);
                tokens += delta.tokens;
                offsets.extend(delta.offsets);
            }
            let rest = decoder.finish().text;
            assert!(stopped.is_none() || rest.is_empty());
            (text + &rest, stopped, tokens, offsets)
        };
        let at_once = run(vec![&ids]);
        prop_assert_eq!(&run(cut(&ids, &cuts)), &at_once);
        prop_assert_eq!(&run(ids.chunks(1).collect()), &at_once);
        prop_assert_eq!(at_once.2, at_once.3.len());
        if min_tokens == 0 {
            let whole = tokenizer().decode(&ids, true).unwrap();
            prop_assert!(whole.starts_with(&at_once.0));
            if let (Some((end, index)), false) = (first_stop(&whole, &options.stop), include_stop) {
                prop_assert_eq!(&at_once.0, &whole[..end - options.stop[index].len()]);
            }
        }
    }
}

fn options(stop: &[&str]) -> TextDecoderOptions {
    TextDecoderOptions {
        stop: stop.iter().map(|&s| s.to_owned()).collect(),
        ..TextDecoderOptions::default()
    }
}

#[test]
fn a_stop_string_ends_the_text_and_counts_its_tokens() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode("hello w1234 more", false).unwrap();
    let mut decoder = TextDecoder::new(tokenizer.clone(), &[], options(&["zz", "w12"])).unwrap();
    let delta = decoder.push(&ids);
    assert_eq!(delta.text, "hello ");
    assert_eq!(delta.stopped, Some(Arc::from("w12")));
    // "hello", " w" and "1234" were needed; characters before each.
    assert_eq!((delta.tokens, delta.offsets), (3, vec![0, 5, 7]));
    assert_eq!(decoder.push(&ids), eitri_text::TextDelta::default());
    let mut including = options(&["w12"]);
    including.include_stop = true;
    let mut decoder = TextDecoder::new(tokenizer, &[], including).unwrap();
    assert_eq!(decoder.push(&ids).text, "hello w12");
}

#[test]
fn stop_strings_wait_for_min_tokens() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode("ababab", false).unwrap();
    let mut waiting = options(&["ab"]);
    waiting.min_tokens = 2;
    let delta = TextDecoder::new(tokenizer, &[], waiting).unwrap().push(&ids);
    assert_eq!((delta.text.as_str(), delta.tokens), ("ab", 4));
}

#[test]
fn end_tokens_and_special_tokens_give_no_text() {
    let tokenizer = tokenizer();
    let letter = tokenizer.encode("a", false).unwrap()[0];
    let mut ended = options(&[]);
    ended.end_token_ids = vec![letter];
    let mut decoder = TextDecoder::new(tokenizer.clone(), &[], ended.clone()).unwrap();
    let delta = decoder.push(&[THINK, END, letter]);
    assert_eq!((delta.text.as_str(), delta.offsets), ("<think>", vec![0, 7, 7]));
    ended.include_stop = true;
    ended.skip_special_tokens = false;
    let mut decoder = TextDecoder::new(tokenizer, &[], ended).unwrap();
    assert_eq!(decoder.push(&[THINK, END, letter]).text, "<think><|end|>a");
}

#[test]
fn half_a_character_at_the_end_is_not_text() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode("a😀", false).unwrap();
    let mut decoder = TextDecoder::new(tokenizer.clone(), &[], options(&[])).unwrap();
    assert_eq!(decoder.push(&ids[..ids.len() - 1]).text, "a");
    assert_eq!(decoder.finish().text, "");
    // The raw stream says what the bytes are.
    let mut stream = tokenizer.decode_stream(&[], false);
    ids[..ids.len() - 1].iter().for_each(|&id| drop(stream.push(id)));
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn an_empty_stop_string_is_refused() {
    let error = TextDecoder::new(tokenizer(), &[], options(&["a", ""])).unwrap_err();
    assert!(matches!(error, TextError::EmptyStop { index: 1 }), "{error}");
}

//! Reasoning and tool calls: examples, and the property that cutting the text changes nothing,
//! against whole-text references.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod whole_text;

use eitri_text::{
    AnswerDelta, AnswerFormat, AnswerParser, ParserOptions, ReasoningParser, ToolParser,
};
use proptest::prelude::*;
use whole_text::{Part, answer_parts, reasoning_and_content};

const ALL: ParserOptions =
    ParserOptions { reasoning: true, starts_in_reasoning: false, tools: true };
const REASONING: ParserOptions = ParserOptions { tools: false, ..ALL };
const TOOLS: ParserOptions = ParserOptions { reasoning: false, ..ALL };

/// Adds deltas to the parts of an answer, and checks what is promised of each.
fn add(deltas: Vec<AnswerDelta>, parts: &mut Vec<Part>) {
    for delta in deltas {
        match (delta, parts.last_mut()) {
            (AnswerDelta::Reasoning(text), _) if text.is_empty() => panic!("empty delta"),
            (AnswerDelta::Content(text), _) if text.is_empty() => panic!("empty delta"),
            (AnswerDelta::Reasoning(text), Some(Part::Reasoning(whole)))
            | (AnswerDelta::Content(text), Some(Part::Content(whole))) => whole.push_str(&text),
            (AnswerDelta::Reasoning(text), _) => parts.push(Part::Reasoning(text)),
            (AnswerDelta::Content(text), _) => parts.push(Part::Content(text)),
            (AnswerDelta::ToolCallStart { index, name }, _) => {
                assert_eq!(index, parts.iter().filter(|p| matches!(p, Part::Call(..))).count());
                parts.push(Part::Call(name, String::new()));
            }
            (AnswerDelta::ToolCallArguments { index, text }, Some(Part::Call(_, arguments))) => {
                arguments.push_str(&text);
                assert_eq!(index + 1, parts.iter().filter(|p| matches!(p, Part::Call(..))).count());
            }
            (delta, _) => panic!("{delta:?} without a start"),
        }
    }
}

/// The parts of `pieces`, one text.
fn parse<'a>(options: ParserOptions, pieces: impl IntoIterator<Item = &'a str>) -> Vec<Part> {
    let mut parser = AnswerParser::new(options);
    let mut parts = Vec::new();
    for piece in pieces {
        add(parser.push(piece), &mut parts);
    }
    add(parser.finish(), &mut parts);
    parts
}

fn reasoning(text: &str) -> Part {
    Part::Reasoning(text.to_owned())
}

fn content(text: &str) -> Part {
    Part::Content(text.to_owned())
}

fn call(name: &str, arguments: &str) -> Part {
    Part::Call(name.to_owned(), arguments.to_owned())
}

/// Cuts `text` between characters at the given places.
fn cut<'a>(text: &'a str, cuts: &[prop::sample::Index]) -> Vec<&'a str> {
    let borders: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let mut places: Vec<usize> = cuts.iter().map(|c| borders[c.index(borders.len())]).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places.windows(2).map(|w| &text[w[0]..w[1]]).collect()
}

/// A block as a model writes it, with keys in either order.
fn block() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["\"move\"", "\"go_to\"", "\"\\u0066\"", "\"\"", "3"]);
    let arguments = prop::sample::select(vec![
        "{}",
        r#"{"place": "kitchen"}"#,
        r#"{"t": "</tool_call><tool_call>{\"name\""}"#,
        "{\"x\" : [1.50, -2e3, {\"é\": null}],\n \"y\":{\"z\":\"😀\\n<think>\"}}",
        r#"{"a": "\ud800"}"#,
        "\"{}\"",
        "null",
        "[1]",
        r#"{"a": 1"#,
    ]);
    let space = prop::sample::select(vec!["", "\n", " \n\t"]);
    (name, arguments, space, 0..6).prop_map(|(name, arguments, space, order)| {
        let object = match order {
            0 => format!(r#"{{"arguments":{arguments},"name":{name}}}"#),
            1 => format!(r#"{{ "id": 1.0, "name" : {name} }}"#),
            2 => format!(r#"{{"name": "x", "name": {name}, "arguments": {arguments}}}"#),
            _ => format!(r#"{{"name": {name}, "arguments": {arguments}}}"#),
        };
        format!("<tool_call>{space}{object}{space}</tool_call>")
    })
}

fn text() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "<think>",
        "</think>",
        "<tool_call>",
        "</tool_call>",
        "<th",
        "</thi",
        "</t",
        "<tool_",
        "<",
        ">",
        "call>",
        "ink>",
        "\n",
        "\n\n",
        " ",
        "\t",
        "{",
        "}",
        "\"",
        "\\",
        ":",
        "[1, 2]",
        "null",
        "{\"name\": \"f\"}",
        "é",
        "日本",
        "😀",
        "Sure.",
        "and then",
        "\u{a0}",
    ])
    .prop_map(str::to_owned);
    // A block with one character fewer is one way in which models fail.
    let damaged = (block(), any::<prop::sample::Index>()).prop_map(|(block, at)| {
        let at = at.index(block.chars().count());
        block.chars().enumerate().filter(|&(i, _)| i != at).map(|(_, c)| c).collect()
    });
    let thought = "[a-cé\n<]{0,6}".prop_map(|s| format!("<think>\n{s}\n</think>\n\n"));
    let parts = prop::collection::vec(
        prop_oneof![4 => fragment, 3 => block(), 1 => damaged, 1 => thought.clone()],
        0..9,
    );
    (prop::option::of(thought), parts, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(thought, parts, end, whole)| {
            let text = thought.unwrap_or_default() + &parts.concat();
            let borders: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            match borders.get(end.index(borders.len().max(1))) {
                Some(&end) if !whole => text[..end].to_owned(),
                _ => text,
            }
        },
    )
}

fn options() -> impl Strategy<Value = ParserOptions> {
    (any::<bool>(), any::<bool>(), prop::bool::weighted(0.8)).prop_map(
        |(reasoning, starts_in_reasoning, tools)| ParserOptions {
            reasoning,
            starts_in_reasoning: reasoning && starts_in_reasoning,
            tools,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn parsers_do_not_depend_on_cuts(
        text in text(),
        options in options(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let expected = answer_parts(options, &text);
        prop_assert_eq!(&parse(options, [text.as_str()]), &expected);
        prop_assert_eq!(&parse(options, cut(&text, &cuts)), &expected);
        let characters = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
        prop_assert_eq!(&parse(options, characters), &expected);
        for part in &expected {
            if let Part::Call(_, arguments) = part {
                let value: serde_json::Value = serde_json::from_str(arguments).unwrap();
                prop_assert!(value.is_object());
            }
        }
    }

    #[test]
    fn the_reasoning_parser_alone_does_not_depend_on_cuts(
        text in text(),
        starts: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut parser = ReasoningParser::new(starts);
        let mut deltas: Vec<_> = cut(&text, &cuts).into_iter().map(|p| parser.push(p)).collect();
        deltas.push(parser.finish());
        let reasoning: String = deltas.iter().map(|d| d.reasoning.as_str()).collect();
        let content: String = deltas.iter().map(|d| d.content.as_str()).collect();
        let expected = reasoning_and_content(starts, &text);
        prop_assert_eq!((reasoning.as_str(), content.as_str()), expected);
    }

    #[test]
    fn parsers_hold_back_only_what_could_become_a_tag(
        words in prop::collection::vec("[a-e日 >/{\"]{0,8}[a-e😀>]|</thin|<tool_cal|<", 1..8),
        starts: bool,
    ) {
        let options = ParserOptions { starts_in_reasoning: starts, ..ALL };
        let mut parser = AnswerParser::new(options);
        let (mut parts, mut pushed) = (Vec::new(), String::from("a"));
        add(parser.push("a"), &mut parts);
        for word in &words {
            add(parser.push(word), &mut parts);
            pushed.push_str(word);
            let tag = if starts { "</think>" } else { "<tool_call>" };
            let held = (0..tag.len()).rev().find(|&n| pushed.ends_with(&tag[..n])).unwrap();
            let certain = &pushed[..pushed.len() - held].trim_end_matches(' ');
            let (Part::Reasoning(text) | Part::Content(text)) = &parts[0] else {
                panic!("{parts:?}")
            };
            prop_assert!(text.len() >= certain.len() && pushed.starts_with(text.as_str()));
        }
    }
}

#[test]
fn the_reasoning_parser_splits_think_blocks() {
    let split = |text| parse(REASONING, [text]);
    assert_eq!(
        split("<think>\nOne.\n\nTwo.\n</think>\n\nDone.\n"),
        [reasoning("One.\n\nTwo."), content("Done.\n")]
    );
    assert_eq!(split("<think>\n\n</think>\n\nDone."), [content("Done.")]);
    assert_eq!(split("\n <think>a</think>b"), [reasoning("a"), content("b")]);
    assert_eq!(split("<think>a"), [reasoning("a")]);
    assert_eq!(split("<think>a\n</thin"), [reasoning("a\n</thin")]);
    assert_eq!(split("\nNo thought."), [content("\nNo thought.")]);
    assert_eq!(split("The <think> tag</think>"), [content("The <think> tag</think>")]);
    assert_eq!(
        split("<think>a</think>b <think>c</think>"),
        [reasoning("a"), content("b <think>c</think>")]
    );
    assert_eq!(split("<thi"), [content("<thi")]);
}

#[test]
fn the_reasoning_parser_goes_on_with_what_the_prompt_opened() {
    let split = |text| parse(ParserOptions { starts_in_reasoning: true, ..REASONING }, [text]);
    assert_eq!(split("a\n</think>\n\nb"), [reasoning("a"), content("b")]);
    assert_eq!(split("<think>\na\n</think>\n\nb"), [reasoning("a"), content("b")]);
    assert_eq!(split("\n</think>\n\nb"), [content("b")]);
    assert_eq!(split("cut off"), [reasoning("cut off")]);
    assert_eq!(split(" <thi"), [reasoning(" <thi")]);

    assert!(ReasoningParser::prompt_opens_reasoning("<|im_start|>assistant\n<think>\n"));
    assert!(!ReasoningParser::prompt_opens_reasoning("assistant\n<think>\n\n</think>\n\n"));
    assert!(!ReasoningParser::prompt_opens_reasoning("<think> is a tag<|im_end|>\n"));
}

#[test]
fn the_tool_parser_finds_calls_in_order_and_keeps_text() {
    let text = "Sure.\n<tool_call>\n{\"name\": \"move\", \"arguments\": {\"direction\": \"left\", \
                \"distance_m\": 0.50}}\n</tool_call>\n<tool_call>\n{\"arguments\": {\"text\": \
                \"</tool_call>\"}, \"name\": \"say\"}\n</tool_call>\nDone.\n<tool_call>{\"name\": \
                \"stop\"}</tool_call>\n";
    assert_eq!(
        parse(TOOLS, [text]),
        [
            content("Sure."),
            call("move", r#"{"direction": "left", "distance_m": 0.50}"#),
            call("say", r#"{"text": "</tool_call>"}"#),
            content("\nDone."),
            call("stop", "{}"),
        ]
    );
}

#[test]
fn the_tool_parser_takes_a_complete_last_block_without_its_tag() {
    for end in ["", "\n", "\n</tool_call", "<"] {
        let text = format!("<tool_call>\n{{\"name\": \"stop\", \"arguments\": {{}}}}{end}");
        assert_eq!(parse(TOOLS, [text.as_str()]), [call("stop", "{}")], "{end:?}");
    }
}

#[test]
fn the_tool_parser_delivers_anything_else_as_text() {
    let deep = format!(
        "<tool_call>{{\"name\": \"f\", \"arguments\": {{\"a\": {}{}}}}}</tool_call>",
        "[".repeat(200),
        "]".repeat(200)
    );
    for text in [
        "<tool_call>\n{\"name\": \"move\", \"arguments\": {\"distance_m\": 1",
        "<tool_call>\n{\"name\": \"move\", \"arguments\": {\"distance_m\": 1,}}\n</tool_call>",
        "<tool_call>\n{\"arguments\": {}}\n</tool_call>\n",
        "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": \"{}\"}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1e999}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"\\udc00\"}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {}} or so</tool_call>",
        "<tool_call>\n<function=move>\n</function>\n</tool_call>",
        "The tag <tool_call> opens a call, </tool_call> closes it.",
        "  \n",
        deep.as_str(),
    ] {
        assert_eq!(parse(TOOLS, [text]), [content(text)]);
    }
}

#[test]
fn the_tool_parser_goes_on_after_a_tag_that_opened_nothing() {
    assert_eq!(
        parse(TOOLS, ["<tool_call>\n<tool_call>\n{\"name\": \"stop\"}\n</tool_call>"]),
        [content("<tool_call>"), call("stop", "{}")]
    );
    // The end of the text decides that the first block is none; the second is inside its string.
    assert_eq!(
        parse(TOOLS, ["<tool_call>{\"name\": \"<tool_call>{}</tool_call><tool_call>{ }"]),
        [content("<tool_call>{\"name\": \"<tool_call>{}</tool_call><tool_call>{ }")]
    );
}

#[test]
fn the_tool_parser_gives_up_a_block_at_the_first_wrong_character() {
    let mut parser = ToolParser::new();
    let mut out = Vec::new();
    parser.push("a <tool_call>\n{\"name\": ", &mut out);
    assert_eq!(out, [AnswerDelta::Content("a".to_owned())]);
    parser.push("x and", &mut out);
    let text = "a <tool_call>\n{\"name\": x and".to_owned();
    assert_eq!(out, [AnswerDelta::Content(text)]);
}

#[test]
fn the_answer_parser_finds_all_parts() {
    let text = "<think>\nStop first: <tool_call>{\"name\": \"x\"}</tool_call>\n</think>\n\n\
                <tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>";
    assert_eq!(
        parse(ALL, [text]),
        [reasoning("Stop first: <tool_call>{\"name\": \"x\"}</tool_call>"), call("stop", "{}")]
    );
    assert_eq!(parse(ParserOptions::default(), [text]), [content(text)]);
}

#[test]
fn the_parsers_are_detected_in_real_templates() {
    let detect = AnswerFormat::detect;
    let qwen3 = detect(include_str!("fixtures/templates/qwen3.jinja"));
    assert_eq!(qwen3, AnswerFormat { reasoning: true, tools: true });
    let coder = detect(include_str!("fixtures/templates/qwen3_coder.jinja"));
    assert_eq!(coder, AnswerFormat { reasoning: false, tools: false });
    let smollm2 = detect(include_str!("fixtures/templates/smollm2.jinja"));
    assert_eq!(smollm2, AnswerFormat::default());
}

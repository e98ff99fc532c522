//! Tool calls in the Hermes format, which Qwen3's template asks for:
//! `<tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>`.

use serde_json::Value;

use super::object_scanner::ObjectScanner;
use crate::{
    AnswerDelta,
    tag::{TagMatch, TagMatcher, is_space},
};

pub(crate) const OPEN: &str = "<tool_call>";
pub(crate) const CLOSE: &str = "</tool_call>";

/// Finds tool calls in text that arrives in pieces.
///
/// A call is a JSON object between `<tool_call>` and `</tool_call>`, with any whitespace around it,
/// that has a `name` (a string, not empty) and `arguments` (an object; `{}` when absent) in any
/// order; of a repeated member the last counts. A tag within a JSON string is part of the string. A
/// last block without its end tag is a call when its object is complete. **Anything else is text**,
/// the tags included, and the search goes on right after the tag that opened nothing.
///
/// A call is delivered whole, when its block ends, and not in fragments as its arguments arrive:
/// fragments cannot be taken back, and only at the end is it certain that the arguments are valid
/// JSON and not cut off. The arguments are the model's own text, as `serde_json` can read it. A block
/// is given up as text at the first character that no JSON object could have there.
///
/// Text before, between and after calls is kept; vLLM keeps only what is before. Whitespace that
/// only separates calls from each other, from text or from the ends is dropped, as the template
/// writes it anew; between two pieces of text with calls in between, the first of it stays, so that
/// they do not run together.
///
/// Only what could still become a call, and whitespace that could be next to one, are held back, and
/// the result does not depend on how the text was cut into pieces.
#[derive(Debug, Clone)]
pub struct ToolParser {
    /// The text after `<tool_call>` while a block is open.
    buffer: String,
    /// How much of `buffer` was taken.
    cursor: usize,
    open: TagMatcher,
    block: Option<Block>,
    content: ContentWriter,
    /// How many calls were found.
    calls: usize,
}

/// What may be a call: the text after `<tool_call>`.
#[derive(Debug, Clone)]
struct Block {
    /// Where it starts in the buffer.
    start: usize,
    object: ObjectScanner,
    close: TagMatcher,
}

enum BlockStep {
    Open,
    Closed,
    Rejected,
}

struct Call<'a> {
    name: String,
    arguments: &'a str,
}

impl ToolParser {
    /// A parser for the text of one answer, without reasoning.
    pub fn new() -> Self {
        Self {
            buffer: String::new(),
            cursor: 0,
            open: TagMatcher::new(OPEN),
            block: None,
            content: ContentWriter::default(),
            calls: 0,
        }
    }

    /// Takes the next piece of text and appends what is certain to `out`.
    pub fn push(&mut self, text: &str, out: &mut Vec<AnswerDelta>) {
        self.buffer.push_str(text);
        self.parse(out);
        let taken = self.block.as_ref().map_or(self.buffer.len(), |block| block.start);
        self.buffer.drain(..taken);
        self.cursor -= taken;
        if let Some(block) = &mut self.block {
            block.start = 0;
        }
    }

    /// The text ended: appends what was held back.
    pub fn finish(&mut self, out: &mut Vec<AnswerDelta>) {
        while let Some(block) = self.block.take() {
            self.end_block(&block, out);
            self.parse(out);
        }
        self.content.text(self.open.release(), out);
        self.content.finish(out);
        self.buffer.clear();
        self.cursor = 0;
    }

    fn parse(&mut self, out: &mut Vec<AnswerDelta>) {
        while let Some(c) = self.buffer[self.cursor..].chars().next() {
            self.cursor += c.len_utf8();
            let Some(mut block) = self.block.take() else {
                self.advance_content(c, out);
                continue;
            };
            match block.advance(c) {
                BlockStep::Open => self.block = Some(block),
                BlockStep::Closed => self.end_block(&block, out),
                BlockStep::Rejected => self.reject(&block, out),
            }
        }
    }

    fn advance_content(&mut self, c: char, out: &mut Vec<AnswerDelta>) {
        let (released, found) = self.open.advance(c);
        self.content.text(released, out);
        match found {
            TagMatch::Text => self.content.text(c.encode_utf8(&mut [0; 4]), out),
            TagMatch::Partial => {}
            TagMatch::Complete => self.block = Some(Block::new(self.cursor)),
        }
    }

    /// The end tag or the end of the text came.
    fn end_block(&mut self, block: &Block, out: &mut Vec<AnswerDelta>) {
        let Some(call) = block.call(&self.buffer[block.start..]) else {
            return self.reject(block, out);
        };
        let index = self.calls;
        out.push(AnswerDelta::ToolCallStart { index, name: call.name });
        out.push(AnswerDelta::ToolCallArguments { index, text: call.arguments.to_owned() });
        self.calls += 1;
        self.content.call();
    }

    fn reject(&mut self, block: &Block, out: &mut Vec<AnswerDelta>) {
        self.content.text(OPEN, out);
        self.cursor = block.start;
    }
}

impl Default for ToolParser {
    fn default() -> Self {
        Self::new()
    }
}

impl Block {
    fn new(start: usize) -> Self {
        Self { start, object: ObjectScanner::new(), close: TagMatcher::new(CLOSE) }
    }

    fn advance(&mut self, c: char) -> BlockStep {
        if !self.object.is_complete() {
            return if self.object.advance(c) { BlockStep::Open } else { BlockStep::Rejected };
        }
        if is_space(c) && !self.close.is_partial() {
            return BlockStep::Open;
        }
        match self.close.advance(c) {
            (_, TagMatch::Complete) => BlockStep::Closed,
            ("", TagMatch::Partial) => BlockStep::Open,
            _ => BlockStep::Rejected,
        }
    }

    /// The call that the block is, given its text.
    fn call<'a>(&self, text: &'a str) -> Option<Call<'a>> {
        if !self.object.is_complete() {
            return None;
        }
        let (mut name, mut arguments) = (None, "{}");
        for member in self.object.members() {
            let value = &text[member.value.clone()];
            match serde_json::from_str(&text[member.key.clone()]) {
                Ok(Value::String(key)) if key == "name" => name = serde_json::from_str(value).ok(),
                Ok(Value::String(key)) if key == "arguments" => arguments = value,
                _ => {}
            }
        }
        let name = name.filter(|name: &String| !name.is_empty())?;
        // The grammar allows what no reader can represent: numbers beyond f64, half a surrogate
        // pair, nesting without bound. The next turn has to read the arguments back.
        let readable: Value = serde_json::from_str(arguments).ok()?;
        readable.is_object().then_some(Call { name, arguments })
    }
}

/// Emits text and decides what becomes of whitespace next to calls.
#[derive(Debug, Clone, Default)]
struct ContentWriter {
    /// The first whitespace since the last text.
    space: String,
    /// A call came since the last text.
    after_call: bool,
    /// A call came since `space`: further whitespace does not belong to it.
    space_ended: bool,
    has_text: bool,
}

impl ContentWriter {
    fn text(&mut self, text: &str, out: &mut Vec<AnswerDelta>) {
        for c in text.chars() {
            if is_space(c) {
                if !self.space_ended {
                    self.space.push(c);
                }
                continue;
            }
            if self.after_call && !self.has_text {
                self.space.clear();
            }
            self.space.push(c);
            append_content(&self.space, out);
            self.space.clear();
            self.after_call = false;
            self.space_ended = false;
            self.has_text = true;
        }
    }

    fn call(&mut self) {
        self.after_call = true;
        self.space_ended = !self.space.is_empty();
    }

    fn finish(&mut self, out: &mut Vec<AnswerDelta>) {
        if !self.after_call {
            append_content(&self.space, out);
        }
        self.space.clear();
    }
}

fn append_content(text: &str, out: &mut Vec<AnswerDelta>) {
    match out.last_mut() {
        _ if text.is_empty() => {}
        Some(AnswerDelta::Content(content)) => content.push_str(text),
        _ => out.push(AnswerDelta::Content(text.to_owned())),
    }
}

//! From the text of a chat completion to its parts: reasoning, content, tool calls.

use crate::{ReasoningParser, ToolParser, reasoning, tools};

/// Which parts to look for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParserOptions {
    /// Split reasoning from the answer; else its tags are content.
    pub reasoning: bool,
    /// The prompt ended within a think block ([`ReasoningParser::prompt_opens_reasoning`]). Without
    /// `reasoning` it has no effect.
    pub starts_in_reasoning: bool,
    /// Find tool calls; else they are content.
    pub tools: bool,
}

/// Something new in an answer. Nothing is empty and nothing is taken back later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerDelta {
    /// More reasoning.
    Reasoning(String),
    /// More content.
    Content(String),
    /// A call of the function `name`. Calls count from 0.
    ToolCallStart {
        /// Which call.
        index: usize,
        /// The function.
        name: String,
    },
    /// More of the arguments of a call that has started. All of them together are one JSON object, as
    /// the model wrote it.
    ToolCallArguments {
        /// Which call.
        index: usize,
        /// JSON text.
        text: String,
    },
}

/// Parses one answer as its text arrives: a [`ReasoningParser`], then a [`ToolParser`] on what is
/// not reasoning. A tool call within reasoning is reasoning.
///
/// The parts do not depend on how the text was cut into pieces.
#[derive(Debug, Clone)]
pub struct AnswerParser {
    reasoning: Option<ReasoningParser>,
    tools: Option<ToolParser>,
}

impl AnswerParser {
    /// A parser for one answer.
    pub fn new(options: ParserOptions) -> Self {
        Self {
            reasoning: options.reasoning.then(|| ReasoningParser::new(options.starts_in_reasoning)),
            tools: options.tools.then(ToolParser::new),
        }
    }

    /// Takes the next piece of text.
    pub fn push(&mut self, text: &str) -> Vec<AnswerDelta> {
        let mut out = Vec::new();
        if let Some(parser) = &mut self.reasoning {
            let delta = parser.push(text);
            push_reasoning(delta.reasoning, &mut out);
            self.push_content(&delta.content, &mut out);
        } else {
            self.push_content(text, &mut out);
        }
        out
    }

    /// The text ended: what was held back.
    pub fn finish(&mut self) -> Vec<AnswerDelta> {
        let mut out = Vec::new();
        if let Some(parser) = &mut self.reasoning {
            let delta = parser.finish();
            push_reasoning(delta.reasoning, &mut out);
            self.push_content(&delta.content, &mut out);
        }
        if let Some(parser) = &mut self.tools {
            parser.finish(&mut out);
        }
        out
    }

    fn push_content(&mut self, text: &str, out: &mut Vec<AnswerDelta>) {
        match &mut self.tools {
            Some(parser) => parser.push(text, out),
            None if text.is_empty() => {}
            None => out.push(AnswerDelta::Content(text.to_owned())),
        }
    }
}

fn push_reasoning(text: String, out: &mut Vec<AnswerDelta>) {
    if !text.is_empty() {
        out.push(AnswerDelta::Reasoning(text));
    }
}

/// What a model writes, judged by its chat template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswerFormat {
    /// Think blocks, as [`ReasoningParser`] reads them.
    pub reasoning: bool,
    /// Tool calls, as [`ToolParser`] reads them.
    pub tools: bool,
}

impl AnswerFormat {
    /// How to read the answer to a rendered `prompt`; `tools` says whether it may call any.
    pub fn options(self, prompt: &str, tools: bool) -> ParserOptions {
        ParserOptions {
            reasoning: self.reasoning,
            starts_in_reasoning: ReasoningParser::prompt_opens_reasoning(prompt),
            tools: tools && self.tools,
        }
    }

    /// Looks for the tags in the source of a chat template. Qwen3-Coder's template has the tags of
    /// tool calls too but puts XML (`<function=NAME>`) between them, which [`ToolParser`] does not
    /// read, so it counts as having none.
    pub fn detect(source: &str) -> Self {
        let has_both = |open, close| source.contains(open) && source.contains(close);
        Self {
            reasoning: has_both(reasoning::OPEN, reasoning::CLOSE),
            tools: has_both(tools::OPEN, tools::CLOSE) && !source.contains("<function="),
        }
    }
}

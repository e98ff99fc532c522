//! Chat templates: jinja2 as Python's `transformers` sets it up.

mod content;
mod environment;
mod python;
mod strftime;
mod tojson;

use minijinja::{Environment, Value as Jinja, value::Serde};
use serde_json::{Map, Value};

use crate::{AnswerFormat, SpecialTokens, TextError, Tokenizer};
use content::ContentFormat;

const DEFAULT: &str = "default";
const TOOL_USE: &str = "tool_use";

/// A chat template as it came with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTemplate {
    /// `default`, or the purpose, for example `tool_use`.
    pub name: String,
    /// The jinja source.
    pub source: String,
}

impl NamedTemplate {
    /// The template that is used when nothing asks for another.
    pub fn default_named(source: String) -> Self {
        Self { name: DEFAULT.to_owned(), source }
    }
}

/// A conversation to render.
#[derive(Debug, Clone, Copy)]
pub struct ChatInput<'a> {
    /// The messages as in the API. `content` may be a string, null, or a list of parts
    /// `{"type": "text", "text": ...}`; it is converted to what the template expects.
    pub messages: &'a [Value],
    /// Tool definitions, a list; `None` is Python's `None` in the template.
    pub tools: Option<&'a Value>,
    /// End with the opening of an assistant turn.
    pub add_generation_prompt: bool,
    /// Leave the last message open, so that the model goes on with it. Excludes
    /// `add_generation_prompt`.
    pub continue_final_message: bool,
    /// Further variables (`chat_template_kwargs`); they go before the special tokens.
    pub kwargs: &'a Map<String, Value>,
}

/// A compiled chat template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: Vec<(&'static str, String)>,
    /// Formats of the `default` and the `tool_use` template.
    default: ContentFormat,
    tool_use: Option<ContentFormat>,
    answer_format: AnswerFormat,
}

impl ChatTemplate {
    /// Compiles one template.
    ///
    /// # Errors
    /// When it is not valid jinja.
    pub fn new(source: impl Into<String>, special: &SpecialTokens) -> Result<Self, TextError> {
        Self::from_named(&[NamedTemplate::default_named(source.into())], special)
    }

    /// The template to use for a model: `explicit` (a file or the text of a template) where given,
    /// else what came with the tokenizer; `None` when there is neither.
    ///
    /// # Errors
    /// When the file cannot be read or the template is not valid jinja.
    pub fn load(explicit: Option<&str>, tokenizer: &Tokenizer) -> Result<Option<Self>, TextError> {
        let special = tokenizer.special_tokens();
        match explicit {
            Some(text) => Self::new(content::read_explicit(text)?, special).map(Some),
            None if tokenizer.chat_templates().is_empty() => Ok(None),
            None => Self::from_named(tokenizer.chat_templates(), special).map(Some),
        }
    }

    /// Compiles a model's templates. `default` renders, or the first where none has that name;
    /// `tool_use`, where there is one, renders conversations with tools.
    ///
    /// # Errors
    /// When the list is empty or a template is not valid jinja.
    pub fn from_named(
        templates: &[NamedTemplate],
        special: &SpecialTokens,
    ) -> Result<Self, TextError> {
        let find = |name: &str| templates.iter().find(|t| t.name == name);
        let default = find(DEFAULT).or(templates.first()).ok_or_else(|| {
            TextError::TemplateSyntax("the list of templates is empty".to_owned())
        })?;
        let mut environment = environment::python_like();
        let mut add = |name: &'static str, source: &str| {
            environment
                .add_template_owned(name, source.to_owned())
                .map_err(|e| TextError::TemplateSyntax(environment::describe(&e)))
        };
        add(DEFAULT, &default.source)?;
        let tool_use = find(TOOL_USE).filter(|t| t.name != default.name);
        if let Some(template) = tool_use {
            add(TOOL_USE, &template.source)?;
        }
        let special = special.named().map(|(name, token)| (name, token.text.clone())).collect();
        let sources = [Some(default), tool_use].into_iter().flatten();
        let formats = sources.map(|template| AnswerFormat::detect(&template.source));
        let answer_format = formats.fold(AnswerFormat::default(), |all, one| AnswerFormat {
            reasoning: all.reasoning || one.reasoning,
            tools: all.tools || one.tools,
        });
        let mut template = Self {
            environment,
            special,
            default: ContentFormat::default(),
            tool_use: None,
            answer_format,
        };
        template.default = template.detect_format(DEFAULT);
        template.tool_use = tool_use.map(|_| template.detect_format(TOOL_USE));
        Ok(template)
    }

    /// What the model's answers look like, judged by its templates.
    pub fn answer_format(&self) -> AnswerFormat {
        self.answer_format
    }

    /// Renders the conversation into a prompt. The prompt holds its special tokens as text, so it
    /// is encoded without adding any.
    ///
    /// # Errors
    /// When the template refuses the input (`raise_exception`), fails or runs too long, and when
    /// `continue_final_message` cannot be carried out.
    pub fn render(&self, input: &ChatInput<'_>) -> Result<String, TextError> {
        if input.add_generation_prompt && input.continue_final_message {
            return Err(TextError::ChatInput {
                field: "continue_final_message".to_owned(),
                message: "cannot be true together with add_generation_prompt".to_owned(),
            });
        }
        let has_tools = input.tools.is_some_and(|t| t.as_array().is_none_or(|t| !t.is_empty()));
        let (name, format) = match self.tool_use {
            Some(format) if has_tools => (TOOL_USE, format),
            _ => (DEFAULT, self.default),
        };
        let messages = format.adapt(input.messages)?;
        let prompt = self.render_named(name, &messages, input)?;
        if input.continue_final_message {
            content::cut_after_final_message(prompt, messages.last())
        } else {
            Ok(prompt)
        }
    }

    fn render_named(
        &self,
        name: &str,
        messages: &[Value],
        input: &ChatInput<'_>,
    ) -> Result<String, TextError> {
        let fail = |e: minijinja::Error| TextError::Render(environment::describe(&e));
        let mut variables: Vec<(&str, Jinja)> = vec![
            ("messages", Jinja::from(Serde(messages))),
            ("tools", input.tools.map_or_else(|| Jinja::from(()), |t| Jinja::from(Serde(t)))),
            ("documents", Jinja::from(())),
            ("add_generation_prompt", Jinja::from(input.add_generation_prompt)),
        ];
        variables.extend(self.special.iter().map(|(k, v)| (*k, Jinja::from(v.as_str()))));
        variables.extend(input.kwargs.iter().map(|(k, v)| (k.as_str(), Jinja::from(Serde(v)))));
        let template = self.environment.get_template(name).map_err(fail)?;
        template.render(Jinja::from_pairs(variables)).map_err(fail)
    }

    /// Finds out by rendering probes which forms of `content` a template can show.
    fn detect_format(&self, name: &str) -> ContentFormat {
        ContentFormat::probe(|messages| {
            self.render_named(
                name,
                messages,
                &ChatInput {
                    messages,
                    tools: None,
                    add_generation_prompt: false,
                    continue_final_message: false,
                    kwargs: &Map::new(),
                },
            )
            .ok()
        })
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("default", &self.default)
            .field("tool_use", &self.tool_use)
            .finish_non_exhaustive()
    }
}

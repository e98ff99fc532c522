//! A running engine with its model.

use std::{sync::Arc, time::Duration};

use eitri_engine::{EngineHandle, EngineStats, TokenId};
use eitri_runner::{LoadReport, MemoryPlan};
use eitri_text::{ChatInput, ChatTemplate, ParserOptions, TextDecoder, Tokenizer};
use serde_json::Value;

use crate::{
    BlockingGeneration, EngineBuilder, Error, Generation, GenerationOptions, Message, ModelInfo,
    Prompt, SamplingDefaults,
};

/// A model that is loaded and runs on threads of its own.
///
/// Share it behind an [`Arc`]. Dropping it aborts what runs, waits for the step in progress and
/// frees all memory.
#[derive(Debug)]
pub struct Engine {
    pub(crate) handle: EngineHandle,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) chat_template: Option<Arc<ChatTemplate>>,
    pub(crate) info: ModelInfo,
    pub(crate) plan: MemoryPlan,
    pub(crate) report: LoadReport,
    pub(crate) defaults: SamplingDefaults,
    pub(crate) eos_token_ids: Arc<[TokenId]>,
}

impl Engine {
    /// Starts describing an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Continues a prompt. Never blocks; the work is done on the engine's threads.
    ///
    /// # Errors
    /// When the prompt does not fit or cannot be expressed in tokens, or an option is out of range.
    pub fn generate(
        &self,
        prompt: impl Into<Prompt>,
        options: GenerationOptions,
    ) -> Result<Generation, Error> {
        let (tokens, parser) = self.read(&prompt.into(), &options)?;
        let decoder = options.decoder(&self.eos_token_ids);
        let decoder = TextDecoder::new(Arc::clone(&self.tokenizer), &tokens, decoder)?;
        let num_prompt = tokens.len();
        let room = self.plan.max_model_len.saturating_sub(num_prompt);
        let request = options.request(tokens, &self.defaults, &self.eos_token_ids, room);
        let events = self.handle.submit(request)?;
        Ok(Generation::new(events, decoder, num_prompt, parser))
    }

    /// [`Engine::generate`] for programs without async code.
    ///
    /// # Errors
    /// As for [`Engine::generate`].
    pub fn generate_blocking(
        &self,
        prompt: impl Into<Prompt>,
        options: GenerationOptions,
    ) -> Result<BlockingGeneration, Error> {
        self.generate(prompt, options).map(Generation::into_blocking)
    }

    /// The tokens of a prompt, as [`Engine::generate`] would use them.
    ///
    /// # Errors
    /// When a conversation has no template or the template refuses it, and when a token is unknown.
    pub fn encode(
        &self,
        prompt: &Prompt,
        options: &GenerationOptions,
    ) -> Result<Vec<TokenId>, Error> {
        self.read(prompt, options).map(|(tokens, _)| tokens)
    }

    /// The tokens of a prompt, and what its answer is to be searched for.
    fn read(
        &self,
        prompt: &Prompt,
        options: &GenerationOptions,
    ) -> Result<(Vec<TokenId>, ParserOptions), Error> {
        let mut parser = ParserOptions::default();
        let tokens = match prompt {
            Prompt::Text(text) => self.tokenizer.encode(text, true)?,
            Prompt::Tokens(tokens) => tokens.clone(),
            Prompt::Chat { messages, tools } => {
                let template = self.chat_template.as_ref().ok_or(Error::NoChatTemplate)?;
                let text = render(template, messages, tools, options)?;
                parser = template.answer_format().options(&text, !tools.is_empty());
                self.tokenizer.encode(&text, false)?
            }
        };
        let vocab_size = self.info.config.vocab_size;
        match tokens.iter().position(|&token| token as usize >= vocab_size) {
            None => Ok((tokens, parser)),
            Some(position) => {
                Err(Error::UnknownToken { token: tokens[position], position, vocab_size })
            }
        }
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The template of conversations, if the model has one.
    pub fn chat_template(&self) -> Option<&Arc<ChatTemplate>> {
        self.chat_template.as_ref()
    }

    /// What the model is.
    pub fn model_info(&self) -> &ModelInfo {
        &self.info
    }

    /// Where memory went.
    pub fn memory_plan(&self) -> &MemoryPlan {
        &self.plan
    }

    /// What loading did and how long it took.
    pub fn load_report(&self) -> &LoadReport {
        &self.report
    }

    /// Sampling parameters of generations that name none.
    pub fn sampling_defaults(&self) -> &SamplingDefaults {
        &self.defaults
    }

    /// Tokens with which the model ends an answer.
    pub fn eos_token_ids(&self) -> &Arc<[TokenId]> {
        &self.eos_token_ids
    }

    /// Counters after the last step.
    pub fn stats(&self) -> EngineStats {
        *self.handle.stats().borrow()
    }

    /// The engine below text, for requests of tokens with several continuations, prompt
    /// log-probabilities, or statistics as they change.
    pub fn handle(&self) -> &EngineHandle {
        &self.handle
    }

    /// Takes no more generations, lets those that run or wait go on for `drain`, aborts the rest
    /// and frees all memory. Blocks until that is done.
    ///
    /// # Errors
    /// When the engine had failed.
    pub fn shutdown(self, drain: Duration) -> Result<(), Error> {
        self.handle.shutdown(Some(drain));
        Ok(self.handle.join()?)
    }
}

fn render(
    template: &ChatTemplate,
    messages: &[Message],
    tools: &[Value],
    options: &GenerationOptions,
) -> Result<String, Error> {
    let messages: Vec<Value> = messages.iter().map(Message::to_json).collect();
    let tools = (!tools.is_empty()).then(|| Value::from(tools));
    Ok(template.render(&ChatInput {
        messages: &messages,
        tools: tools.as_ref(),
        add_generation_prompt: true,
        continue_final_message: false,
        kwargs: &options.chat_template_kwargs,
    })?)
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.handle.is_shut_down() {
            self.handle.shutdown(None);
        }
        // A failure has been reported to every generation and to the log.
        let _ = self.handle.join();
    }
}

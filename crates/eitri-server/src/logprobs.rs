//! Log-probabilities in the forms of the API.

use std::collections::BTreeMap;

use eitri_engine::{GeneratedToken, TokenLogprobs};
use eitri_openai::{
    ChatLogprobs, ChatTokenLogprob, ChatTopLogprob, CompletionLogprobs, PromptLogprob,
    PromptLogprobs,
};
use eitri_text::{DecodeStream, Tokenizer};

/// JSON has no minus infinity; vLLM writes this instead.
const LEAST: f32 = -9999.0;

/// How many candidates are shown and how tokens are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    /// Candidates per token.
    pub(crate) top: usize,
    /// Write `token_id:N` in place of the text.
    pub(crate) as_ids: bool,
}

impl Format {
    fn name(self, tokenizer: &Tokenizer, id: u32) -> String {
        if self.as_ids { format!("token_id:{id}") } else { tokenizer.token_text(id) }
    }

    fn push(
        self,
        list: &mut CompletionLogprobs,
        tokenizer: &Tokenizer,
        id: u32,
        logprobs: Option<&TokenLogprobs>,
    ) {
        list.tokens.push(self.name(tokenizer, id));
        list.token_logprobs.push(logprobs.map(|values| values.logprob.max(LEAST)));
        list.top_logprobs.push(logprobs.map(|values| {
            let top = values.top.iter().take(self.top);
            let mut candidates: BTreeMap<String, f32> =
                top.map(|&(id, value)| (self.name(tokenizer, id), value.max(LEAST))).collect();
            candidates.insert(self.name(tokenizer, id), values.logprob.max(LEAST));
            candidates
        }));
    }

    /// Generated tokens; `offsets` count from the start of the continuation, which `base`
    /// characters precede.
    pub(crate) fn completion(
        self,
        tokenizer: &Tokenizer,
        tokens: &[GeneratedToken],
        offsets: &[usize],
        base: usize,
    ) -> CompletionLogprobs {
        let mut list = CompletionLogprobs::default();
        for (token, offset) in tokens.iter().zip(offsets) {
            list.text_offset.push(base + offset);
            self.push(&mut list, tokenizer, token.id, token.logprobs.as_ref());
        }
        list
    }

    /// An echoed prompt; `logprobs` start at its second token.
    pub(crate) fn echo(
        self,
        tokenizer: &std::sync::Arc<Tokenizer>,
        prompt: &[u32],
        logprobs: &[TokenLogprobs],
    ) -> CompletionLogprobs {
        let mut list = CompletionLogprobs::default();
        let mut decoder = DecodeStream::new(std::sync::Arc::clone(tokenizer), &[], false);
        let mut characters = 0;
        let logprobs = std::iter::once(None).chain(logprobs.iter().map(Some));
        for (&id, logprobs) in prompt.iter().zip(logprobs) {
            list.text_offset.push(characters);
            characters += decoder.push(id).chars().count();
            self.push(&mut list, tokenizer, id, logprobs);
        }
        list
    }

    /// Generated tokens of a chat.
    pub(crate) fn chat(self, tokenizer: &Tokenizer, tokens: &[GeneratedToken]) -> ChatLogprobs {
        let bytes = |id| Some(tokenizer.token_bytes(id).to_vec());
        let content = tokens.iter().filter_map(|token| {
            let values = token.logprobs.as_ref()?;
            let top = values.top.iter().take(self.top).map(|&(id, value)| ChatTopLogprob {
                token: self.name(tokenizer, id),
                logprob: value.max(LEAST),
                bytes: bytes(id),
            });
            Some(ChatTokenLogprob {
                token: self.name(tokenizer, token.id),
                logprob: values.logprob.max(LEAST),
                bytes: bytes(token.id),
                top_logprobs: top.collect(),
            })
        });
        ChatLogprobs { content: content.collect() }
    }

    /// vLLM's `prompt_logprobs`.
    pub(crate) fn prompt(
        self,
        tokenizer: &Tokenizer,
        prompt: &[u32],
        logprobs: &[TokenLogprobs],
    ) -> PromptLogprobs {
        let entry = |id: u32, logprob: f32, rank: u32| {
            let decoded_token = Some(tokenizer.token_text(id));
            (id, PromptLogprob { logprob: logprob.max(LEAST), rank: Some(rank), decoded_token })
        };
        let positions = prompt.iter().skip(1).zip(logprobs).map(|(&id, values)| {
            let top = values.top.iter().take(self.top).zip(1..);
            let mut candidates: BTreeMap<_, _> =
                top.map(|(&(id, value), rank)| entry(id, value, rank)).collect();
            candidates.extend([entry(id, values.logprob, values.rank)]);
            Some(candidates)
        });
        std::iter::once(None).chain(positions).collect()
    }
}

/// Both lists, one after the other.
pub(crate) fn concat(
    mut first: CompletionLogprobs,
    second: CompletionLogprobs,
) -> CompletionLogprobs {
    first.text_offset.extend(second.text_offset);
    first.token_logprobs.extend(second.token_logprobs);
    first.tokens.extend(second.tokens);
    first.top_logprobs.extend(second.top_logprobs);
    first
}

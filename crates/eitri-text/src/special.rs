/// A token with a role in templates and prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its id.
    pub id: u32,
    /// Its text as it stands in a prompt, for example `<|im_end|>`.
    pub text: String,
}

/// The tokens with a role, as far as the tokenizer names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begin of sequence.
    pub bos: Option<SpecialToken>,
    /// End of sequence.
    pub eos: Option<SpecialToken>,
    /// Stands for text that the vocabulary lacks.
    pub unk: Option<SpecialToken>,
    /// Fills up batches.
    pub pad: Option<SpecialToken>,
}

impl SpecialTokens {
    /// The tokens under the names that chat templates use.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &SpecialToken)> {
        [
            ("bos_token", &self.bos),
            ("eos_token", &self.eos),
            ("unk_token", &self.unk),
            ("pad_token", &self.pad),
        ]
        .into_iter()
        .filter_map(|(name, token)| Some((name, token.as_ref()?)))
    }
}

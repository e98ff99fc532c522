//! Text to ids and ids to text.

use std::{fs, path::Path};

use serde::Deserialize;

use crate::{
    DecodeStream, GgufVocab, NamedTemplate, SpecialToken, SpecialTokens, TextError,
    gguf_vocab::BuiltVocab,
    pieces::{Pieces, Spelling},
    tokenizer_config::{TokenName, TokenizerConfig},
};

const TOKENIZER_FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILE: &str = "chat_template.jinja";

/// A vocabulary with the rules that turn text into its ids, and back.
///
/// Immutable after loading; share it behind an `Arc`.
pub struct Tokenizer {
    pub(crate) encoder: tokenizers::Tokenizer,
    pub(crate) pieces: Pieces,
    pub(crate) spelling: Spelling,
    /// Vocabulary entries as they are written in the file, by id.
    names: Vec<Option<Box<str>>>,
    is_special: Vec<bool>,
    special: SpecialTokens,
    bos: Affix,
    eos: Affix,
    chat_templates: Vec<NamedTemplate>,
}

/// What `add_special` does at one end of the ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Affix {
    /// Whatever the post-processor of `tokenizer.json` does.
    Keep,
    /// The token must be there.
    Add(u32),
    /// The token must not be there.
    Remove(u32),
}

impl Affix {
    fn new(wanted: Option<bool>, token: Option<&SpecialToken>) -> Self {
        match (wanted, token) {
            (Some(true), Some(token)) => Self::Add(token.id),
            (Some(false), Some(token)) => Self::Remove(token.id),
            _ => Self::Keep,
        }
    }
}

impl Tokenizer {
    /// Loads `tokenizer.json`, and where present `tokenizer_config.json` (special tokens, whether
    /// BOS is added, chat template) and `chat_template.jinja` (goes before the template in the
    /// configuration).
    ///
    /// # Errors
    /// Says which files were looked for, or which field of which file is wrong.
    pub fn from_dir(dir: &Path) -> Result<Self, TextError> {
        let tokenizer_json = read_optional(&dir.join(TOKENIZER_FILE))?.ok_or_else(|| {
            TextError::NoTokenizer { dir: dir.to_owned(), looked_for: TOKENIZER_FILE }
        })?;
        let config_json = read_optional(&dir.join(CONFIG_FILE))?;
        let template = match read_optional(&dir.join(TEMPLATE_FILE))? {
            None => None,
            Some(bytes) => Some(String::from_utf8(bytes).map_err(|e| TextError::File {
                file: TEMPLATE_FILE,
                message: format!("not valid UTF-8: {e}"),
            })?),
        };
        Self::from_bytes(&tokenizer_json, config_json.as_deref(), template)
    }

    /// The same from the contents of the files, for a model compiled into the binary.
    ///
    /// # Errors
    /// Names the file and field that is wrong.
    pub fn from_bytes(
        tokenizer_json: &[u8],
        tokenizer_config_json: Option<&[u8]>,
        chat_template: Option<String>,
    ) -> Result<Self, TextError> {
        let bad = |message: String| TextError::File { file: TOKENIZER_FILE, message };
        let mut encoder = tokenizers::Tokenizer::from_bytes(tokenizer_json)
            .map_err(|e| bad(format!("not a usable tokenizer: {e}")))?;
        check_added_ids(tokenizer_json, &encoder)?;
        // Lengths are the server's business; a stored truncation would cut prompts silently.
        encoder.with_truncation(None).map_err(|e| bad(format!("truncation: {e}")))?;
        encoder.with_padding(None);

        let decoder = serde_json::to_value(encoder.get_decoder())
            .map_err(|e| bad(format!("decoder: {e}")))?;
        let spelling = Spelling::from_decoder(&decoder)?;
        let names = collect_names(&encoder)?;
        let added = encoder.get_added_tokens_decoder();
        let pieces = Pieces::build(
            spelling,
            (0u32..)
                .zip(&names)
                .map(|(id, name)| name.as_deref().map(|name| (name, added.contains_key(&id))))
                .collect::<Vec<_>>()
                .into_iter(),
        );
        let mut is_special = vec![false; names.len()];
        for (&id, token) in &added {
            is_special[id as usize] = token.special;
        }

        let mut config =
            tokenizer_config_json.map(TokenizerConfig::parse).transpose()?.unwrap_or_default();
        let find = |token: &Option<TokenName>| {
            let text = token.as_ref()?.text();
            let id = encoder.token_to_id(text)?;
            Some(SpecialToken { id, text: text.to_owned() })
        };
        let special = SpecialTokens {
            bos: find(&config.bos_token),
            eos: find(&config.eos_token),
            unk: find(&config.unk_token),
            pad: find(&config.pad_token),
        };
        let from_config = config.take_chat_templates();
        let chat_templates = match chat_template {
            Some(source) => vec![NamedTemplate::default_named(source)],
            None => from_config,
        };
        Ok(Self {
            bos: Affix::new(config.add_bos_token, special.bos.as_ref()),
            eos: Affix::new(config.add_eos_token, special.eos.as_ref()),
            encoder,
            pieces,
            spelling,
            names,
            is_special,
            special,
            chat_templates,
        })
    }

    /// Builds the tokenizer that a GGUF file describes: from the whole `tokenizer.json` where the
    /// file has it, else from its vocabulary, which can be byte-level BPE (`gpt2`) or `SentencePiece`
    /// BPE (`llama`).
    ///
    /// # Errors
    /// Names the metadata key that is missing, inconsistent or of an unknown kind.
    pub fn from_gguf(vocab: GgufVocab) -> Result<Self, TextError> {
        if let Some(json) = &vocab.hugging_face {
            let special = vocab.special_tokens()?;
            return Ok(Self {
                bos: Affix::new(vocab.add_bos, special.bos.as_ref()),
                eos: Affix::new(vocab.add_eos, special.eos.as_ref()),
                special,
                ..Self::from_bytes(json.as_bytes(), None, vocab.chat_template)?
            });
        }
        let BuiltVocab {
            encoder,
            spelling,
            verbatim,
            is_special,
            special,
            add_bos,
            add_eos,
            tokens,
            chat_template,
        } = vocab.build()?;
        let pieces = Pieces::build(
            spelling,
            tokens.iter().zip(&verbatim).map(|(token, &verbatim)| Some((token.as_str(), verbatim))),
        );
        Ok(Self {
            bos: Affix::new(Some(add_bos), special.bos.as_ref()),
            eos: Affix::new(Some(add_eos), special.eos.as_ref()),
            encoder,
            pieces,
            spelling,
            names: tokens.into_iter().map(|token| Some(token.into_boxed_str())).collect(),
            is_special,
            special,
            chat_templates: chat_template.map(NamedTemplate::default_named).into_iter().collect(),
        })
    }

    /// The ids of `text`. Special tokens written in the text become their ids. With `add_special`
    /// the tokens that the model wants around every prompt (BOS, where it has one) are added.
    ///
    /// # Errors
    /// When the vocabulary cannot express the text, which byte-level vocabularies always can.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self
            .encoder
            .encode_fast(text, add_special)
            .map_err(|e| TextError::Encode(e.to_string()))?;
        let mut ids = encoding.get_ids().to_vec();
        if add_special {
            match self.bos {
                Affix::Add(id) if ids.first() != Some(&id) => ids.insert(0, id),
                Affix::Remove(id) if self.adds(id) && ids.first() == Some(&id) => {
                    ids.remove(0);
                }
                _ => {}
            }
            match self.eos {
                Affix::Add(id) if ids.last() != Some(&id) => ids.push(id),
                Affix::Remove(id) if self.adds(id) && ids.last() == Some(&id) => {
                    ids.pop();
                }
                _ => {}
            }
        }
        Ok(ids)
    }

    /// Whether BOS is put before every prompt.
    pub(crate) fn adds_bos(&self) -> bool {
        self.special.bos.as_ref().is_some_and(|token| match self.bos {
            Affix::Keep => self.adds(token.id),
            affix => matches!(affix, Affix::Add(_)),
        })
    }

    /// Whether EOS is put behind every prompt.
    pub(crate) fn adds_eos(&self) -> bool {
        self.special.eos.as_ref().is_some_and(|token| match self.eos {
            Affix::Keep => self.adds(token.id),
            affix => matches!(affix, Affix::Add(_)),
        })
    }

    /// Whether the post-processor puts `id` around an empty text.
    fn adds(&self, id: u32) -> bool {
        self.encoder.encode_fast("", true).is_ok_and(|e| e.get_ids().contains(&id))
    }

    /// The text of `ids`. Ids outside the vocabulary give nothing; bytes that are not UTF-8 give
    /// U+FFFD as [`String::from_utf8_lossy`] does.
    ///
    /// # Errors
    /// None today; a vocabulary with other decoding rules could have some.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        let mut text = String::new();
        let mut decoding = crate::decode::Decoding::at_start(self);
        for &id in ids {
            decoding.push(self, id, skip_special, &mut text);
        }
        decoding.finish(&mut text);
        Ok(text)
    }

    /// The id of a vocabulary entry, written as in the file (`Ġthe`, `<|im_end|>`).
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.encoder.token_to_id(token)
    }

    /// The vocabulary entry of an id, written as in the file.
    pub fn id_to_token(&self, id: u32) -> Option<&str> {
        self.names.get(id as usize)?.as_deref()
    }

    /// The bytes that a token stands for, possibly a part of a character; empty outside the
    /// vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.pieces.get(id)
    }

    /// The text that a token stands for alone, with U+FFFD for parts of characters.
    pub fn token_text(&self, id: u32) -> String {
        String::from_utf8_lossy(self.token_bytes(id)).into_owned()
    }

    /// One more than the largest id. The model's logits may have more columns.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// Entries of the vocabulary proper, without tokens that were added to it; the `vocab_size` of
    /// Hugging Face's tokenizers.
    pub fn base_vocab_size(&self) -> usize {
        self.encoder.get_vocab_size(false)
    }

    /// Whether the token has a role (`<|im_end|>`) and is left out of plain text. Tags such as
    /// `<think>` are usually not special.
    pub fn is_special(&self, id: u32) -> bool {
        self.is_special.get(id as usize).copied().unwrap_or(false)
    }

    /// BOS, EOS and their like.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// Chat templates that came with the tokenizer, in the order of the file.
    pub fn chat_templates(&self) -> &[NamedTemplate] {
        &self.chat_templates
    }

    /// Starts decoding a continuation of `prompt`.
    pub fn decode_stream(
        self: &std::sync::Arc<Self>,
        prompt: &[u32],
        skip_special: bool,
    ) -> DecodeStream {
        DecodeStream::new(self.clone(), prompt, skip_special)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("spelling", &self.spelling)
            .field("special", &self.special)
            .finish_non_exhaustive()
    }
}

/// The `tokenizers` crate gives added tokens the next free ids and not those in the file; where the
/// two differ the model would see other tokens than it was trained with.
fn check_added_ids(json: &[u8], encoder: &tokenizers::Tokenizer) -> Result<(), TextError> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        added_tokens: Vec<Added>,
    }
    #[derive(Deserialize)]
    struct Added {
        id: u32,
        content: String,
    }
    let bad = |message: String| TextError::File { file: TOKENIZER_FILE, message };
    let file: File = serde_json::from_slice(json).map_err(|e| bad(format!("added_tokens: {e}")))?;
    for Added { id, content } in file.added_tokens {
        // An empty text cannot occur and is not added.
        let actual = encoder.token_to_id(&content);
        if actual != Some(id) && !content.is_empty() {
            return Err(bad(format!(
                "added_tokens: {content:?} has id {id}: it should follow the vocabulary as {}",
                actual.map_or_else(|| "a new id".to_owned(), |id| id.to_string())
            )));
        }
    }
    Ok(())
}

/// All entries by id. A file whose ids are far apart would make a table that no one wants.
fn collect_names(encoder: &tokenizers::Tokenizer) -> Result<Vec<Option<Box<str>>>, TextError> {
    const MAX_ID: u32 = 1 << 22;
    let vocab = encoder.get_vocab(true);
    let mut names = vec![None; vocab.len()];
    for (token, id) in vocab {
        if id > MAX_ID {
            return Err(TextError::File {
                file: TOKENIZER_FILE,
                message: format!("token {token:?} has id {id}: ids should be at most {MAX_ID}"),
            });
        }
        let index = id as usize;
        if index >= names.len() {
            names.resize(index + 1, None);
        }
        names[index] = Some(token.into_boxed_str());
    }
    Ok(names)
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, TextError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Read { path: path.to_owned(), source }),
    }
}

use std::path::PathBuf;

/// What can go wrong between text and tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The directory has none of the files that hold a tokenizer.
    #[error("no tokenizer in {}: looked for {looked_for}", dir.display())]
    NoTokenizer {
        /// Where was looked.
        dir: PathBuf,
        /// The file names, separated by commas.
        looked_for: &'static str,
    },
    /// A file exists and cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A tokenizer or configuration file that does not say what it should.
    #[error("{file}: {message}")]
    File {
        /// Name of the file.
        file: &'static str,
        /// The field, the value, and what would be right.
        message: String,
    },
    /// GGUF metadata from which no tokenizer can be built.
    #[error("gguf field {field}: {message}")]
    Gguf {
        /// Name of the metadata key.
        field: &'static str,
        /// The value and what would be right.
        message: String,
    },
    /// The tokenizer could not encode a text.
    #[error("text cannot be encoded: {0}")]
    Encode(String),
    /// A stop string without characters would match everywhere.
    #[error("stop[{index}] is empty: a stop string needs at least one character")]
    EmptyStop {
        /// Position in the list of stop strings.
        index: usize,
    },
    /// A chat template that cannot be parsed.
    #[error("chat template is not valid: {0}")]
    TemplateSyntax(String),
    /// A chat template that failed on this input, or refused it with `raise_exception`.
    #[error("chat template: {0}")]
    Render(String),
    /// A chat input that cannot be handed to the template.
    #[error("{field}: {message}")]
    ChatInput {
        /// The field of the request.
        field: String,
        /// The value and what would be right.
        message: String,
    },
}

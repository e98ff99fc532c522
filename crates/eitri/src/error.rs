//! The one error type of the library.

use std::{path::PathBuf, sync::Arc};

use eitri_engine::{EngineError, SubmitError};
use eitri_models::ModelError;
use eitri_runner::RunnerError;
use eitri_text::TextError;

use crate::HubError;

/// What can go wrong with an engine. Messages name the file, field or setting at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No model was given to the builder.
    #[error("no model was given")]
    NoModel,
    /// Nothing lies where the model was looked for.
    #[error("model {model} is not found: looked in {}", looked_in(looked_in_paths))]
    ModelNotFound {
        /// What was asked for.
        model: String,
        /// Where was looked.
        looked_in_paths: Vec<PathBuf>,
        /// The command that would fetch it, when there is one.
        fetched_by: Option<&'static str>,
    },
    /// A model of the hub is not in its cache and cannot be downloaded.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A setting out of range.
    #[error("{setting} must be {expected}, got {value}")]
    Setting {
        /// The flag of the command line, which is also the name of the builder's method.
        setting: &'static str,
        /// What would be right.
        expected: String,
        /// The value that was given.
        value: String,
    },
    /// A file with sampling defaults that cannot be used.
    #[error("{file}: {message}")]
    GenerationConfig {
        /// The file or flag.
        file: String,
        /// The field, its value, and what would be right.
        message: String,
    },
    /// Threads cannot be bound to the cores that were asked for.
    #[error("cannot run on core {core}: {reason}")]
    Affinity {
        /// The core.
        core: usize,
        /// Why not.
        reason: String,
    },
    /// The model's files are missing, damaged or of an unknown kind.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// The model does not fit, or loading it failed.
    #[error(transparent)]
    Runner(Box<RunnerError>),
    /// The tokenizer or chat template is unusable, or cannot express a prompt.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The engine did not start or came to an end.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A request was refused.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// A conversation was given to a model without chat template.
    #[error("the model has no chat template")]
    NoChatTemplate,
    /// A prompt of tokens holds one that the model does not know.
    #[error(
        "token {token} at position {position} of the prompt is outside the vocabulary of {vocab_size}"
    )]
    UnknownToken {
        /// The token.
        token: u32,
        /// Where it is.
        position: usize,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// A generation failed while it ran.
    #[error("the generation failed: {0}")]
    Generation(Arc<str>),
    /// Texts for calibration that cannot be used; line 0 means the whole file.
    #[error("{}{}: {message}", path.display(), in_line(*line))]
    Calibration {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Something lies where a model shall be written.
    #[error("{} exists already", path.display())]
    OutputExists {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file shall be written over the one that it is made from.
    #[error("{} would be written over itself; choose another name", path.display())]
    OutputIsInput {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no thread to load the model on, or it panicked.
    #[error("the loading thread failed: {0}")]
    LoadThread(String),
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        Self::Model(Box::new(error))
    }
}

impl From<RunnerError> for Error {
    fn from(error: RunnerError) -> Self {
        Self::Runner(Box::new(error))
    }
}

impl Error {
    /// What to do about it, where that is not plain from the message.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoModel => Some("give a directory, a .gguf file or a hub id".to_owned()),
            Self::ModelNotFound { fetched_by: Some(command), .. } => {
                Some(format!("`{command}` fetches it"))
            }
            Self::ModelNotFound { .. } => {
                Some("give a directory, a .gguf file or a hub id such as ORG/NAME".to_owned())
            }
            Self::Hub(error) => error.hint(),
            Self::OutputExists { .. } => Some("give --force to replace it".to_owned()),
            Self::NoChatTemplate => Some("give one with --chat-template".to_owned()),
            Self::Text(TextError::NoTokenizer { .. }) => {
                Some("put tokenizer.json beside the weights, or give --tokenizer".to_owned())
            }
            _ => None,
        }
    }
}

fn in_line(line: usize) -> String {
    if line == 0 { String::new() } else { format!(", line {line}") }
}

fn looked_in(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

//! Reading PTX text. Names follow the PTX ISA.

pub(crate) mod ast;
mod body;
mod lexer;
mod module;
pub(crate) mod types;

use std::sync::Arc;

pub(crate) use body::parse_body;

use crate::error::PtxError;

/// A parsed PTX module, not yet placed on a device.
#[derive(Debug, Clone)]
pub struct Module(pub(crate) Arc<ast::Module>);

impl Module {
    /// Reads the declarations of a PTX text and finds its functions. Their bodies are read when a
    /// kernel is asked for, because modules of hundreds of kernels are common.
    ///
    /// # Errors
    /// [`PtxError`] with the line that is not PTX.
    pub fn parse(text: &str) -> Result<Self, PtxError> {
        module::parse(text).map(|module| Self(Arc::new(module)))
    }

    /// The `.target` directive, such as `sm_110a`.
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// Names of the kernels, in the order of the text.
    pub fn kernel_names(&self) -> impl Iterator<Item = &str> {
        self.0.functions.iter().filter(|f| f.is_entry).map(|f| f.name.as_str())
    }
}

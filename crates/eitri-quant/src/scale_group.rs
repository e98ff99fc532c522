//! How finely a stored matrix is scaled.

use std::fmt;

/// Which values of a stored matrix share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleGroup {
    /// Values that stand for themselves have none.
    Unscaled,
    /// So many neighbours in a row.
    Inputs(usize),
    /// A row.
    Row,
    /// All.
    Tensor,
    /// A block of so many rows and inputs.
    Block(usize, usize),
}

impl ScaleGroup {
    /// Groups of `size` inputs in rows of `k`.
    pub(crate) fn of_inputs(size: usize, k: usize) -> Self {
        if size >= k { Self::Row } else { Self::Inputs(size) }
    }
}

impl fmt::Display for ScaleGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unscaled => f.pad("-"),
            Self::Inputs(size) => f.pad(&size.to_string()),
            Self::Row => f.pad("row"),
            Self::Tensor => f.pad("tensor"),
            Self::Block(rows, inputs) => f.pad(&format!("{rows}x{inputs}")),
        }
    }
}

//! Checks of operands that hold one row per token.

use candle_core::Tensor;

use crate::KernelError;

/// Width of a `[max_rows, width]` tensor that must hold at least `rows` rows.
pub(super) fn width_of(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
    rows: usize,
) -> Result<usize, KernelError> {
    match *tensor.dims() {
        [max, width] if max >= rows => Ok(width),
        _ => Err(KernelError::Shape {
            op,
            what,
            expected: format!("[at least {rows}, width]"),
            got: format!("{:?}", tensor.dims()),
        }),
    }
}

/// As [`width_of`], and the width must be `width`.
pub(super) fn check_rows(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
    rows: usize,
    width: usize,
) -> Result<(), KernelError> {
    if width_of(op, what, tensor, rows)? == width {
        return Ok(());
    }
    Err(KernelError::Shape {
        op,
        what,
        expected: format!("[at least {rows}, {width}]"),
        got: format!("{:?}", tensor.dims()),
    })
}

/// A vector of `width` elements.
pub(super) fn check_vector(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
    width: usize,
) -> Result<(), KernelError> {
    if *tensor.dims() == [width] {
        return Ok(());
    }
    Err(KernelError::Shape {
        op,
        what,
        expected: format!("[{width}]"),
        got: format!("{:?}", tensor.dims()),
    })
}

/// A list with one entry per row.
pub(super) fn check_len(
    op: &'static str,
    what: &'static str,
    len: usize,
    rows: usize,
) -> Result<(), KernelError> {
    if len == rows {
        return Ok(());
    }
    Err(KernelError::Shape { op, what, expected: format!("{rows} long"), got: len.to_string() })
}

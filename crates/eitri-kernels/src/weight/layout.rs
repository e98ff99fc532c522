//! The strip layout that one pass over memory serves decode and prefill with.
//!
//! Rows come in strips of `2 * lanes` (lanes: f32 lanes of the vector unit that will read them).
//! A strip is one linear stream over k; within it each group of k holds its scales, then the codes
//! of the first half of the rows, then those of the second half, ordered so that one vector load
//! yields four consecutive k of `lanes` rows (unquantised values: one k). It is a permutation of the
//! canonical bytes, except that the last strip is filled up with zero rows. A weight therefore
//! belongs to the instruction set that it was packed for.

use crate::Isa;

/// Where values lie inside a strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Rows that one vector covers.
    pub(crate) lanes: usize,
}

impl Layout {
    /// The layout that the kernels of `isa` read.
    pub(crate) fn of(isa: Isa) -> Self {
        match isa {
            Isa::Scalar | Isa::Avx2 | Isa::NeonDot => Self { lanes: 8 },
            Isa::Avx512 => Self { lanes: 16 },
        }
    }

    /// Rows of a strip.
    pub(crate) fn rows(self) -> usize {
        2 * self.lanes
    }

    /// Strips that hold `n` rows.
    pub(crate) fn strips(self, n: usize) -> usize {
        n.div_ceil(self.rows())
    }

    /// Byte offset of the `vector`-th vector of 4-byte cells for row `row`, in a section that
    /// holds `vectors` vectors for each half of the strip.
    pub(crate) fn cell(self, row: usize, vectors: usize, vector: usize) -> usize {
        let (half, lane) = (row / self.lanes, row % self.lanes);
        ((half * vectors + vector) * self.lanes + lane) * 4
    }
}

//! Bytes of a file: mapped, compiled into the program, or made by it.

#![allow(unsafe_code, reason = "the one place that maps files into memory")]

use std::{fs::File, ops::Range, path::Path};

use memmap2::{Mmap, UncheckedAdvice};

use crate::QuantError;

/// Read-only bytes that live as long as this value.
#[derive(Debug)]
pub enum FileBytes {
    /// A file in the page cache.
    Mapped(Mmap),
    /// Part of the program.
    Static(&'static [u8]),
    /// Made in memory.
    Owned(Vec<u8>),
}

impl FileBytes {
    /// Maps a file. A file that is shortened by another program while it is mapped ends this one
    /// with a bus error: checkpoints are replaced by renaming, not by writing into them.
    ///
    /// # Errors
    /// When the file cannot be opened or mapped.
    pub fn map(path: &Path) -> Result<Self, QuantError> {
        let io = |error| QuantError::Io { path: path.to_owned(), error };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() == 0 {
            // An empty file cannot be mapped everywhere; the parsers say what is wrong with it.
            return Ok(Self::Static(&[]));
        }
        // SAFETY: the map is read-only and private; see above for files that change meanwhile.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Ok(Self::Mapped(map))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// Gives back the memory of pages that will not be read again soon. They stay readable.
    pub(crate) fn release(&self, range: Range<usize>) {
        if let Self::Mapped(map) = self {
            // SAFETY: dropping clean pages of a read-only file map loses nothing: a later access
            // reads them from the file again.
            let outcome = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "the system keeps the pages of a consumed tensor");
            }
        }
    }
}

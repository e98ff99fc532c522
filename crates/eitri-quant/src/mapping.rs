//! Bytes of a file: mapped, compiled into the program, or made by it.

#![allow(unsafe_code, reason = "the one place that maps files into memory")]

use std::{fs::File, ops::Range, path::Path};

use memmap2::{Advice, Mmap, UncheckedAdvice};

use crate::QuantError;

/// Read-only bytes that live as long as this value.
#[derive(Debug)]
pub enum FileBytes {
    /// A file in the page cache.
    Mapped(MappedFile),
    /// Part of the program.
    Static(&'static [u8]),
    /// Made in memory.
    Owned(Vec<u8>),
}

/// A map, and the file that it is of.
#[derive(Debug)]
pub struct MappedFile {
    map: Mmap,
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux takes advice"))]
    file: File,
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
        Ok(Self::Mapped(MappedFile { map, file }))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => &file.map,
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    /// Asks the system to read a range soon, without waiting for it.
    pub(crate) fn will_need(&self, range: Range<usize>) {
        if let Self::Mapped(file) = self {
            note_refusal(file.map.advise_range(Advice::WillNeed, range.start, range.len()));
        }
    }

    /// Gives back the memory of pages that will not be read again soon: those of this process and,
    /// on Linux, the page cache's too, unless another process maps them. They stay readable.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Self::Mapped(file) = self else { return };
        // SAFETY: dropping clean pages of a read-only file map loses nothing: a later access reads
        // them from the file again.
        let unmapped = unsafe {
            file.map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
        };
        note_refusal(unmapped);
        #[cfg(target_os = "linux")]
        note_refusal(
            rustix::fs::fadvise(
                &file.file,
                range.start as u64,
                std::num::NonZero::new(range.len() as u64),
                rustix::fs::Advice::DontNeed,
            )
            .map_err(Into::into),
        );
    }
}

/// Advice that is not taken costs time or memory, and nothing else.
fn note_refusal(outcome: std::io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "the system does not take advice on a file's pages");
    }
}

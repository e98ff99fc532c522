//! Files are read ahead of the packing, and given back behind it.
//!
//! A thread follows the packing through the files: it asks the system for the bytes that come next,
//! and drops those that were packed from the page cache, so that cache and packed weights together
//! do not hold the model twice.

use std::{
    ops::Range,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{FileBytes, Matrix};

/// Bytes that are read ahead of the matrix in hand: a layer of a large model.
const AHEAD: u64 = 256 << 20;
/// Bytes that are asked for at once. Asking takes as long as reading when the disk is busy, and
/// meanwhile nothing is given back.
const PIECE: usize = 8 << 20;
/// The largest unit of the page cache: a huge page.
const FOLIO: usize = 2 << 20;

/// Part of a file.
#[derive(Debug, Clone)]
pub(crate) struct FileRange<'a> {
    pub(crate) file: &'a FileBytes,
    pub(crate) range: Range<usize>,
}

/// The parts of files that matrices are stored in, in the order in which they will be packed.
#[derive(Debug, Default)]
pub struct ReadOrder<'a> {
    pieces: Vec<Piece<'a>>,
    bytes: u64,
}

/// Advice about a part of a file.
#[derive(Debug, Clone)]
enum Advice<'a> {
    WillNeed(FileRange<'a>),
    Release(FileRange<'a>),
}

impl Advice<'_> {
    fn give(self) {
        match self {
            Self::WillNeed(FileRange { file, range }) => file.will_need(range),
            Self::Release(FileRange { file, range }) => file.release(range),
        }
    }
}

#[derive(Debug)]
struct Piece<'a> {
    part: FileRange<'a>,
    /// Bytes up to its end, counted over all pieces.
    end: u64,
}

impl<'a> ReadOrder<'a> {
    /// Adds the tensors of a matrix.
    pub fn push(&mut self, matrix: &Matrix<'a>) {
        let mut parts: Vec<FileRange<'a>> = matrix.file_ranges().collect();
        // In the order of the disk, and neighbours as one: a stack of experts has thousands.
        parts.sort_unstable_by_key(|part| (std::ptr::from_ref(part.file), part.range.start));
        parts.dedup_by(|next, part| {
            let touch = std::ptr::eq(next.file, part.file) && next.range.start == part.range.end;
            if touch {
                part.range.end = next.range.end;
            }
            touch
        });
        for FileRange { file, range } in parts {
            let mut start = range.start;
            while start < range.end {
                // Pieces end where pages do: the cache gives back whole ones only.
                let end = ((start / PIECE + 1) * PIECE).min(range.end);
                self.bytes += (end - start) as u64;
                let part = FileRange { file, range: start..end };
                self.pieces.push(Piece { part, end: self.bytes });
                start = end;
            }
        }
    }

    /// Runs `work`, which tells the cursor what it packs: the same matrices in the same order.
    pub fn follow<R>(&self, work: impl FnOnce(&Cursor) -> R) -> R {
        self.follow_with(work, Advice::give)
    }

    fn follow_with<R>(
        &self,
        work: impl FnOnce(&Cursor) -> R,
        give: impl Fn(Advice<'a>) + Send,
    ) -> R {
        let cursor = Cursor::default();
        thread::scope(|scope| {
            let follower = thread::Builder::new().name("eitri-read-ahead".to_owned());
            if let Err(error) = follower.spawn_scoped(scope, || cursor.serve(&self.pieces, give)) {
                tracing::warn!(%error, "weights are not read ahead: no thread for it");
            }
            let _end = End(&cursor);
            work(&cursor)
        })
    }
}

/// How far the packing is.
#[derive(Debug, Default)]
pub struct Cursor {
    place: Mutex<Place>,
    moved: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct Place {
    /// Bytes of matrices that are packed.
    done: u64,
    /// The same with the matrix in hand.
    in_hand: u64,
    ended: bool,
}

/// Ends the following thread, also when packing panics.
struct End<'a>(&'a Cursor);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.change(|place| place.ended = true);
    }
}

impl Cursor {
    /// The next matrices, of this many bytes in the files, are being packed.
    pub fn begin(&self, bytes: u64) {
        self.change(|place| place.in_hand = place.done + bytes);
    }

    /// They are packed: their bytes in the files are not needed any more.
    pub fn finish(&self) {
        self.change(|place| place.done = place.in_hand);
    }

    fn change(&self, change: impl FnOnce(&mut Place)) {
        change(&mut self.lock());
        self.moved.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the packing until it ends.
    fn serve<'a>(&self, pieces: &[Piece<'a>], give: impl Fn(Advice<'a>)) {
        let (mut ahead, mut behind) = (0, 0);
        loop {
            let is_needed = |place: &Place, ahead: usize| {
                let start = ahead.checked_sub(1).map_or(0, |last: usize| pieces[last].end);
                ahead < pieces.len() && start < place.in_hand + AHEAD
            };
            let is_packed = |place: &Place, behind: usize| {
                pieces.get(behind).is_some_and(|piece| piece.end <= place.done)
            };
            let is_idle = |place: &mut Place| {
                !place.ended && !is_needed(place, ahead) && !is_packed(place, behind)
            };
            let waited = self.moved.wait_while(self.lock(), is_idle);
            let place = *waited.unwrap_or_else(PoisonError::into_inner);
            while is_packed(&place, behind) {
                let FileRange { file, range } = pieces[behind].part.clone();
                // The cache keeps a folio that reaches past the end of what is released, so the end
                // of the piece before is released once more.
                let before = behind.checked_sub(1).map(|before| &pieces[before].part);
                let goes_on = |before: &&FileRange<'a>| {
                    std::ptr::eq(before.file, file) && before.range.end == range.start
                };
                let overlap = before.filter(goes_on).map_or(0, |part| part.range.len().min(FOLIO));
                give(Advice::Release(FileRange { file, range: range.start - overlap..range.end }));
                behind += 1;
            }
            // What is packed already needs no reading.
            ahead = ahead.max(behind);
            if place.ended {
                return;
            }
            if is_needed(&place, ahead) {
                give(Advice::WillNeed(pieces[ahead].part.clone()));
                ahead += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;

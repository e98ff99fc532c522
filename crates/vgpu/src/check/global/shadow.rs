//! For each word of global memory the number of its history, in pages that are made as they are
//! touched and used again by the next launch.

use std::collections::HashMap;

/// Words of a page.
const PAGE: u64 = 1024;

/// Pages whose place is remembered.
const RECENT: usize = 16;

/// Pages that are kept for the next launch: 64 MiB.
const KEPT: usize = 1 << 14;

/// Numbers of histories by word.
#[derive(Default)]
pub(super) struct Shadow {
    /// Place of each page in `cells`, in pages.
    places: HashMap<u64, usize>,
    cells: Vec<u32>,
    /// Number plus one, and place, of pages touched lately.
    recent: [(u64, usize); RECENT],
}

impl Shadow {
    /// Up to `count` words from `word` on, as many as lie in one page. A number that the histories
    /// of this launch do not have means none.
    #[inline]
    pub(super) fn cells(&mut self, word: u64, count: u64) -> &mut [u32] {
        let (page, from) = (word / PAGE, word % PAGE);
        let place = self.place(page) * PAGE as usize;
        let end = (from + count).min(PAGE);
        &mut self.cells[place + from as usize..place + end as usize]
    }

    #[inline]
    fn place(&mut self, page: u64) -> usize {
        let recent = &mut self.recent[page as usize % RECENT];
        if recent.0 == page + 1 {
            return recent.1;
        }
        let next = self.places.len();
        let place = *self.places.entry(page).or_insert(next);
        *recent = (page + 1, place);
        let needed = (place + 1) * PAGE as usize;
        if self.cells.len() < needed {
            self.cells.resize(needed, 0);
        }
        place
    }

    /// Begins anew; what the pages hold stays, and is no number of the next launch.
    pub(super) fn reset(&mut self) {
        self.places.clear();
        self.recent = [(0, 0); RECENT];
        if self.cells.len() > KEPT * PAGE as usize {
            self.forget();
        }
    }

    /// Forgets all numbers.
    pub(super) fn forget(&mut self) {
        self.places.clear();
        self.recent = [(0, 0); RECENT];
        self.cells = Vec::new();
    }

    /// The numbers of all words.
    pub(super) fn all(&mut self) -> &mut [u32] {
        let used = self.places.len() * PAGE as usize;
        self.cells.truncate(used);
        &mut self.cells
    }
}

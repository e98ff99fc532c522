//! Python's `random`, whose integer and shuffle streams have been the same since Python 3.2.

use super::mt19937::Mt19937;

/// `random.Random`.
#[derive(Debug, Clone)]
pub struct PythonRandom {
    words: Mt19937,
}

impl PythonRandom {
    /// As `random.seed(seed)` leaves it.
    pub fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        let key = if high == 0 { &[low][..] } else { &[low, high] };
        Self { words: Mt19937::from_key(key) }
    }

    /// In [0, count); 0 where `count` is 0.
    pub fn below(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        let shift = count.leading_zeros();
        loop {
            let word = self.words.next_u32() >> shift;
            if word < count {
                return word;
            }
        }
    }

    /// `shuffle(items)`.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u32 + 1) as usize;
            items.swap(last, other);
        }
    }

    /// Positions that `choices(items, k=count)` takes of `len` items, with replacement.
    pub fn choices(&mut self, len: usize, count: usize) -> Vec<usize> {
        let pick = |_| (self.words.next_f64() * len as f64) as usize;
        (0..count).map(pick).collect()
    }
}

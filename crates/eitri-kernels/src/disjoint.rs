//! A slice whose parts are written by different threads.

#![allow(unsafe_code, reason = "hands out disjoint parts of one slice to several threads")]

use std::{marker::PhantomData, ops::Range};

/// A mutable slice that threads share, each writing to parts that no other thread touches.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it gives access to `T` from several threads, but to each element from one at a time, as
// the contract of `part` demands; that needs no more than `T: Send`.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// Part of the slice; panics when it reaches past the end.
    ///
    /// # Safety
    /// While the part lives, no other part may overlap it.
    #[allow(clippy::mut_from_ref, reason = "that is the purpose; see the safety contract")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: within the slice that is borrowed for `'a`; unaliased by contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

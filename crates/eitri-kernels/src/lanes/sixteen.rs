//! Sixteen f32 lanes, in which attention works: the keys of a block, or a group of dimensions.

use super::Simd;

/// Sixteen lanes of an instruction set `S`, in one register or several.
///
/// Every function must be `#[inline(always)]`, as those of [`Simd`].
pub(crate) trait Sixteen<S>: Copy {
    fn splat(s: S, x: f32) -> Self;
    /// Reads 16 values.
    ///
    /// # Safety
    /// `x` must be valid for reading 16 values.
    unsafe fn load(s: S, x: *const f32) -> Self;
    /// Writes 16 values.
    ///
    /// # Safety
    /// `out` must be valid for writing 16 values.
    unsafe fn store(self, s: S, out: *mut f32);
    /// Reads 8 words that each hold two bf16: first the low halves, then the high halves.
    ///
    /// # Safety
    /// `words` must be valid for reading 8 words.
    unsafe fn load_bf16_pairs(s: S, words: *const u32) -> Self;
    /// Reads 16 E4M3 codes as their values times 2^-8, NaN as NaN.
    ///
    /// # Safety
    /// `words` must be valid for reading 4 words.
    unsafe fn load_e4m3(s: S, words: *const u32) -> Self;
    fn add(self, s: S, b: Self) -> Self;
    fn sub(self, s: S, b: Self) -> Self;
    fn mul(self, s: S, b: Self) -> Self;
    /// `self * b + c`.
    fn fma(self, s: S, b: Self, c: Self) -> Self;
    /// The greater; `b` where either is NaN.
    fn max(self, s: S, b: Self) -> Self;
    /// As [`Simd::exp2`].
    fn exp2(self, s: S) -> Self;
    /// The first `n` lanes, then `fill`; whatever was in the others is gone, NaN too.
    fn keep_first(self, s: S, n: usize, fill: f32) -> Self;
    /// Greatest lane.
    fn reduce_max(self, s: S) -> f32;
}

/// Two vectors of eight, the first lanes first.
impl<S: Simd> Sixteen<S> for (S::V, S::V) {
    #[inline(always)]
    fn splat(s: S, x: f32) -> Self {
        (s.splat(x), s.splat(x))
    }

    #[inline(always)]
    unsafe fn load(s: S, x: *const f32) -> Self {
        // SAFETY: 16 values by contract.
        unsafe { (s.load_ptr(x), s.load_ptr(x.add(8))) }
    }

    #[inline(always)]
    unsafe fn store(self, s: S, out: *mut f32) {
        // SAFETY: 16 values by contract.
        unsafe {
            s.store_ptr(self.0, out);
            s.store_ptr(self.1, out.add(8));
        }
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(s: S, words: *const u32) -> Self {
        // SAFETY: the caller's.
        unsafe { s.load_bf16_pairs(words) }
    }

    #[inline(always)]
    unsafe fn load_e4m3(s: S, words: *const u32) -> Self {
        // SAFETY: the caller's.
        unsafe { s.load_e4m3(words) }
    }

    #[inline(always)]
    fn add(self, s: S, b: Self) -> Self {
        (s.add(self.0, b.0), s.add(self.1, b.1))
    }

    #[inline(always)]
    fn sub(self, s: S, b: Self) -> Self {
        (s.sub(self.0, b.0), s.sub(self.1, b.1))
    }

    #[inline(always)]
    fn mul(self, s: S, b: Self) -> Self {
        (s.mul(self.0, b.0), s.mul(self.1, b.1))
    }

    #[inline(always)]
    fn fma(self, s: S, b: Self, c: Self) -> Self {
        (s.fma(self.0, b.0, c.0), s.fma(self.1, b.1, c.1))
    }

    #[inline(always)]
    fn max(self, s: S, b: Self) -> Self {
        (s.max(self.0, b.0), s.max(self.1, b.1))
    }

    #[inline(always)]
    fn exp2(self, s: S) -> Self {
        (s.exp2(self.0), s.exp2(self.1))
    }

    #[inline(always)]
    fn keep_first(self, s: S, n: usize, fill: f32) -> Self {
        (s.keep_first(self.0, n, fill), s.keep_first(self.1, n.saturating_sub(8), fill))
    }

    #[inline(always)]
    fn reduce_max(self, s: S) -> f32 {
        s.reduce_max(s.max(self.0, self.1))
    }
}

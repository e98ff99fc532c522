//! Eight f32 lanes and sixteens of them: the one vocabulary in which the row and attention kernels are
//! written.
//!
//! A kernel is written once, generic over [`Simd`], and [`dispatch`] compiles it for each
//! instruction set. The order of operations is thus the same everywhere; only whether a
//! multiply-add rounds once or twice differs between instruction sets.

#![allow(clippy::inline_always, reason = "kernels take on the instructions of their caller")]
#![allow(unsafe_code, reason = "raw loads and stores inside kernels, and calls by CPU feature")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod sixteen;
#[cfg(test)]
mod tests;

use self::portable::Portable;
pub(crate) use self::sixteen::Sixteen;
use crate::Isa;

/// Coefficients of `2^x - 1` over x: least-squares fit of degree 6 at Chebyshev nodes on
/// `[-0.5, 0.5]`, so that `2^0` is exactly 1.
const EXP2: [f32; 6] =
    [6.931_472e-1, 2.402_264_8e-1, 5.550_329e-2, 9.618_373e-3, 1.339_984_8e-3, 1.537_070_5e-4];

/// Lanes of a vector.
pub(crate) const LANES: usize = 8;

/// Proof that an instruction set is present, and its operations on [`LANES`] f32 values.
///
/// Every function must be `#[inline(always)]`: only then does it compile to the instructions of
/// the function that [`dispatch`] enters.
pub(crate) trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// Sixteen lanes.
    type W: Sixteen<Self>;
    /// Sums of sixteen lanes that the registers hold beside their operands.
    const SUMS: usize;

    fn splat(self, x: f32) -> Self::V;
    fn load(self, x: &[f32; LANES]) -> Self::V;
    fn store(self, v: Self::V, out: &mut [f32; LANES]);
    /// Reads 8 values.
    ///
    /// # Safety
    /// `x` must be valid for reading 8 values.
    unsafe fn load_ptr(self, x: *const f32) -> Self::V;
    /// Writes 8 values.
    ///
    /// # Safety
    /// `out` must be valid for writing 8 values.
    unsafe fn store_ptr(self, v: Self::V, out: *mut f32);
    /// Reads 8 words that each hold two bf16: first the low halves, then the high halves.
    ///
    /// # Safety
    /// `words` must be valid for reading 8 words.
    unsafe fn load_bf16_pairs(self, words: *const u32) -> (Self::V, Self::V);
    /// Reads 16 E4M3 codes as their values times 2^-8, NaN as NaN.
    ///
    /// # Safety
    /// `words` must be valid for reading 4 words.
    unsafe fn load_e4m3(self, words: *const u32) -> (Self::V, Self::V);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The lesser; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// To the nearest integer, ties to even; for magnitudes below 2^22.
    fn round(self, a: Self::V) -> Self::V;
    /// `2^n` of integral lanes in -126..=127.
    fn pow2(self, n: Self::V) -> Self::V;
    /// `v`, but zero in lanes where `x < bound`.
    fn zero_below(self, v: Self::V, x: Self::V, bound: f32) -> Self::V;
    /// The first `n` lanes of `v`, then `fill`; whatever `v` held in the others is gone, NaN too.
    fn keep_first(self, v: Self::V, n: usize, fill: f32) -> Self::V;
    /// Sum of the lanes: ((0+4)+(2+6)) + ((1+5)+(3+7)).
    fn reduce_add(self, v: Self::V) -> f32;
    /// Greatest lane.
    fn reduce_max(self, v: Self::V) -> f32;
    /// Asks for the cache line at `p`, any address, to come to the second-level cache.
    fn prefetch(self, p: *const u32);

    /// `2^x`, relative error below 2e-7 down to -126, zero below, NaN where `x` is NaN; `x <= 127`.
    ///
    /// A polynomial ([`EXP2`]) times a power of two.
    #[inline(always)]
    fn exp2(self, x: Self::V) -> Self::V {
        let clamped = self.max(self.splat(-126.0), x);
        let n = self.round(clamped);
        let power = self.mul(self.one_plus(&EXP2, self.sub(clamped, n)), self.pow2(n));
        self.zero_below(power, x, -126.0)
    }

    /// `e^x` for x clamped to -87..=88, relative error below 2e-7.
    ///
    /// Argument reduced by ln 2 in two parts (Cody and Waite), then a fit as for [`Self::exp2`].
    #[inline(always)]
    fn exp(self, x: Self::V) -> Self::V {
        const FIT: [f32; 6] =
            [1.0, 4.999_999_5e-1, 1.666_642_1e-1, 4.166_772_5e-2, 8.374_77e-3, 1.385_928_6e-3];
        // 11 significant bits, so that its product with a small integer is exact.
        const LN2_HIGH: f32 = 0.693_359_4;
        const LN2_LOW: f32 = -2.121_944_4e-4;
        let x = self.max(self.splat(-87.0), self.min(self.splat(88.0), x));
        let n = self.round(self.mul(x, self.splat(std::f32::consts::LOG2_E)));
        let r = self.fma(n, self.splat(-LN2_HIGH), x);
        let r = self.fma(n, self.splat(-LN2_LOW), r);
        self.mul(self.one_plus(&FIT, r), self.pow2(n))
    }

    /// `1 + x (c0 + x (c1 + ..))`.
    #[inline(always)]
    fn one_plus(self, coefficients: &[f32; 6], x: Self::V) -> Self::V {
        let mut sum = self.splat(coefficients[5]);
        for &c in coefficients[..5].iter().rev() {
            sum = self.fma(sum, x, self.splat(c));
        }
        self.fma(sum, x, self.splat(1.0))
    }
}

/// A kernel that any instruction set can run. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    fn run<S: Simd>(self, s: S);
}

/// Runs a kernel with an instruction set of this CPU, as [`crate::Context`] has checked.
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) {
    match isa {
        // SAFETY: a context never holds an instruction set that the CPU lacks.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::run(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::run(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => unsafe { neon::run(kernel) },
        _ => kernel.run(Portable),
    }
}

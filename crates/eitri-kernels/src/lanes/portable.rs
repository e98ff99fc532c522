//! Plain Rust lanes, for any CPU.

use super::{LANES, Simd};

#[derive(Clone, Copy)]
pub(super) struct Portable;

#[inline(always)]
fn map2(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = [f32; LANES];
    type W = (Self::V, Self::V);
    const SUMS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::V {
        *x
    }

    #[inline(always)]
    fn store(self, v: Self::V, out: &mut [f32; LANES]) {
        *out = v;
    }

    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> Self::V {
        // SAFETY: valid for 8 values by contract; an array of f32 needs no more than their alignment.
        unsafe { *x.cast() }
    }

    #[inline(always)]
    unsafe fn store_ptr(self, v: Self::V, out: *mut f32) {
        // SAFETY: as in `load_ptr`.
        unsafe { *out.cast() = v }
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(self, words: *const u32) -> (Self::V, Self::V) {
        // SAFETY: valid for 8 words by contract.
        let words: [u32; LANES] = unsafe { *words.cast() };
        (
            words.map(|word| f32::from_bits(word << 16)),
            words.map(|word| f32::from_bits(word & 0xffff_0000)),
        )
    }

    #[inline(always)]
    unsafe fn load_e4m3(self, words: *const u32) -> (Self::V, Self::V) {
        // SAFETY: valid for 16 bytes by contract.
        let codes: [[u8; LANES]; 2] = unsafe { *words.cast() };
        // The fields of a single with three mantissa bits, whose bias is 120 more than that of E4M3.
        let rebias = f32::from_bits((127 + 120 - 8) << 23);
        let value = |code: u8| {
            let fields = u32::from(code & 0x80) << 24 | u32::from(code & 0x7F) << 20;
            let value = f32::from_bits(fields) * rebias;
            if code & 0x7F == 0x7F { f32::NAN } else { value }
        };
        let [low, high] = codes.map(|codes| codes.map(value));
        (low, high)
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a / b)
    }

    // Two roundings: a fused one is a library call on CPUs that lack the instruction.
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        // Adding 1.5 * 2^23 leaves no bits for a fraction, and is no library call.
        const MAGIC: f32 = 12_582_912.0;
        a.map(|a| (a + MAGIC) - MAGIC)
    }

    #[inline(always)]
    fn pow2(self, n: Self::V) -> Self::V {
        n.map(|n| f32::from_bits((n as i32).wrapping_add(127).cast_unsigned() << 23))
    }

    #[inline(always)]
    fn zero_below(self, v: Self::V, x: Self::V, bound: f32) -> Self::V {
        map2(v, x, |v, x| if x < bound { 0.0 } else { v })
    }

    #[inline(always)]
    fn keep_first(self, v: Self::V, n: usize, fill: f32) -> Self::V {
        std::array::from_fn(|i| if i < n { v[i] } else { fill })
    }

    #[inline(always)]
    fn reduce_add(self, v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }

    #[inline(always)]
    fn reduce_max(self, v: Self::V) -> f32 {
        v.into_iter().fold(f32::NEG_INFINITY, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn prefetch(self, _: *const u32) {}
}

//! NEON lanes: pairs of four.

use std::arch::aarch64::{
    float32x4_t, uint16x4_t, vaddq_f32, vaddq_s32, vandq_u32, vbslq_f32, vceqq_u32, vcgeq_f32,
    vcltq_f32, vcltq_u32, vcvtnq_s32_f32, vdivq_f32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u32,
    vfmaq_f32, vget_high_u8, vget_high_u16, vget_low_u8, vget_low_u16, vgetq_lane_f32, vld1q_f32,
    vld1q_u8, vld1q_u32, vmovl_u8, vmovl_u16, vmulq_f32, vorrq_u32, vreinterpretq_f32_s32,
    vreinterpretq_f32_u32, vreinterpretq_u32_f32, vrndnq_f32, vshlq_n_s32, vshlq_n_u32, vst1q_f32,
    vsubq_f32,
};

use super::{Kernel, LANES, Simd};

/// NEON is part of every AArch64 target, so each intrinsic below may be called anywhere.
#[derive(Clone, Copy)]
pub(super) struct Neon(());

/// Compiles and runs a kernel with NEON.
///
/// # Safety
/// The CPU must have it.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) {
    kernel.run(Neon(()));
}

type Pair = (float32x4_t, float32x4_t);

impl Simd for Neon {
    type V = Pair;
    type W = (Pair, Pair);
    const SUMS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        // SAFETY: NEON is present.
        unsafe { (vdupq_n_f32(x), vdupq_n_f32(x)) }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Pair {
        // SAFETY: 8 values.
        unsafe { self.load_ptr(x.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: Pair, out: &mut [f32; LANES]) {
        // SAFETY: 8 values.
        unsafe { self.store_ptr(v, out.as_mut_ptr()) }
    }

    #[inline(always)]
    unsafe fn load_ptr(self, x: *const f32) -> Pair {
        // SAFETY: 8 values by contract.
        unsafe { (vld1q_f32(x), vld1q_f32(x.add(4))) }
    }

    #[inline(always)]
    unsafe fn store_ptr(self, v: Pair, out: *mut f32) {
        // SAFETY: 8 values by contract.
        unsafe {
            vst1q_f32(out, v.0);
            vst1q_f32(out.add(4), v.1);
        }
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(self, words: *const u32) -> (Pair, Pair) {
        // SAFETY: 8 words by contract.
        unsafe {
            let (a, b) = (vld1q_u32(words), vld1q_u32(words.add(4)));
            let high = vdupq_n_u32(0xffff_0000);
            (
                (
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(a)),
                    vreinterpretq_f32_u32(vshlq_n_u32::<16>(b)),
                ),
                (
                    vreinterpretq_f32_u32(vandq_u32(a, high)),
                    vreinterpretq_f32_u32(vandq_u32(b, high)),
                ),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_e4m3(self, words: *const u32) -> (Pair, Pair) {
        // SAFETY: NEON is present; 16 bytes by contract.
        unsafe {
            let codes = vld1q_u8(words.cast());
            let (low, high) = (vmovl_u8(vget_low_u8(codes)), vmovl_u8(vget_high_u8(codes)));
            // As in the portable lanes: the fields of a single, and what the biases differ by.
            let rebias = vdupq_n_f32(f32::from_bits((127 + 120 - 8) << 23));
            let (sign, largest) = (vdupq_n_u32(0x8000_0000), vdupq_n_u32(0x07F0_0000));
            let value = |codes: uint16x4_t| {
                let codes = vmovl_u16(codes);
                let magnitude = vandq_u32(vshlq_n_u32::<20>(codes), largest);
                let fields = vorrq_u32(vandq_u32(vshlq_n_u32::<24>(codes), sign), magnitude);
                let value = vmulq_f32(vreinterpretq_f32_u32(fields), rebias);
                let nan = vceqq_u32(magnitude, largest);
                vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(value), nan))
            };
            (
                (value(vget_low_u16(low)), value(vget_high_u16(low))),
                (value(vget_low_u16(high)), value(vget_high_u16(high))),
            )
        }
    }

    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: NEON is present.
        unsafe { (vaddq_f32(a.0, b.0), vaddq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: NEON is present.
        unsafe { (vsubq_f32(a.0, b.0), vsubq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: NEON is present.
        unsafe { (vmulq_f32(a.0, b.0), vmulq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: NEON is present.
        unsafe { (vdivq_f32(a.0, b.0), vdivq_f32(a.1, b.1)) }
    }

    #[inline(always)]
    fn fma(self, a: Pair, b: Pair, c: Pair) -> Pair {
        // SAFETY: NEON is present.
        unsafe { (vfmaq_f32(c.0, a.0, b.0), vfmaq_f32(c.1, a.1, b.1)) }
    }

    // Compare and select, not `fmax`: the trait says which operand NaN yields.
    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: NEON is present.
        unsafe {
            (vbslq_f32(vcltq_f32(b.0, a.0), a.0, b.0), vbslq_f32(vcltq_f32(b.1, a.1), a.1, b.1))
        }
    }

    #[inline(always)]
    fn min(self, a: Pair, b: Pair) -> Pair {
        // SAFETY: NEON is present.
        unsafe {
            (vbslq_f32(vcltq_f32(a.0, b.0), a.0, b.0), vbslq_f32(vcltq_f32(a.1, b.1), a.1, b.1))
        }
    }

    #[inline(always)]
    fn round(self, a: Pair) -> Pair {
        // SAFETY: NEON is present.
        unsafe { (vrndnq_f32(a.0), vrndnq_f32(a.1)) }
    }

    #[inline(always)]
    fn pow2(self, n: Pair) -> Pair {
        // SAFETY: NEON is present.
        unsafe {
            let power = |n| {
                let biased = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
            };
            (power(n.0), power(n.1))
        }
    }

    #[inline(always)]
    fn zero_below(self, v: Pair, x: Pair, bound: f32) -> Pair {
        // SAFETY: NEON is present.
        unsafe {
            let (bound, zero) = (vdupq_n_f32(bound), vdupq_n_f32(0.0));
            // Selecting zero where `x < bound`, not `v` where `x >= bound`: NaN keeps `v`.
            (
                vbslq_f32(vcltq_f32(x.0, bound), zero, v.0),
                vbslq_f32(vcltq_f32(x.1, bound), zero, v.1),
            )
        }
    }

    #[inline(always)]
    fn keep_first(self, v: Pair, n: usize, fill: f32) -> Pair {
        const INDEX: [u32; LANES] = [0, 1, 2, 3, 4, 5, 6, 7];
        // SAFETY: NEON is present; INDEX has 8 words.
        unsafe {
            let (n, fill) = (vdupq_n_u32(n.min(LANES) as u32), vdupq_n_f32(fill));
            let (low, high) = (vld1q_u32(INDEX.as_ptr()), vld1q_u32(INDEX.as_ptr().add(4)));
            (vbslq_f32(vcltq_u32(low, n), v.0, fill), vbslq_f32(vcltq_u32(high, n), v.1, fill))
        }
    }

    #[inline(always)]
    fn reduce_add(self, v: Pair) -> f32 {
        // SAFETY: NEON is present.
        unsafe {
            let v = vaddq_f32(v.0, v.1);
            (vgetq_lane_f32::<0>(v) + vgetq_lane_f32::<2>(v))
                + (vgetq_lane_f32::<1>(v) + vgetq_lane_f32::<3>(v))
        }
    }

    #[inline(always)]
    fn reduce_max(self, v: Pair) -> f32 {
        // SAFETY: NEON is present.
        unsafe {
            let v = vbslq_f32(vcgeq_f32(v.0, v.1), v.0, v.1);
            let low = vgetq_lane_f32::<0>(v).max(vgetq_lane_f32::<1>(v));
            low.max(vgetq_lane_f32::<2>(v).max(vgetq_lane_f32::<3>(v)))
        }
    }

    #[inline(always)]
    fn prefetch(self, p: *const u32) {
        // SAFETY: a prefetch never faults and changes nothing that the program can see.
        unsafe {
            std::arch::asm!("prfm pldl2keep, [{p}]", p = in(reg) p, options(nostack, preserves_flags));
        }
    }
}

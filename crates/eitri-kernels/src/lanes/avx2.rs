//! AVX2 lanes.

use std::arch::x86_64::{
    __m256, __m512, _CMP_NLT_UQ, _MM_HINT_T1, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32,
    _mm_loadu_si128, _mm_max_ps, _mm_max_ss, _mm_movehdup_ps, _mm_movehl_ps, _mm_prefetch,
    _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256,
    _mm256_blendv_ps, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cmp_ps, _mm256_cmpeq_epi16, _mm256_cmpgt_epi32, _mm256_cvtepi8_epi16, _mm256_cvtph_ps,
    _mm256_cvtps_epi32, _mm256_div_ps, _mm256_extractf128_ps, _mm256_extracti128_si256,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_max_ps, _mm256_min_ps,
    _mm256_mul_ps, _mm256_or_si256, _mm256_round_ps, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setr_epi32, _mm256_slli_epi16, _mm256_slli_epi32, _mm256_storeu_ps,
    _mm256_sub_ps,
};

use super::{Kernel, LANES, Simd, avx512::Avx512};

/// Exists only inside [`run`], so only where the CPU has AVX2, FMA and F16C. Each SAFETY line below
/// that says "token" means this.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// Compiles and runs a kernel with AVX2, FMA and F16C.
///
/// # Safety
/// The CPU must have all three.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) {
    kernel.run(Avx2(()));
}

/// The eight lanes of a token that brings AVX2, FMA and F16C, with its own sixteen.
macro_rules! eight_lanes {
    ($token:ty, $wide:ty, $sums:literal) => {
        impl Simd for $token {
            type V = __m256;
            type W = $wide;
            const SUMS: usize = $sums;

            #[inline(always)]
            fn splat(self, x: f32) -> __m256 {
                // SAFETY: token.
                unsafe { _mm256_set1_ps(x) }
            }

            #[inline(always)]
            fn load(self, x: &[f32; LANES]) -> __m256 {
                // SAFETY: token; 8 values.
                unsafe { _mm256_loadu_ps(x.as_ptr()) }
            }

            #[inline(always)]
            fn store(self, v: __m256, out: &mut [f32; LANES]) {
                // SAFETY: token; 8 values.
                unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) }
            }

            #[inline(always)]
            unsafe fn load_ptr(self, x: *const f32) -> __m256 {
                // SAFETY: token; 8 values by contract.
                unsafe { _mm256_loadu_ps(x) }
            }

            #[inline(always)]
            unsafe fn store_ptr(self, v: __m256, out: *mut f32) {
                // SAFETY: token; 8 values by contract.
                unsafe { _mm256_storeu_ps(out, v) }
            }

            #[inline(always)]
            unsafe fn load_bf16_pairs(self, words: *const u32) -> (__m256, __m256) {
                // SAFETY: token; 8 words by contract, and the load has no alignment.
                unsafe {
                    let words = _mm256_loadu_si256(words.cast());
                    let low = _mm256_slli_epi32::<16>(words);
                    let high =
                        _mm256_and_si256(words, _mm256_set1_epi32(0xffff_0000_u32.cast_signed()));
                    (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
                }
            }

            #[inline(always)]
            unsafe fn load_e4m3(self, words: *const u32) -> (__m256, __m256) {
                // SAFETY: token; 16 bytes by contract, and the load has no alignment.
                unsafe {
                    // Copies of the sign fill the upper bytes; one of them is in the exponent's way.
                    let codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(words.cast()));
                    let mask = _mm256_set1_epi16(0xBF80_u16.cast_signed());
                    let halves = _mm256_and_si256(_mm256_slli_epi16::<7>(codes), mask);
                    // Doubling drops the sign. As a half the code of NaN would be a number.
                    let doubled = _mm256_add_epi16(halves, halves);
                    let nan = _mm256_cmpeq_epi16(doubled, _mm256_set1_epi16(0x7F00));
                    let halves = _mm256_or_si256(halves, nan);
                    (
                        _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
                        _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
                    )
                }
            }

            #[inline(always)]
            fn add(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: token.
                unsafe { _mm256_add_ps(a, b) }
            }

            #[inline(always)]
            fn sub(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: token.
                unsafe { _mm256_sub_ps(a, b) }
            }

            #[inline(always)]
            fn mul(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: token.
                unsafe { _mm256_mul_ps(a, b) }
            }

            #[inline(always)]
            fn div(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: token.
                unsafe { _mm256_div_ps(a, b) }
            }

            #[inline(always)]
            fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
                // SAFETY: token.
                unsafe { _mm256_fmadd_ps(a, b, c) }
            }

            #[inline(always)]
            fn max(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: token.
                unsafe { _mm256_max_ps(a, b) }
            }

            #[inline(always)]
            fn min(self, a: __m256, b: __m256) -> __m256 {
                // SAFETY: token.
                unsafe { _mm256_min_ps(a, b) }
            }

            #[inline(always)]
            fn round(self, a: __m256) -> __m256 {
                // Nearest even, no exception.
                // SAFETY: token.
                unsafe { _mm256_round_ps::<8>(a) }
            }

            #[inline(always)]
            fn pow2(self, n: __m256) -> __m256 {
                // SAFETY: token.
                unsafe {
                    let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
                }
            }

            #[inline(always)]
            fn zero_below(self, v: __m256, x: __m256, bound: f32) -> __m256 {
                // SAFETY: token.
                unsafe { _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_NLT_UQ>(x, _mm256_set1_ps(bound))) }
            }

            #[inline(always)]
            fn keep_first(self, v: __m256, n: usize, fill: f32) -> __m256 {
                let n = n.min(LANES) as i32;
                // SAFETY: token.
                unsafe {
                    let index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                    let keep = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), index);
                    _mm256_blendv_ps(_mm256_set1_ps(fill), v, _mm256_castsi256_ps(keep))
                }
            }

            #[inline(always)]
            fn reduce_add(self, v: __m256) -> f32 {
                // SAFETY: token.
                unsafe {
                    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
                    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
                }
            }

            #[inline(always)]
            fn reduce_max(self, v: __m256) -> f32 {
                // SAFETY: token.
                unsafe {
                    let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                    let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
                    _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
                }
            }

            #[inline(always)]
            fn prefetch(self, p: *const u32) {
                // SAFETY: token; a prefetch never faults.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
            }
        }
    };
}

eight_lanes!(Avx2, (__m256, __m256), 6);
eight_lanes!(Avx512, __m512, 24);

//! AVX-512: the eight lanes of AVX2, and sixteen in one register.

use std::arch::x86_64::{
    __m512, _CMP_NLT_UQ, _mm_loadu_si128, _mm256_add_epi16, _mm256_and_si256, _mm256_cmpeq_epi16,
    _mm256_cvtepi8_epi16, _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi16,
    _mm256_slli_epi16, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_broadcast_i64x4,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtph_ps, _mm512_cvtps_epi32, _mm512_fmadd_ps,
    _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps,
    _mm512_reduce_max_ps, _mm512_roundscale_ps, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setr_epi32, _mm512_slli_epi32, _mm512_sllv_epi32, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::{EXP2, Kernel, Sixteen};

/// Exists only inside [`run`], so only where the CPU has what [`Isa::Avx512`](crate::Isa) names. Each
/// SAFETY line below that says "token" means this.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// Compiles and runs a kernel with AVX-512.
///
/// # Safety
/// The CPU must have the features of [`Isa::Avx512`](crate::Isa).
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) {
    kernel.run(Avx512(()));
}

impl Sixteen<Avx512> for __m512 {
    #[inline(always)]
    fn splat(_: Avx512, x: f32) -> Self {
        // SAFETY: token.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(_: Avx512, x: *const f32) -> Self {
        // SAFETY: token; 16 values by contract.
        unsafe { _mm512_loadu_ps(x) }
    }

    #[inline(always)]
    unsafe fn store(self, _: Avx512, out: *mut f32) {
        // SAFETY: token; 16 values by contract.
        unsafe { _mm512_storeu_ps(out, self) }
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(_: Avx512, words: *const u32) -> Self {
        // SAFETY: token; 8 words by contract, and the load has no alignment.
        unsafe {
            let words = _mm512_broadcast_i64x4(_mm256_loadu_si256(words.cast()));
            let shifts = _mm512_setr_epi32(16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0);
            let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_sllv_epi32(words, shifts), upper))
        }
    }

    #[inline(always)]
    unsafe fn load_e4m3(_: Avx512, words: *const u32) -> Self {
        // SAFETY: token; 16 bytes by contract, and the load has no alignment.
        unsafe {
            // As for eight lanes: copies of the sign fill the upper bytes, and NaN is put back.
            let codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(words.cast()));
            let mask = _mm256_set1_epi16(0xBF80_u16.cast_signed());
            let halves = _mm256_and_si256(_mm256_slli_epi16::<7>(codes), mask);
            let doubled = _mm256_add_epi16(halves, halves);
            let nan = _mm256_cmpeq_epi16(doubled, _mm256_set1_epi16(0x7F00));
            _mm512_cvtph_ps(_mm256_or_si256(halves, nan))
        }
    }

    #[inline(always)]
    fn add(self, _: Avx512, b: Self) -> Self {
        // SAFETY: token.
        unsafe { _mm512_add_ps(self, b) }
    }

    #[inline(always)]
    fn sub(self, _: Avx512, b: Self) -> Self {
        // SAFETY: token.
        unsafe { _mm512_sub_ps(self, b) }
    }

    #[inline(always)]
    fn mul(self, _: Avx512, b: Self) -> Self {
        // SAFETY: token.
        unsafe { _mm512_mul_ps(self, b) }
    }

    #[inline(always)]
    fn fma(self, _: Avx512, b: Self, c: Self) -> Self {
        // SAFETY: token.
        unsafe { _mm512_fmadd_ps(self, b, c) }
    }

    #[inline(always)]
    fn max(self, _: Avx512, b: Self) -> Self {
        // SAFETY: token.
        unsafe { _mm512_max_ps(self, b) }
    }

    /// The operations of eight lanes, in their order.
    #[inline(always)]
    fn exp2(self, _: Avx512) -> Self {
        // SAFETY: token.
        unsafe {
            let least = _mm512_set1_ps(-126.0);
            let clamped = _mm512_max_ps(least, self);
            // Nearest even, no exception.
            let n = _mm512_roundscale_ps::<8>(clamped);
            let x = _mm512_sub_ps(clamped, n);
            let mut sum = _mm512_set1_ps(EXP2[5]);
            for &c in EXP2[..5].iter().rev() {
                sum = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(c));
            }
            let power = _mm512_fmadd_ps(sum, x, _mm512_set1_ps(1.0));
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            let power = _mm512_mul_ps(power, _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased)));
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(self, least), power)
        }
    }

    #[inline(always)]
    fn keep_first(self, _: Avx512, n: usize, fill: f32) -> Self {
        let keep = ((1_u32 << n.min(16)) - 1) as u16;
        // SAFETY: token.
        unsafe { _mm512_mask_blend_ps(keep, _mm512_set1_ps(fill), self) }
    }

    #[inline(always)]
    fn reduce_max(self, _: Avx512) -> f32 {
        // SAFETY: token.
        unsafe { _mm512_reduce_max_ps(self) }
    }
}

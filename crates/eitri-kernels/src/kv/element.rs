//! The number types of a KV memory.

#![allow(clippy::inline_always, reason = "kernels take on the instructions of their caller")]
#![allow(unsafe_code, reason = "raw loads, and stores that several threads make at once")]

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};

use half::bf16;

use super::GROUP;
use crate::{
    lanes::{Simd, Sixteen},
    weight::minifloat,
};

/// Element type of a KV memory.
pub(crate) trait KvElement: 'static {
    /// 32-bit words per [`GROUP`] elements.
    const WORDS: usize;

    /// What a number comes out of [`Self::load`] divided by, beside its head's scale.
    const UNIT: f32;

    /// Reads one group as f32.
    ///
    /// # Safety
    /// `words` must be valid for reading [`Self::WORDS`] words.
    unsafe fn load<S: Simd>(s: S, words: *const u32) -> S::W;

    /// Writes element `index` of a group; `scale` is its head's, 1 for types that need none.
    ///
    /// # Safety
    /// `words` must be valid for writing [`Self::WORDS`] words; other threads may access them only
    /// through this function.
    unsafe fn store(words: *mut u32, index: usize, value: f32, scale: f32);
}

impl KvElement for f32 {
    const WORDS: usize = GROUP;
    const UNIT: f32 = 1.0;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, words: *const u32) -> S::W {
        // SAFETY: 16 words by contract.
        unsafe { S::W::load(s, words.cast()) }
    }

    #[inline(always)]
    unsafe fn store(words: *mut u32, index: usize, value: f32, _: f32) {
        // SAFETY: within the group; atomic against a token that was given the same slot by mistake.
        unsafe { AtomicU32::from_ptr(words.add(index)) }.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// Elements `i` and `i + 8` share a word, in its low and high half: widening both is one shift and
/// one mask of the same register, and each result holds eight consecutive elements.
impl KvElement for bf16 {
    const WORDS: usize = GROUP / 2;
    const UNIT: f32 = 1.0;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, words: *const u32) -> S::W {
        // SAFETY: 8 words by contract.
        unsafe { S::W::load_bf16_pairs(s, words) }
    }

    #[inline(always)]
    unsafe fn store(words: *mut u32, index: usize, value: f32, _: f32) {
        let half = if cfg!(target_endian = "little") { index / 8 } else { 1 - index / 8 };
        // SAFETY: half of a word of the group, aligned as such; atomic as for f32.
        let target = unsafe { AtomicU16::from_ptr(words.cast::<u16>().add(index % 8 * 2 + half)) };
        target.store(bf16::from_f32(value).to_bits(), Ordering::Relaxed);
    }
}

/// The 8-bit float E4M3 of the OCP specification, one byte each in the order of the elements.
pub(crate) struct E4m3;

impl KvElement for E4m3 {
    const WORDS: usize = GROUP / 4;
    // Their fields are read as those of a half, whose bias is 8 more.
    const UNIT: f32 = 256.0;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, words: *const u32) -> S::W {
        // SAFETY: 4 words by contract.
        unsafe { S::W::load_e4m3(s, words) }
    }

    #[inline(always)]
    unsafe fn store(words: *mut u32, index: usize, value: f32, scale: f32) {
        // SAFETY: a byte of the group; atomic as for f32.
        let target = unsafe { AtomicU8::from_ptr(words.cast::<u8>().add(index)) };
        target.store(minifloat::to_e4m3(value / scale), Ordering::Relaxed);
    }
}

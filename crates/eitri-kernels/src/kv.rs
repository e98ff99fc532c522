//! Memory of keys and values of one layer, in blocks of 16 tokens.

#![allow(clippy::inline_always, reason = "kernels take on the instructions of their caller")]
#![allow(unsafe_code, reason = "threads write the slots of different tokens into one memory")]

use std::{
    marker::PhantomData,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
};

use candle_core::DType;
use half::bf16;

use crate::{KernelError, lanes::Simd};

/// Tokens in a block: two vectors of eight keys, one in each lane.
pub const KV_BLOCK: usize = 16;

/// Elements that are stored together: 16 f32, or 8 words of two bf16.
pub(crate) const GROUP: usize = 16;

const CACHE_LINE_WORDS: usize = 16;

/// Heads of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Dimensions of each head.
    pub head_dim: usize,
}

impl HeadShape {
    /// Columns of a fused query, key and value row.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Query heads that share one key and value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn check(&self) -> Result<(), KernelError> {
        if self.kv_heads == 0 || self.heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return Err(KernelError::Shape {
                op: "kv layer",
                what: "heads",
                expected: "a multiple of kv_heads, both above 0".into(),
                got: format!("{} heads with {} kv_heads", self.heads, self.kv_heads),
            });
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(8) {
            return Err(KernelError::Shape {
                op: "kv layer",
                what: "head_dim",
                expected: "a multiple of 8 above 0".into(),
                got: self.head_dim.to_string(),
            });
        }
        Ok(())
    }
}

/// Element type of a KV memory.
pub(crate) trait KvElement: 'static {
    /// 32-bit words per [`GROUP`] elements.
    const WORDS: usize;

    /// Reads one group as f32.
    ///
    /// # Safety
    /// `words` must be valid for reading [`Self::WORDS`] words.
    unsafe fn load<S: Simd>(s: S, words: *const u32) -> (S::V, S::V);

    /// Writes element `index` of a group.
    ///
    /// # Safety
    /// `words` must be valid for writing [`Self::WORDS`] words; other threads may access them only
    /// through this function.
    unsafe fn store(words: *mut u32, index: usize, value: f32);
}

impl KvElement for f32 {
    const WORDS: usize = GROUP;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, words: *const u32) -> (S::V, S::V) {
        // SAFETY: 16 words by contract.
        unsafe { (s.load_ptr(words.cast()), s.load_ptr(words.add(8).cast())) }
    }

    #[inline(always)]
    unsafe fn store(words: *mut u32, index: usize, value: f32) {
        // SAFETY: within the group; atomic against a token that was given the same slot by mistake.
        unsafe { AtomicU32::from_ptr(words.add(index)) }.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// Elements `i` and `i + 8` share a word, in its low and high half: widening both is one shift and
/// one mask of the same register, and each result holds eight consecutive elements.
impl KvElement for bf16 {
    const WORDS: usize = GROUP / 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, words: *const u32) -> (S::V, S::V) {
        // SAFETY: 8 words by contract.
        unsafe { s.load_bf16_pairs(words) }
    }

    #[inline(always)]
    unsafe fn store(words: *mut u32, index: usize, value: f32) {
        let half = if cfg!(target_endian = "little") { index / 8 } else { 1 - index / 8 };
        // SAFETY: half of a word of the group, aligned as such; atomic as for f32.
        let target = unsafe { AtomicU16::from_ptr(words.cast::<u16>().add(index % 8 * 2 + half)) };
        target.store(bf16::from_f32(value).to_bits(), Ordering::Relaxed);
    }
}

/// Places inside the memory, in words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvLayout {
    pub(crate) kv_heads: usize,
    /// Groups in a value row: `head_dim` is padded to whole groups.
    pub(crate) value_groups: usize,
    /// Words of one group.
    pub(crate) group: usize,
    /// Words of the keys of one head in one block: `[head_dim][16 tokens]`.
    pub(crate) keys: usize,
    /// Words of keys and values of one head in one block; values are `[16 tokens][head_dim]`.
    pub(crate) head: usize,
}

impl KvLayout {
    fn new(shape: &HeadShape, dtype: DType) -> Result<Self, KernelError> {
        shape.check()?;
        let group = match dtype {
            DType::BF16 => bf16::WORDS,
            DType::F32 => f32::WORDS,
            other => {
                return Err(KernelError::Unsupported {
                    op: "kv layer",
                    what: format!("{other:?}; use bf16 or f32"),
                });
            }
        };
        let value_groups = shape.head_dim.div_ceil(GROUP);
        let keys = shape.head_dim * group;
        let head = keys + KV_BLOCK * value_groups * group;
        Ok(Self { kv_heads: shape.kv_heads, value_groups, group, keys, head })
    }

    fn block(&self) -> usize {
        self.kv_heads * self.head
    }
}

/// Keys and values of one layer on the CPU, bf16 or f32.
///
/// `[blocks][kv_heads]` of a key block `[head_dim][16]`, transposed so that one vector holds a
/// dimension of eight keys, followed by a value block `[16][head_dim]`. A block read for a head is
/// one contiguous run of memory. Memory starts zeroed and is touched only when written.
pub struct KvLayer {
    shape: HeadShape,
    dtype: DType,
    layout: KvLayout,
    num_blocks: usize,
    memory: RwLock<Memory>,
}

struct Memory {
    words: Vec<u32>,
    /// First word on a cache line.
    start: usize,
}

impl std::fmt::Debug for KvLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KvLayer")
            .field("num_blocks", &self.num_blocks)
            .field("shape", &self.shape)
            .field("dtype", &self.dtype)
            .finish_non_exhaustive()
    }
}

impl KvLayer {
    /// Zeroed memory for `num_blocks` blocks.
    ///
    /// # Errors
    /// When `block_size` is not 16, `dtype` is neither bf16 nor f32, `head_dim` is not a multiple
    /// of 8, or heads are not a multiple of `kv_heads`.
    pub fn new(
        num_blocks: usize,
        block_size: usize,
        shape: HeadShape,
        dtype: DType,
    ) -> Result<Self, KernelError> {
        if block_size != KV_BLOCK {
            return Err(KernelError::Shape {
                op: "kv layer",
                what: "block_size",
                expected: format!("{KV_BLOCK} on the CPU"),
                got: block_size.to_string(),
            });
        }
        let layout = KvLayout::new(&shape, dtype)?;
        let words = vec![0_u32; num_blocks * layout.block() + CACHE_LINE_WORDS];
        let start = words.as_ptr().align_offset(CACHE_LINE_WORDS * size_of::<u32>());
        // `align_offset` may decline; unaligned memory is slower but right.
        let start = if start < CACHE_LINE_WORDS { start } else { 0 };
        let memory = RwLock::new(Memory { words, start });
        Ok(Self { shape, dtype, layout, num_blocks, memory })
    }

    /// Bytes of one block of one layer, for the memory plan.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn bytes_per_block(shape: &HeadShape, dtype: DType) -> Result<usize, KernelError> {
        Ok(KvLayout::new(shape, dtype)?.block() * size_of::<u32>())
    }

    /// Copies the first `tokens` tokens of block `from` to block `to`.
    ///
    /// # Errors
    /// When a block does not exist or `tokens` is above 16.
    pub fn copy_block(&self, from: usize, to: usize, tokens: usize) -> Result<(), KernelError> {
        let shape = |what, expected, got: usize| KernelError::Shape {
            op: "copy_block",
            what,
            expected,
            got: got.to_string(),
        };
        if from.max(to) >= self.num_blocks {
            let expected = format!("below {} blocks", self.num_blocks);
            return Err(shape("block", expected, from.max(to)));
        }
        if tokens > KV_BLOCK {
            return Err(shape("tokens", format!("at most {KV_BLOCK}"), tokens));
        }
        // A key block interleaves its tokens, so it is copied whole: slots past `tokens` are unused.
        let used = self.layout.keys + tokens * self.layout.value_groups * self.layout.group;
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        let start = memory.start;
        for head in 0..self.layout.kv_heads {
            let at = |block: usize| start + block * self.layout.block() + head * self.layout.head;
            memory.words.copy_within(at(from)..at(from) + used, at(to));
        }
        Ok(())
    }

    /// Blocks.
    pub fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    /// Heads.
    pub fn shape(&self) -> HeadShape {
        self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The memory, for reading.
    pub(crate) fn reader(&self) -> KvReader<'_> {
        let guard = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        KvReader { guard, layout: self.layout }
    }

    /// Calls `f` with access for writing, to be shared among threads.
    pub(crate) fn write<R>(&self, f: impl FnOnce(&KvWriter) -> R) -> R {
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        let start = memory.start;
        let writer = KvWriter {
            words: memory.words[start..].as_mut_ptr(),
            slots: self.num_blocks * KV_BLOCK,
            dtype: self.dtype,
            layout: self.layout,
            memory: PhantomData,
        };
        f(&writer)
    }
}

/// Read access to a [`KvLayer`].
pub(crate) struct KvReader<'a> {
    guard: RwLockReadGuard<'a, Memory>,
    pub(crate) layout: KvLayout,
}

impl KvReader<'_> {
    /// Words of all blocks: block `b`, head `h` starts at `(b * kv_heads + h) * layout.head`.
    pub(crate) fn words(&self) -> &[u32] {
        &self.guard.words[self.guard.start..]
    }
}

/// Write access to a [`KvLayer`] from several threads, token by token.
pub(crate) struct KvWriter<'a> {
    words: *mut u32,
    slots: usize,
    dtype: DType,
    layout: KvLayout,
    memory: PhantomData<&'a mut [u32]>,
}

// SAFETY: every store is atomic, and while a writer lives the lock keeps readers out.
unsafe impl Sync for KvWriter<'_> {}

impl KvWriter<'_> {
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Stores key and value, `head_dim` each, of one head of the token in `slot`.
    /// Panics when the slot or the head does not exist.
    pub(crate) fn store<E: KvElement>(&self, slot: usize, head: usize, key: &[f32], value: &[f32]) {
        let layout = &self.layout;
        assert!(slot < self.slots && head < layout.kv_heads && E::WORDS == layout.group);
        assert!(key.len() * layout.group == layout.keys && value.len() == key.len());
        let (block, token) = (slot / KV_BLOCK, slot % KV_BLOCK);
        // SAFETY: block, head, token and dimensions were checked, so all lies inside the memory.
        unsafe {
            let keys = self.words.add(block * layout.block() + head * layout.head);
            for (d, &x) in key.iter().enumerate() {
                E::store(keys.add(d * E::WORDS), token, x);
            }
            let values = keys.add(layout.keys + token * layout.value_groups * E::WORDS);
            for (d, &x) in value.iter().enumerate() {
                E::store(values.add(d / GROUP * E::WORDS), d % GROUP, x);
            }
        }
    }
}

//! Memory of keys and values of one layer, in blocks of 16 tokens.

#![allow(unsafe_code, reason = "threads write the slots of different tokens into one memory")]

mod element;
mod scales;

use std::{
    marker::PhantomData,
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use candle_core::DType;
use half::bf16;

pub(crate) use self::element::{E4m3, KvElement};
pub use self::scales::KvScales;
use crate::KernelError;

/// Tokens in a block: two vectors of eight keys, one in each lane.
pub const KV_BLOCK: usize = 16;

/// Elements that are stored together: 16 f32, 8 words of two bf16 or 4 words of four bytes.
pub(crate) const GROUP: usize = 16;

/// Words of a cache line.
pub(crate) const CACHE_LINE_WORDS: usize = 16;

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
            DType::F8E4M3 => E4m3::WORDS,
            other => {
                return Err(KernelError::Unsupported {
                    op: "kv layer",
                    what: format!("{other:?}; use bf16, f32 or f8e4m3"),
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

/// Keys and values of one layer on the CPU: bf16, f32, or FP8 (E4M3) with a scale per head.
///
/// `[blocks][kv_heads]` of a key block `[head_dim][16]`, transposed so that one vector holds a
/// dimension of eight keys, followed by a value block `[16][head_dim]`. A block read for a head is
/// one contiguous run of memory. Memory starts zeroed and is touched only when written.
pub struct KvLayer {
    shape: HeadShape,
    dtype: DType,
    layout: KvLayout,
    scales: KvScales,
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
    /// Zeroed memory for `num_blocks` blocks, with scales of 1.
    ///
    /// # Errors
    /// When `block_size` is not 16, `dtype` is none of bf16, f32 and f8e4m3, `head_dim` is not a
    /// multiple of 8, or heads are not a multiple of `kv_heads`.
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
        let scales = KvScales::ones(shape.kv_heads);
        Ok(Self { shape, dtype, layout, scales, num_blocks, memory })
    }

    /// The same memory, whose numbers stand for themselves times these scales. Nothing may have
    /// been written to it.
    ///
    /// # Errors
    /// When the memory is not FP8, or there is not one positive finite scale for each head.
    pub fn with_scales(self, scales: KvScales) -> Result<Self, KernelError> {
        if self.dtype != DType::F8E4M3 {
            let what = format!("scales of a memory of {:?}; they belong to f8e4m3", self.dtype);
            return Err(KernelError::Unsupported { op: "kv layer", what });
        }
        scales.check(self.shape.kv_heads)?;
        Ok(Self { scales, ..self })
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

    /// What stored numbers are multiplied by; 1 but for FP8.
    pub fn scales(&self) -> &KvScales {
        &self.scales
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
            scales: &self.scales,
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
    scales: &'a KvScales,
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
        let (key_scale, value_scale) = (self.scales.keys[head], self.scales.values[head]);
        // SAFETY: block, head, token and dimensions were checked, so all lies inside the memory.
        unsafe {
            let keys = self.words.add(block * layout.block() + head * layout.head);
            for (d, &x) in key.iter().enumerate() {
                E::store(keys.add(d * E::WORDS), token, x, key_scale);
            }
            let values = keys.add(layout.keys + token * layout.value_groups * E::WORDS);
            for (d, &x) in value.iter().enumerate() {
                E::store(values.add(d / GROUP * E::WORDS), d % GROUP, x, value_scale);
            }
        }
    }
}

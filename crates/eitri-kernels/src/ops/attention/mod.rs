//! Causal attention over paged keys and values, prefill and decode in one call.
//!
//! Keys are stored transposed, so that sixteen keys of a block lie across the lanes and the product
//! with a query is one chain of multiply-adds over the dimensions. The softmax is computed online
//! (<https://arxiv.org/abs/1805.02867>), a run of four blocks at a time. The query heads that share
//! a KV head, and neighbouring tokens of a prompt, are computed together, so that keys and values
//! are read once for all of them.

#![allow(clippy::inline_always, reason = "kernels take on the instructions of their caller")]
#![allow(unsafe_code, reason = "each thread takes its own part of the scratch memory")]

mod item;
mod probe;
mod tile;

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Tensor};
use half::bf16;

use self::item::{Batch, Item, Rows};
pub(crate) use self::probe::probe;
use super::operand::check_rows;
use crate::{
    Context, HeadShape, Isa, KernelError, KvLayer,
    disjoint::Disjoint,
    kv::{E4m3, GROUP, KV_BLOCK, KvElement},
    read, write,
};

const OP: &str = "attention";

/// Query rows of a work item: large enough that a KV block is read from memory once for many rows,
/// small enough that their queries and sums stay in the second-level cache, whole tiles of six.
const ITEM_ROWS: usize = 48;

/// Consecutive rows of the batch that belong to one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceSpan {
    /// First row.
    pub row: usize,
    /// Rows.
    pub len: usize,
    /// Tokens of the sequence up to and including these rows; their keys and values are written.
    pub context: usize,
    /// Offset of the sequence's first block in the block tables.
    pub table: usize,
}

/// Name of the attention kernel that `ctx` uses for a KV memory of type `dtype`.
pub fn attention_kernel_name(ctx: &Context, dtype: DType) -> &'static str {
    match (ctx.isa(), dtype) {
        (Isa::Avx2, DType::BF16) => "attention-avx2-bf16",
        (Isa::Avx2, DType::F32) => "attention-avx2-f32",
        (Isa::Avx2, DType::F8E4M3) => "attention-avx2-fp8",
        (Isa::Avx512, DType::BF16) => "attention-avx512-bf16",
        (Isa::Avx512, DType::F32) => "attention-avx512-f32",
        (Isa::Avx512, DType::F8E4M3) => "attention-avx512-fp8",
        (Isa::NeonDot, DType::BF16) => "attention-neon-bf16",
        (Isa::NeonDot, DType::F32) => "attention-neon-f32",
        (Isa::NeonDot, DType::F8E4M3) => "attention-neon-fp8",
        (Isa::Scalar, DType::BF16) => "attention-scalar-bf16",
        (Isa::Scalar, DType::F32) => "attention-scalar-f32",
        (Isa::Scalar, DType::F8E4M3) => "attention-scalar-fp8",
        _ => "none",
    }
}

/// Causal attention of every span's rows over its whole context: `softmax(scale * q k) v`.
///
/// Heads are those of `kv`. `qkv` is f32 `[max_rows, (heads + 2 kv_heads) * head_dim]`, of which
/// only the queries are read; `out` is f32 `[max_rows, heads * head_dim]`, another tensor; rows of
/// no span are left alone. Spans are in order of rows. Keys and values are read from `kv` only,
/// at the blocks that `block_tables` lists from `span.table` on, 16 tokens each.
///
/// # Errors
/// When a shape or type does not fit, spans overlap, or a span reaches past its rows, its table or
/// the blocks of `kv`.
pub fn attention(
    ctx: &Context,
    scale: f32,
    qkv: &Tensor,
    spans: &[SequenceSpan],
    block_tables: &[u32],
    kv: &KvLayer,
    out: &Tensor,
) -> Result<(), KernelError> {
    let shape = kv.shape();
    let rows = check_spans(spans, block_tables, kv.num_blocks())?;
    check_rows(OP, "qkv", qkv, rows, shape.qkv_width())?;
    check_rows(OP, "out", out, rows, shape.heads * shape.head_dim)?;
    let kv_words = kv.reader();
    read::<f32, _>(qkv, |qkv| {
        write::<f32, _>(out, |out| {
            let out = Disjoint::new(out);
            let scale = scale * std::f32::consts::LOG2_E;
            let batch = Batch {
                isa: ctx.isa(),
                shape,
                scale,
                qkv,
                words: kv_words.words(),
                layout: kv_words.layout,
                scales: kv.scales(),
                out: &out,
            };
            match kv.dtype() {
                DType::BF16 => run::<bf16>(ctx, &batch, spans, block_tables),
                DType::F8E4M3 => run::<E4m3>(ctx, &batch, spans, block_tables),
                _ => run::<f32>(ctx, &batch, spans, block_tables),
            }
        })
    })??
}

/// Returns the number of rows up to the end of the last span.
fn check_spans(
    spans: &[SequenceSpan],
    block_tables: &[u32],
    num_blocks: usize,
) -> Result<usize, KernelError> {
    let error = |what, expected, got: &dyn std::fmt::Debug| {
        Err(KernelError::Shape { op: OP, what, expected, got: format!("{got:?}") })
    };
    let mut end = 0;
    for span in spans {
        if span.row < end {
            return error("span", format!("at row {end} or later"), span);
        }
        if span.len > span.context {
            return error("span", "no longer than its context".into(), span);
        }
        let blocks = span.context.div_ceil(KV_BLOCK);
        let table =
            span.table.checked_add(blocks).and_then(|end| block_tables.get(span.table..end));
        let Some(table) = table else {
            let expected = format!("inside {} block table entries", block_tables.len());
            return error("span", expected, span);
        };
        if let Some(block) = table.iter().find(|&&block| block as usize >= num_blocks) {
            return error("block", format!("below {num_blocks}"), block);
        }
        end = span.row + span.len;
    }
    Ok(end)
}

/// How spans are divided into items.
#[derive(Clone, Copy)]
struct Division {
    /// Query heads of an item.
    heads: usize,
    /// Items side by side for one range of tokens.
    head_items: usize,
    /// Tokens of an item.
    tokens: usize,
}

impl Division {
    fn new(shape: HeadShape, spans: &[SequenceSpan], threads: usize) -> Self {
        let group = shape.group();
        let tokens = (ITEM_ROWS / group).max(1);
        let items: usize =
            spans.iter().map(|span| span.len.div_ceil(tokens) * shape.kv_heads).sum();
        // Few items, as when one sequence decodes: then a KV head is read by several items, since an
        // idle thread costs more than a second reading from a shared cache.
        let heads = if threads > 1 && items < 2 * threads { 1 } else { group };
        Self { heads, head_items: shape.heads / heads, tokens }
    }

    fn items(&self, span: &SequenceSpan) -> usize {
        span.len.div_ceil(self.tokens) * self.head_items
    }

    /// Item `index` of a span: head by head, and within a head from the end of the prompt, where
    /// items are long, to its start, so that short ones come last and threads finish together.
    fn item<'a>(&self, span: &SequenceSpan, tables: &'a [u32], index: usize) -> Item<'a> {
        let parts = span.len.div_ceil(self.tokens);
        let first = (parts - 1 - index % parts) * self.tokens;
        Item {
            row: span.row + first,
            tokens: self.tokens.min(span.len - first),
            position: span.context - span.len + first,
            head: index / parts * self.heads,
            heads: self.heads,
            table: &tables[span.table..span.table + span.context.div_ceil(KV_BLOCK)],
        }
    }
}

fn run<E: KvElement>(
    ctx: &Context,
    batch: &Batch<'_>,
    spans: &[SequenceSpan],
    block_tables: &[u32],
) -> Result<(), KernelError> {
    let threads = ctx.pool().threads();
    let division = Division::new(batch.shape, spans, threads);
    let most = spans.iter().map(|span| span.len.min(division.tokens)).max().unwrap_or(0);
    let rows = most * division.heads;
    let stride = Rows::floats(rows, batch.shape.head_dim);
    let mut scratch = ctx.scratch();
    let scratch = &mut *scratch;
    if scratch.floats.len() < threads * stride + GROUP {
        scratch.floats.resize(threads * stride + GROUP, 0.0);
    }
    let aligned = scratch.floats.as_ptr().align_offset(GROUP * size_of::<f32>()).min(GROUP);
    let memory = Disjoint::new(&mut scratch.floats[aligned..]);
    // Ends of the spans in the list of all items.
    scratch.indices.clear();
    let mut total = 0;
    for span in spans {
        total += division.items(span);
        scratch.indices.push(total as u32);
    }
    let ends = &scratch.indices;
    let next = AtomicUsize::new(0);
    ctx.pool().run(&|thread| {
        // SAFETY: parts of different threads are disjoint.
        let memory = unsafe { memory.part(thread * stride..(thread + 1) * stride) };
        let mut rows = Rows::new(memory, rows, batch.shape.head_dim);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= total {
                break;
            }
            let span = ends.partition_point(|&end| end as usize <= index);
            let start = if span == 0 { 0 } else { ends[span - 1] as usize };
            let item = division.item(&spans[span], block_tables, index - start);
            batch.run::<E>(&item, &mut rows);
        }
    })
}

//! Sequences with their own keys and values, for tests of attention.

use candle_core::{DType, Device, Tensor};
use eitri_kernels::{
    Context, ContextConfig, HeadShape, Isa, KV_BLOCK, KvLayer, KvScales, RopeScaling, RopeTable,
    ops::{QkvPrep, SequenceSpan, attention, prepare_qkv},
    read, reference,
};
use half::bf16;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// The types of a KV memory.
pub(crate) const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F8E4M3];

pub(crate) fn context(threads: usize) -> Context {
    Context::new(&ContextConfig { threads, ..ContextConfig::default() }).unwrap()
}

/// One for each instruction set of this machine.
pub(crate) fn contexts() -> Vec<Context> {
    let of = |isa| Context::new(&ContextConfig { isa: Some(isa), ..ContextConfig::default() });
    Isa::available().map(|isa| of(isa).unwrap()).collect()
}

pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub(crate) fn random(rng: &mut StdRng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.5_f32..1.5)).collect()
}

pub(crate) fn tensor(rows: usize, width: usize, values: Vec<f32>) -> Tensor {
    Tensor::from_vec(values, (rows, width), &Device::Cpu).unwrap()
}

pub(crate) fn zeros(rows: usize, width: usize) -> Tensor {
    Tensor::zeros((rows, width), DType::F32, &Device::Cpu).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    read::<f32, _>(tensor, <[f32]>::to_vec).unwrap()
}

/// Rotations by nothing: rows of every token are written at position 0, since attention takes the
/// order of tokens from its spans alone.
pub(crate) fn still(head_dim: usize) -> RopeTable {
    RopeTable::new(head_dim, 1, &RopeScaling::None, 1e4).unwrap()
}

/// One sequence: all its query, key and value rows, and the blocks that it owns.
pub(crate) struct Sequence {
    pub(crate) rows: Vec<f32>,
    pub(crate) tokens: usize,
    pub(crate) table: Vec<u32>,
}

/// A KV memory and sequences scattered over it.
pub(crate) struct World {
    pub(crate) shape: HeadShape,
    pub(crate) kv: KvLayer,
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) scale: f32,
}

/// Rows `start..end` of a sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    pub(crate) sequence: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl World {
    pub(crate) fn new(seed: u64, shape: HeadShape, dtype: DType, tokens: &[usize]) -> Self {
        let mut rng = rng(seed);
        let blocks: usize = tokens.iter().map(|t| t.div_ceil(KV_BLOCK)).sum();
        let mut free: Vec<u32> = (0..blocks as u32 + 3).collect();
        free.shuffle(&mut rng);
        let sequences = tokens
            .iter()
            .map(|&tokens| Sequence {
                rows: random(&mut rng, tokens * shape.qkv_width()),
                tokens,
                table: free.split_off(free.len() - tokens.div_ceil(KV_BLOCK)),
            })
            .collect();
        let mut kv = KvLayer::new(blocks + 3, KV_BLOCK, shape, dtype).unwrap();
        if dtype == DType::F8E4M3 {
            // From scales with which every value is a subnormal to scales with which many saturate.
            let mut scales =
                || (0..shape.kv_heads).map(|_| 2_f32.powf(rng.random_range(-9.0..7.0))).collect();
            let scales = KvScales { keys: scales(), values: scales() };
            kv = kv.with_scales(scales).unwrap();
        }
        Self { shape, kv, sequences, scale: 1.0 / (shape.head_dim as f32).sqrt() }
    }

    /// Fills every slot with NaN.
    pub(crate) fn poison(&self, ctx: &Context) {
        let slots: Vec<u32> = (0..(self.kv.num_blocks() * KV_BLOCK) as u32).collect();
        let rows = tensor(
            slots.len(),
            self.shape.qkv_width(),
            vec![f32::NAN; slots.len() * self.shape.qkv_width()],
        );
        self.write(ctx, &rows, &slots);
    }

    fn write(&self, ctx: &Context, rows: &Tensor, slots: &[u32]) {
        let rope = still(self.shape.head_dim);
        let prep = QkvPrep {
            shape: self.shape,
            q_norm: None,
            k_norm: None,
            eps: 1e-6,
            rope: &rope,
            positions: &vec![0; slots.len()],
            slots,
        };
        prepare_qkv(ctx, &prep, rows, slots.len(), &self.kv).unwrap();
    }

    /// One call of both operations for all chunks together; one vector of outputs per chunk.
    pub(crate) fn step(&self, ctx: &Context, chunks: &[Chunk]) -> Vec<Vec<f32>> {
        let width = self.shape.qkv_width();
        let (mut rows, mut slots, mut spans, mut tables) = (vec![], vec![], vec![], vec![]);
        for chunk in chunks {
            let sequence = &self.sequences[chunk.sequence];
            spans.push(SequenceSpan {
                row: slots.len(),
                len: chunk.end - chunk.start,
                context: chunk.end,
                table: tables.len(),
            });
            rows.extend(&sequence.rows[chunk.start * width..chunk.end * width]);
            slots.extend((chunk.start..chunk.end).map(|position| {
                sequence.table[position / KV_BLOCK] * KV_BLOCK as u32 + (position % KV_BLOCK) as u32
            }));
            tables.extend(&sequence.table);
        }
        let out_width = self.shape.heads * self.shape.head_dim;
        let (rows, out) = (tensor(slots.len(), width, rows), zeros(slots.len(), out_width));
        self.write(ctx, &rows, &slots);
        attention(ctx, self.scale, &rows, &spans, &tables, &self.kv, &out).unwrap();
        let out = values(&out);
        spans
            .iter()
            .map(|span| out[span.row * out_width..(span.row + span.len) * out_width].to_vec())
            .collect()
    }

    /// A whole sequence in one call.
    pub(crate) fn whole(&self, ctx: &Context, sequence: usize) -> Vec<f32> {
        let end = self.sequences[sequence].tokens;
        self.step(ctx, &[Chunk { sequence, start: 0, end }]).remove(0)
    }

    /// Outputs of a whole sequence by the reference.
    pub(crate) fn expected(&self, sequence: usize) -> Vec<f32> {
        let HeadShape { heads, kv_heads, head_dim } = self.shape;
        let width = self.shape.qkv_width();
        let Sequence { rows, tokens, .. } = &self.sequences[sequence];
        let part = |head: usize, scale: f32| -> Vec<f32> {
            let round = |x: f32| match self.kv.dtype() {
                DType::BF16 => bf16::from_f32(x).to_f32(),
                DType::F8E4M3 => reference::nearest_e4m3(x / scale) * scale,
                _ => x,
            };
            rows.chunks_exact(width)
                .flat_map(|row| row[head * head_dim..(head + 1) * head_dim].iter().copied())
                .map(round)
                .collect()
        };
        let mut out = vec![0.0; tokens * heads * head_dim];
        for head in 0..heads {
            let kv_head = head / self.shape.group();
            let keys = part(heads + kv_head, self.kv.scales().keys[kv_head]);
            let values = part(heads + kv_heads + kv_head, self.kv.scales().values[kv_head]);
            for token in 0..*tokens {
                let query = &rows[token * width + head * head_dim..][..head_dim];
                let seen = (token + 1) * head_dim;
                let row = reference::attention(query, &keys[..seen], &values[..seen], self.scale);
                out[(token * heads + head) * head_dim..][..head_dim].copy_from_slice(&row);
            }
        }
        out
    }
}

/// Cuts `0..tokens` into random pieces.
pub(crate) fn cut(rng: &mut StdRng, sequence: usize, tokens: usize) -> Vec<Chunk> {
    let (mut chunks, mut start) = (vec![], 0);
    while start < tokens {
        let longest = [1, 7, 40, 200][rng.random_range(0..4)];
        let end = (start + rng.random_range(1..=longest)).min(tokens);
        chunks.push(Chunk { sequence, start, end });
        start = end;
    }
    chunks
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst, d| if d <= worst { worst } else { d })
}

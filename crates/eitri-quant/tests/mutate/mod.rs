//! Small valid files and random damage to them.

use eitri_quant::{gguf, safetensors};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

mod formats;

/// A parser with a valid input.
pub(crate) struct Reader {
    pub(crate) name: String,
    valid: Vec<u8>,
    /// Damage is done to this many bytes more often than to those behind them: lengths and shapes.
    head: usize,
    accepts: Box<Accepts>,
}

/// Whether a reader takes these bytes.
type Accepts = dyn Fn(&[u8]) -> bool;

/// All readers: of files, of what a configuration declares, and of a matrix in every format.
pub(crate) fn readers() -> Vec<Reader> {
    let index = br#"{"metadata": {"total_size": 8}, "weight_map": {"a": "x.st", "b": "y.st"}}"#;
    let mut readers = vec![
        Reader::new("gguf", gguf_file(), |bytes| gguf::parse(bytes).is_ok()),
        Reader::new("safetensors", safetensors_file(), |bytes| safetensors::parse(bytes).is_ok()),
        Reader::new("safetensors index", index.to_vec(), |bytes| {
            safetensors::parse_index(bytes).is_ok()
        }),
    ];
    readers.extend(formats::readers());
    readers
}

impl Reader {
    fn new(
        name: impl Into<String>,
        valid: Vec<u8>,
        accepts: impl Fn(&[u8]) -> bool + 'static,
    ) -> Self {
        Self { name: name.into(), head: valid.len(), valid, accepts: Box::new(accepts) }
    }

    /// Whether the undamaged file is accepted.
    #[allow(dead_code, reason = "used by tests, not by the benchmark")]
    pub(crate) fn accepts_valid(&self) -> bool {
        (self.accepts)(&self.valid)
    }

    /// Damages the valid file and reads it; whether it was still accepted.
    pub(crate) fn feed(&self, rng: &mut StdRng) -> bool {
        let mut bytes = self.valid.clone();
        damage(&mut bytes, self.head, rng);
        (self.accepts)(&bytes)
    }
}

/// Values that sit at the edges of integer types and of lengths.
const EDGES: [u64; 10] =
    [0, 1, 7, 31, 0x7F, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX / 2, u64::MAX];

fn damage(bytes: &mut Vec<u8>, head: usize, rng: &mut StdRng) {
    for _ in 0..rng.random_range(1..4) {
        if bytes.is_empty() {
            return;
        }
        let end = if rng.random_bool(0.8) { head.min(bytes.len()) } else { bytes.len() };
        let at = rng.random_range(0..end);
        match rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => bytes.truncate(at),
            3 => {
                let edge = EDGES.choose(rng).copied().unwrap_or_default().to_le_bytes();
                let width = [1, 2, 4, 8].choose(rng).copied().unwrap_or(1).min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&edge[..width]);
            }
            4 => {
                let end = rng.random_range(at..bytes.len());
                let part = bytes[at..=end].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let end = rng.random_range(at..bytes.len());
                bytes.drain(at..=end);
            }
        }
    }
}

/// Every kind of metadata, and tensors of three types.
pub(crate) fn gguf_file() -> Vec<u8> {
    fn string(out: &mut Vec<u8>, value: &str) {
        out.extend((value.len() as u64).to_le_bytes());
        out.extend(value.as_bytes());
    }
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend(3_u64.to_le_bytes());
    out.extend(17_u64.to_le_bytes());
    for (kind, width) in
        [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)]
    {
        string(&mut out, &format!("k{kind}"));
        out.extend(u32::to_le_bytes(kind));
        out.extend(std::iter::repeat_n(1, width));
    }
    string(&mut out, "general.alignment");
    out.extend(4_u32.to_le_bytes());
    out.extend(32_u32.to_le_bytes());
    string(&mut out, "s");
    out.extend(8_u32.to_le_bytes());
    string(&mut out, "text");
    for (key, element, len, bytes) in [("au", 4_u32, 2_u64, 8), ("ab", 7, 3, 3), ("af", 12, 1, 8)] {
        string(&mut out, key);
        out.extend(9_u32.to_le_bytes());
        out.extend(element.to_le_bytes());
        out.extend(len.to_le_bytes());
        out.extend(std::iter::repeat_n(0, bytes));
    }
    string(&mut out, "nested");
    out.extend(9_u32.to_le_bytes());
    out.extend(9_u32.to_le_bytes());
    out.extend(1_u64.to_le_bytes());
    out.extend(8_u32.to_le_bytes());
    out.extend(2_u64.to_le_bytes());
    string(&mut out, "x");
    string(&mut out, "yz");
    for (name, shape, kind, offset) in
        [("a", &[4_u64, 2][..], 0_u32, 0_u64), ("b", &[64, 2, 2], 8, 32), ("c", &[32], 2, 320)]
    {
        string(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        for size in shape {
            out.extend(size.to_le_bytes());
        }
        out.extend(kind.to_le_bytes());
        out.extend(offset.to_le_bytes());
    }
    out.resize(out.len().next_multiple_of(32) + 338, 0);
    out
}

fn safetensors_file() -> Vec<u8> {
    let header = r#"{"__metadata__":{"format":"pt"},
        "a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},
        "b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},
        "c":{"dtype":"I8","shape":[0,7],"data_offsets":[26,26]}}"#;
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.resize(out.len() + 26, 0);
    out
}

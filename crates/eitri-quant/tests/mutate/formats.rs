//! A small matrix in every quantised format, read to its last value.

use eitri_quant::{
    Checkpoint, Encoding, FileBytes, Matrix, NewTensor, QuantizationConfig,
    gguf::GgufWriter,
    quantize,
    scheme::{SCHEMES, Scheme, Unquantised},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};

use super::Reader;

/// Rows, and inputs: as few as all formats take.
const SHAPE: [usize; 2] = [8, 256];
const MODULE: &str = "model.layers.0.mlp.up_proj";

/// Types of GGUF that are read and not written.
const READ_ONLY: [Encoding; 5] =
    [Encoding::Q2_K, Encoding::Q3_K, Encoding::IQ4_NL, Encoding::IQ4_XS, Encoding::MXFP4];

pub(super) fn readers() -> Vec<Reader> {
    let gguf = quantize::encodings().chain(READ_ONLY).map(of_gguf);
    gguf.chain(SCHEMES.iter().flat_map(|scheme| [of_scheme(scheme), of_config(scheme)])).collect()
}

fn values() -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(11);
    (0..SHAPE[0] * SHAPE[1]).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Whether the matrix is there and all of it can be read.
fn is_readable(checkpoint: &Checkpoint) -> bool {
    let Ok(matrix) = Matrix::open(checkpoint, MODULE) else { return false };
    let rows = matrix.n() * matrix.experts();
    let mut row = vec![0.0; if rows == 0 { 0 } else { matrix.k() }];
    (0..rows).all(|index| matrix.dequantise_row(index, &mut row).is_ok())
}

#[allow(clippy::unwrap_used, reason = "the undamaged file can be written")]
fn of_gguf(encoding: Encoding) -> Reader {
    let [n, k] = SHAPE;
    let mut stored = vec![0; encoding.size(n * k).unwrap()];
    if quantize::encode(encoding, &values(), &mut stored).is_err() {
        StdRng::seed_from_u64(12).fill(&mut stored[..]);
        // Whatever lies there as a 16-bit scale is finite.
        for byte in &mut stored {
            *byte &= 0x3F;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let tensor = NewTensor { name: format!("{MODULE}.weight"), encoding, shape: SHAPE.to_vec() };
    let mut writer = GgufWriter::create(&path, &[], &[tensor]).unwrap();
    writer.write(&stored).unwrap();
    writer.finish().unwrap();
    let valid = std::fs::read(&path).unwrap();
    let head = valid.len() - stored.len();
    let accepts = |bytes: &[u8]| {
        Checkpoint::from_gguf("m.gguf", FileBytes::Owned(bytes.to_vec()))
            .is_ok_and(|(checkpoint, _)| is_readable(&checkpoint))
    };
    Reader { head, ..Reader::new(format!("gguf {}", encoding.name), valid, accepts) }
}

fn config(scheme: &Scheme) -> Value {
    json!({"quantization_config": scheme.config(&Unquantised::default(), true)})
}

fn declared(config: &Value) -> Option<QuantizationConfig> {
    let empty = Map::new();
    let object = config.as_object().unwrap_or(&empty);
    QuantizationConfig::in_config("config.json", object).ok().flatten()
}

#[allow(clippy::unwrap_used, reason = "the undamaged file can be written")]
fn of_scheme(scheme: &'static Scheme) -> Reader {
    let scales = scheme.scale_encoding(Encoding::BF16);
    let codes = scheme.round(&values(), SHAPE, 1.0, scales, 1);
    let shapes = scheme.tensors(SHAPE, scales, true);
    let mut header = Map::new();
    let mut data = Vec::new();
    for ((suffix, encoding, shape), stored) in shapes.iter().zip(scheme.store(&codes, Some(1.0))) {
        let start = data.len();
        data.extend(stored.bytes);
        header.insert(
            format!("{MODULE}.{suffix}"),
            json!({"dtype": encoding.name, "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    let mut valid = (header.len() as u64).to_le_bytes().to_vec();
    valid.extend(header.as_bytes());
    let head = valid.len();
    valid.extend(&data);
    let config = config(scheme);
    let accepts = move |bytes: &[u8]| {
        Checkpoint::from_bytes("m.safetensors", FileBytes::Owned(bytes.to_vec()))
            .is_ok_and(|checkpoint| is_readable(&checkpoint.with_quantization(declared(&config))))
    };
    Reader { head, ..Reader::new(scheme.name, valid, accepts) }
}

fn of_config(scheme: &Scheme) -> Reader {
    Reader::new(format!("{} declared", scheme.name), config(scheme).to_string().into(), |bytes| {
        serde_json::from_slice(bytes).is_ok_and(|config| declared(&config).is_some())
    })
}

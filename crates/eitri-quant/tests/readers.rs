//! The readers of GGUF and safetensors: what they read, what they refuse, and that they survive.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mutate;

use eitri_quant::{
    Checkpoint, FileBytes,
    gguf::{self, Array, GgufError, Value},
    safetensors::{self, SafeTensorsError},
};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

/// Damaged inputs per reader here; `benches/fuzz_readers.rs` runs any number.
const DAMAGED: usize = 10_000;

#[test]
fn damaged_files_never_panic() {
    for reader in mutate::readers() {
        assert!(reader.accepts_valid(), "{}", reader.name);
        let mut rng = StdRng::seed_from_u64(7);
        let accepted = (0..DAMAGED).filter(|_| reader.feed(&mut rng)).count();
        // Otherwise the damage is too weak or too strong to test the checks.
        assert!(
            accepted > DAMAGED / 1000 && accepted < DAMAGED / 4 * 3,
            "{}: {accepted}",
            reader.name
        );
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let framed = |start: &[u8]| [start, &bytes].concat();
        let _ = gguf::parse(&bytes);
        let _ = gguf::parse(&framed(b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"));
        let _ = safetensors::parse(&framed(&(bytes.len() as u64).to_le_bytes()));
        let _ = safetensors::parse_index(&bytes);
    }
}

#[test]
fn gguf_values_of_every_type_are_read() {
    let file = gguf::parse(&mutate::gguf_file()).unwrap();
    let value = |key: &str| &file.metadata[key];
    assert_eq!(*value("k0"), Value::Unsigned(1));
    assert_eq!(*value("k3"), Value::Signed(0x0101));
    assert_eq!(*value("k7"), Value::Bool(true));
    assert_eq!(value("k10").as_u64(), Some(0x0101_0101_0101_0101));
    assert_eq!(value("s").as_str(), Some("text"));
    assert_eq!(*value("au"), Value::Array(Array::Unsigned(vec![0, 0])));
    let nested = Array::Nested(vec![Array::Strings(vec!["x".into(), "yz".into()])]);
    assert_eq!(*value("nested"), Value::Array(nested));
    let tensor = &file.tensors[1];
    assert_eq!((tensor.name.as_str(), &*tensor.shape), ("b", &[2, 2, 64][..]));
    assert_eq!((tensor.encoding.name, tensor.range.len()), ("Q8_0", 256 / 32 * 34));
    assert_eq!(tensor.range.start % 32, 0);
}

/// Replaces the only occurrence of `from`.
fn replaced(from: &[u8], to: &[u8]) -> Vec<u8> {
    let file = mutate::gguf_file();
    let found: Vec<usize> = (0..file.len()).filter(|&at| file[at..].starts_with(from)).collect();
    assert_eq!(found.len(), 1, "{from:?}");
    [&file[..found[0]], to, &file[found[0] + from.len()..]].concat()
}

fn message(bytes: &[u8]) -> String {
    gguf::parse(bytes).unwrap_err().to_string()
}

#[test]
fn gguf_errors_name_the_place() {
    let tensor = |name: &str, tail: &[u8]| [name.as_bytes(), tail].concat();
    let cases: [(&[u8], &[u8], &str); 10] = [
        (b"GGUF\x03\0\0\0", b"GGUF\0\0\0\x03", "the file is big-endian (version field 0x03000000)"),
        (b"GGUF\x03\0\0\0", b"GGUF\x04\0\0\0", "GGUF version 4 is not supported, 2 and 3 are"),
        (b"GGUF\x03", b"FUGG\x03", "not a GGUF file: it begins with [46, 55, 47, 47]"),
        (b"k1\x01\0\0\0\x01", b"k0\x01\0\0\0\x01", "metadata key k0 occurs twice"),
        (b"k7\x07\0\0\0\x01", b"k7\x07\0\0\0\x02", "metadata key k7 has a boolean of value 2"),
        (b"k6\x06\0\0\0", b"k6\x0D\0\0\0", "metadata key k6 has type 13, which does not exist"),
        (b"alignment\x04\0\0\0\x20", b"alignment\x04\0\0\0\x21", "general.alignment is 33, not a"),
        (b"text", b"te\xFFt", "a metadata value at byte"),
        (
            &tensor("a", b"\x02\0\0\0\x04"),
            &tensor("a", b"\x05\0\0\0\x04"),
            "tensor a has 5 dimensions",
        ),
        (&tensor("a", b"\x02\0\0\0\x04"), &tensor("b", b"\x02\0\0\0\x04"), "tensor b occurs twice"),
    ];
    for (from, to, expected) in cases {
        let got = message(&replaced(from, to));
        assert!(got.starts_with(expected), "{got}");
    }
}

#[test]
fn gguf_tensors_stay_inside_and_apart() {
    // Innermost dimension, type and offset of tensor c, which is the last.
    let c = |size: u64, kind: u32, offset: u64| {
        let mut to = b"c\x01\0\0\0".to_vec();
        to.extend(size.to_le_bytes());
        to.extend(kind.to_le_bytes());
        to.extend(offset.to_le_bytes());
        to
    };
    let change = |to: &[u8]| message(&replaced(&c(32, 2, 320), to));
    assert!(
        change(&c(32, 2, 321)).starts_with("tensor c starts at offset 321, not a multiple of 32")
    );
    assert!(change(&c(32, 2, 288)).starts_with("tensors b and c overlap"));
    assert!(change(&c(64, 2, 320)).ends_with("it is truncated"));
    assert!(change(&c(32, 2, 1 << 62)).ends_with("it is truncated"));
    assert!(change(&c(32, 2, u64::MAX - 31)).ends_with("it is truncated"));
    assert!(
        change(&c(33, 2, 320)).starts_with("tensor c of type Q4_0 has impossible dimensions [33]")
    );
    assert!(change(&c(u64::MAX, 0, 320)).contains("impossible dimensions"));
    assert!(change(&c(0, 2, 320)).contains("impossible dimensions"));
    assert!(change(&c(32, 4, 320)).starts_with("tensor c has type 4, which does not exist"));
}

#[test]
fn gguf_counts_are_checked_before_memory_is_taken() {
    let mut file = mutate::gguf_file();
    file[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(gguf::parse(&file), Err(GgufError::Counts { tensors: u64::MAX, .. })));
    let length = |length: u64| [b"ab\x09\0\0\0\x07\0\0\0", &length.to_le_bytes()[..]].concat();
    let array = replaced(&length(3), &length(u64::MAX / 2));
    assert!(message(&array).starts_with("the file ends inside"), "{}", message(&array));
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.resize(out.len() + data, 0);
    out
}

#[test]
fn safetensors_errors_name_the_tensor() {
    let a = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let with = |b: &str| format!("{{{a},{b}}}");
    let cases = [
        (
            with(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}"#),
            8,
            "tensor b starts at offset 4, but the one before it ends at 8",
        ),
        (
            with(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}"#),
            16,
            "tensor b starts at offset 12, but the one before it ends at 8",
        ),
        (
            with(r#""b":{"dtype":"F32","shape":[2],"data_offsets":[8,12]}"#),
            12,
            "tensor b of type F32 with shape [2] does not have 4 bytes",
        ),
        (
            with(r#""b":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[8,12]}"#),
            12,
            "tensor b of type F32 with shape [18446744073709551615, 2] does not have 4 bytes",
        ),
        (
            with(r#""b":{"dtype":"F99","shape":[1],"data_offsets":[8,12]}"#),
            12,
            "tensor b has the unknown dtype F99",
        ),
        (
            with(r#""b":{"shape":[1],"data_offsets":[8,12]}"#),
            12,
            "tensor b: dtype must be a string",
        ),
        (
            with(r#""b":{"dtype":"F32","shape":[-1],"data_offsets":[8,12]}"#),
            12,
            "tensor b: shape must be an array of whole numbers",
        ),
        (
            with(r#""b":{"dtype":"F32","shape":[1],"data_offsets":[12,8]}"#),
            12,
            "tensor b: data_offsets must be two ascending whole numbers",
        ),
        (with(a), 8, "the header is not valid JSON: a occurs twice"),
        (with(r#""b":7"#), 8, "tensor b: dtype must be a string"),
        (format!("{{{a}}}"), 7, "tensor a ends at byte"),
        (format!("{{{a}}}"), 9, "1 bytes follow the last tensor"),
        ("[]".to_owned(), 0, "the header is not valid JSON: invalid type"),
    ];
    for (header, data, expected) in cases {
        let got = safetensors::parse(&safetensors(&header, data)).unwrap_err().to_string();
        assert!(got.starts_with(expected), "{got}");
    }
    let long = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(matches!(safetensors::parse(&long), Err(SafeTensorsError::HeaderLength { .. })));
}

/// What the reference implementation writes is read back, metadata and empty tensors included.
#[test]
fn safetensors_of_the_reference_implementation_are_read() {
    let data: Vec<u8> = (0..24).collect();
    let view = |dtype, shape: &[usize], bytes| {
        ::safetensors::tensor::TensorView::new(dtype, shape.to_vec(), bytes).unwrap()
    };
    let tensors = [
        ("x", view(::safetensors::Dtype::F32, &[2, 3], &data)),
        ("y", view(::safetensors::Dtype::BF16, &[4], &data[..8])),
        ("z", view(::safetensors::Dtype::U8, &[0], &[])),
    ];
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let file = ::safetensors::serialize(tensors, metadata).unwrap();
    let read = safetensors::parse(&file).unwrap();
    assert_eq!(read.len(), 3);
    let y = read.iter().find(|tensor| tensor.name == "y").unwrap();
    assert_eq!(
        (y.encoding.name, &*y.shape, &file[y.range.clone()]),
        ("BF16", &[4][..], &data[..8])
    );
}

#[test]
fn unused_tensors_are_listed() {
    let file = FileBytes::Static(Box::leak(mutate::gguf_file().into_boxed_slice()));
    let (checkpoint, _) = Checkpoint::from_gguf("m.gguf", file).unwrap();
    checkpoint.tensor("b").unwrap();
    assert_eq!(checkpoint.unused(), ["a", "c"]);
    assert!(checkpoint.contains("a") && !checkpoint.contains("d"));
    let error = checkpoint.tensor("d").unwrap_err().to_string();
    assert_eq!(error, "tensor d is missing from m.gguf");
}

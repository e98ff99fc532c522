//! What the writer makes is what the reader finds, and a file that is not finished leaves nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use eitri_quant::{
    Checkpoint, Encoding, QuantError,
    gguf::{Array, GgufWriter, MetadataArray, MetadataValue, NewTensor, Value, parse},
};

fn tensor(name: &str, encoding: Encoding, shape: &[usize]) -> NewTensor {
    NewTensor { name: name.to_owned(), encoding, shape: shape.to_vec() }
}

fn entries(folder: &Path) -> Vec<String> {
    let names = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[test]
fn every_metadata_type_comes_back() {
    use MetadataArray as A;
    use MetadataValue as M;
    let nested = A::Nested(vec![A::U8(vec![1]), A::Strings(vec!["ä".into(), String::new()])]);
    let cases = [
        (M::U8(200), Value::Unsigned(200)),
        (M::I8(-100), Value::Signed(-100)),
        (M::U16(60_000), Value::Unsigned(60_000)),
        (M::I16(-30_000), Value::Signed(-30_000)),
        (M::U32(u32::MAX), Value::Unsigned(u64::from(u32::MAX))),
        (M::I32(i32::MIN), Value::Signed(i64::from(i32::MIN))),
        (M::F32(0.1), Value::Float(f64::from(0.1_f32))),
        (M::Bool(true), Value::Bool(true)),
        (M::from("text"), Value::String("text".into())),
        (M::U64(u64::MAX), Value::Unsigned(u64::MAX)),
        (M::I64(i64::MIN), Value::Signed(i64::MIN)),
        (M::F64(1e300), Value::Float(1e300)),
        (M::Array(A::U8(vec![1, 2])), Value::Array(Array::Unsigned(vec![1, 2]))),
        (M::Array(A::I8(vec![-1])), Value::Array(Array::Signed(vec![-1]))),
        (M::Array(A::U16(vec![3])), Value::Array(Array::Unsigned(vec![3]))),
        (M::Array(A::I16(vec![-3])), Value::Array(Array::Signed(vec![-3]))),
        (M::Array(A::U32(vec![4])), Value::Array(Array::Unsigned(vec![4]))),
        (M::Array(A::I32(vec![-4, 4])), Value::Array(Array::Signed(vec![-4, 4]))),
        (M::Array(A::F32(vec![0.5])), Value::Array(Array::Float(vec![0.5]))),
        (M::Array(A::Bool(vec![true, false])), Value::Array(Array::Bool(vec![true, false]))),
        (M::Array(A::U64(vec![5])), Value::Array(Array::Unsigned(vec![5]))),
        (M::Array(A::I64(vec![-5])), Value::Array(Array::Signed(vec![-5]))),
        (M::Array(A::F64(vec![0.25])), Value::Array(Array::Float(vec![0.25]))),
        (
            M::Array(nested),
            Value::Array(Array::Nested(vec![
                Array::Unsigned(vec![1]),
                Array::Strings(vec!["ä".into(), String::new()]),
            ])),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let key = |i: usize| format!("key.{i}");
    let metadata: Vec<_> =
        cases.iter().enumerate().map(|(i, (value, _))| (key(i), value.clone())).collect();
    GgufWriter::create(&path, &metadata, &[]).unwrap().finish().unwrap();
    let first = std::fs::read(&path).unwrap();
    let header = parse(&first).unwrap();
    for (i, (_, expected)) in cases.iter().enumerate() {
        assert_eq!(&header.metadata[&key(i)], expected);
    }

    let (checkpoint, _) = Checkpoint::open_gguf(&path).unwrap();
    let copied: Vec<_> = checkpoint
        .metadata()
        .map(|(key, value)| (key.to_owned(), MetadataValue::Stored(value.to_owned())))
        .collect();
    let copy = folder.path().join("copy.gguf");
    GgufWriter::create(&copy, &copied, &[]).unwrap().finish().unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), first);
}

#[test]
fn tensors_are_aligned_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let tensors = [
        tensor("a", Encoding::F32, &[3]),
        tensor("b", Encoding::Q4_0, &[2, 64]),
        tensor("c", Encoding::BF16, &[2, 3, 5]),
    ];
    let mut writer = GgufWriter::create(&path, &[], &tensors).unwrap();
    assert_eq!(entries(folder.path()).len(), 1);
    assert!(!path.exists(), "the name is given at the end");
    writer.write(&[1; 12]).unwrap();
    writer.write(&[2; 36]).unwrap();
    writer.write(&[3; 36]).unwrap();
    writer.write(&[4; 60]).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(entries(folder.path()), ["m.gguf"]);
    assert_eq!(path.metadata().unwrap().len(), bytes);

    let (checkpoint, header) = Checkpoint::open_gguf(&path).unwrap();
    assert_eq!(checkpoint.names(), ["a", "b", "c"]);
    assert!(header.tensors.iter().all(|tensor| tensor.range.start.is_multiple_of(32)));
    let b = checkpoint.tensor("b").unwrap();
    assert_eq!((b.shape, b.encoding), (&[2, 64][..], Encoding::Q4_0));
    assert_eq!(b.bytes, [[2; 36], [3; 36]].concat());
    let c = checkpoint.tensor("c").unwrap();
    assert_eq!((c.shape, c.bytes), (&[2, 3, 5][..], &[4; 60][..]));
}

#[test]
fn what_is_not_finished_disappears_and_spares_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    std::fs::write(&path, "old").unwrap();
    let tensors = [tensor("a", Encoding::F32, &[3])];

    let mut writer = GgufWriter::create(&path, &[], &tensors).unwrap();
    writer.write(&[0; 8]).unwrap();
    let error = writer.write(&[0; 8]).unwrap_err().to_string();
    assert_eq!(error, "tensor a takes 12 bytes, got 16");
    let error = writer.finish().unwrap_err().to_string();
    assert_eq!(error, "tensor a takes 12 bytes, got 8");
    assert_eq!(entries(folder.path()), ["m.gguf"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");

    let mut writer = GgufWriter::create(&path, &[], &tensors).unwrap();
    writer.write(&[0; 12]).unwrap();
    assert!(writer.write(&[0]).is_err(), "behind the last tensor");
    writer.finish().unwrap();
    assert_eq!(Checkpoint::open_gguf(&path).unwrap().0.names(), ["a"]);
}

#[test]
fn impossible_tensors_and_places_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let create = |path: &Path, tensor| GgufWriter::create(path, &[], &[tensor]).unwrap_err();
    let path = folder.path().join("m.gguf");
    let broken_row = create(&path, tensor("a", Encoding::Q4_K, &[2, 128]));
    assert!(matches!(broken_row, QuantError::NotStorable { .. }), "{broken_row}");
    let foreign = Encoding::from_safetensors("F8_E4M3").unwrap();
    let error = create(&path, tensor("a", foreign, &[2, 128])).to_string();
    assert_eq!(error, "tensor a of shape [2, 128] cannot be written as F8_E4M3");
    let nowhere = folder.path().join("no/such/folder.gguf");
    let error = create(&nowhere, tensor("a", Encoding::F32, &[1])).to_string();
    assert!(error.contains("no/such/folder.gguf"), "{error}");
    assert!(entries(folder.path()).is_empty());
}

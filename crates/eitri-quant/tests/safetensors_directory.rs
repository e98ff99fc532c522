//! Written safetensors files through the reference implementation, and through this crate's reader.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use eitri_quant::{
    Checkpoint, Encoding, QuantError,
    gguf::NewTensor,
    safetensors::{SafeTensorsDirectory, serialize},
};
use safetensors::SafeTensors;
use serde_json::{Value, json};

fn tensor(name: &str, encoding: Encoding, shape: &[usize]) -> NewTensor {
    NewTensor { name: name.to_owned(), encoding, shape: shape.to_vec() }
}

/// Types of all widths, a scalar and one whose bytes are odd.
fn tensors() -> Vec<(NewTensor, Vec<u8>)> {
    let specifications: [(&str, Encoding, &[usize]); 6] = [
        ("a.weight", Encoding::F8_E4M3, &[3, 5]),
        ("a.scale", Encoding::BF16, &[3, 1]),
        ("a.shape", Encoding::I64, &[2]),
        ("b.weight", Encoding::I32, &[2, 3]),
        ("b.factor", Encoding::F32, &[]),
        ("c.weight", Encoding::F16, &[7]),
    ];
    let fill = |(i, (name, encoding, shape)): (usize, (&str, Encoding, &[usize]))| {
        let bytes = encoding.size(shape.iter().product()).unwrap();
        (tensor(name, encoding, shape), (0..bytes).map(|at| (at * 7 + i) as u8).collect())
    };
    specifications.into_iter().enumerate().map(fill).collect()
}

fn write(directory: &Path, shard_bytes: u64) -> u64 {
    let tensors = tensors();
    let new: Vec<NewTensor> = tensors.iter().map(|(tensor, _)| tensor.clone()).collect();
    let mut writer = SafeTensorsDirectory::create(directory, &new, shard_bytes).unwrap();
    for (tensor, data) in tensors.iter().rev() {
        writer.write(&tensor.name, data).unwrap();
    }
    writer.finish().unwrap()
}

/// The names in a file that the reference implementation reads, with values at aligned places.
fn check(file: &[u8]) -> Vec<String> {
    let read = SafeTensors::deserialize(file).unwrap();
    let mut names = Vec::new();
    for (expected, data) in tensors() {
        let Ok(view) = read.tensor(&expected.name) else { continue };
        assert_eq!(view.shape(), expected.shape, "{}", expected.name);
        assert_eq!(view.dtype().to_string(), expected.encoding.name);
        assert!(view.data() == data, "{}", expected.name);
        let offset = view.data().as_ptr() as usize - file.as_ptr() as usize;
        assert!(offset.is_multiple_of(expected.encoding.bytes), "{} at {offset}", expected.name);
        names.push(expected.name);
    }
    assert_eq!(read.len(), names.len());
    names
}

#[test]
fn one_file_holds_all() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = write(folder.path(), 1 << 20);
    let file = fs::read(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(bytes, file.len() as u64);
    assert_eq!(check(&file).len(), 6);
    let (_, metadata) = SafeTensors::read_metadata(&file).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    assert_eq!(serialize(&tensors()).unwrap(), file);
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

#[test]
fn large_models_are_several_files_with_an_index() {
    let folder = tempfile::tempdir().unwrap();
    // 15 + 6 bytes fill the first, 16 + 24 do not fit together, nor 24 + 4 + 14.
    let bytes = write(folder.path(), 36);
    let files: Vec<Vec<String>> = (1..=4)
        .map(|i| {
            let name = format!("model-{i:05}-of-00004.safetensors");
            check(&fs::read(folder.path().join(name)).unwrap())
        })
        .collect();
    assert_eq!(files[0], ["a.weight", "a.scale"]);
    assert_eq!(files[1], ["a.shape"]);
    assert_eq!(files[2], ["b.weight", "b.factor"]);
    assert_eq!(files[3], ["c.weight"]);
    let index = fs::read(folder.path().join("model.safetensors.index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["metadata"]["total_size"], json!(15 + 6 + 16 + 24 + 4 + 14));
    assert_eq!(index["weight_map"]["b.factor"], "model-00003-of-00004.safetensors");
    let checkpoint = Checkpoint::open_safetensors(folder.path()).unwrap();
    let mut data = 0;
    for (expected, bytes) in tensors() {
        assert!(checkpoint.tensor(&expected.name).unwrap().bytes == bytes);
        data += bytes.len() as u64;
    }
    assert!(bytes > data, "headers count");
}

#[test]
fn what_was_not_announced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let new = [tensor("x", Encoding::F32, &[2]), tensor("y", Encoding::U8, &[1])];
    let mut writer = SafeTensorsDirectory::create(folder.path(), &new, 1 << 20).unwrap();
    let error = writer.write("z", &[0]).unwrap_err();
    assert_eq!(error.to_string(), "tensor z was not announced");
    let error = writer.write("x", &[0; 4]).unwrap_err();
    assert_eq!(error.to_string(), "tensor x takes 8 bytes, got 4");
    writer.write("x", &[0; 8]).unwrap();
    let error = writer.write("x", &[0; 8]).unwrap_err();
    assert_eq!(error.to_string(), "tensor x was written before");
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, QuantError::DataLength { tensor, got: 0, .. } if tensor == "y"));
    let twice = [new[1].clone(), new[1].clone()];
    let error = SafeTensorsDirectory::create(folder.path(), &twice, 1 << 20).unwrap_err();
    assert_eq!(error.to_string(), "tensor y occurs twice");
}

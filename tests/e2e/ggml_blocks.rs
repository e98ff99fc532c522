//! What blocks of ggml's types mean, against the `gguf` Python package, bit for bit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, process::Command};

use eitri_kernels::reference::Random;
use eitri_quant::{Checkpoint, Encoding, Matrix};
use eitri_tests::workspace;

use crate::dequantize::dequantize;

/// Number of each block type that is read, and where its blocks have f16 numbers.
const TYPES: [(u32, &[usize]); 13] = [
    (2, &[0]),
    (3, &[0, 2]),
    (6, &[0]),
    (7, &[0, 2]),
    (8, &[0]),
    (10, &[80, 82]),
    (11, &[108]),
    (12, &[0, 2]),
    (13, &[0, 2]),
    (14, &[208]),
    (20, &[0]),
    (23, &[0]),
    (MXFP4, &[]),
];
const MXFP4: u32 = 39;
/// The largest exponent with which all codes are finite.
const MXFP4_LARGEST: u8 = 252;
const ROWS: usize = 40;
const K: usize = 512;

/// Blocks of random bytes, but without numbers that are not finite.
fn random_blocks(id: u32, halves: &[usize], random: &mut Random) -> Vec<u8> {
    let encoding = Encoding::from_ggml(id).unwrap();
    let mut bytes: Vec<u8> =
        (0..encoding.size(ROWS * K).unwrap()).map(|_| random.bits() as u8).collect();
    for block in bytes.chunks_exact_mut(encoding.bytes) {
        for half in halves {
            // Without its highest bit an exponent is below that of infinity.
            block[half + 1] &= !0x40;
        }
        if id == MXFP4 {
            block[0] = block[0].min(MXFP4_LARGEST);
        }
    }
    bytes
}

/// A GGUF file with a matrix of each type, named after it.
fn write(path: &Path) {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend((TYPES.len() as u64).to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    let (mut random, mut data) = (Random::new(31), Vec::new());
    for (id, halves) in TYPES {
        let name = Encoding::from_ggml(id).unwrap().name;
        file.extend((name.len() as u64).to_le_bytes());
        file.extend(name.as_bytes());
        file.extend(2_u32.to_le_bytes());
        file.extend((K as u64).to_le_bytes());
        file.extend((ROWS as u64).to_le_bytes());
        file.extend(id.to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        data.extend(random_blocks(id, halves, &mut random));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(data);
    fs::write(path, file).unwrap();
}

/// The values of all matrices, in the order of the file.
fn values(path: &Path) -> Vec<f32> {
    let (checkpoint, _) = Checkpoint::open_gguf(path).unwrap();
    let mut all = Vec::new();
    for (id, _) in TYPES {
        // A module that has no `.weight` is named like its tensor.
        let matrix = Matrix::open(&checkpoint, Encoding::from_ggml(id).unwrap().name).unwrap();
        let mut canonical = vec![0; matrix.format().row_bytes(K).unwrap()];
        let mut row = [0.0; K];
        for r in 0..ROWS {
            matrix.rows().row(r, &mut canonical).unwrap();
            matrix.format().dequantise_row(&canonical, &mut row);
            all.extend(row);
        }
    }
    all
}

/// The same of what the program writes.
fn dequantized(path: &Path) -> Vec<f32> {
    let tensors = dequantize(path, "f32");
    assert_eq!(tensors.len(), TYPES.len());
    TYPES
        .iter()
        .flat_map(|&(id, _)| tensors[Encoding::from_ggml(id).unwrap().name].clone())
        .collect()
}

#[test]
fn every_type_means_what_the_gguf_package_reads() {
    let python = workspace().join("local/python/bin/python");
    assert!(python.is_file(), "Python is missing: install it with `cargo xtask python`");
    let folder = tempfile::tempdir().unwrap();
    let (file, decoded) = (folder.path().join("blocks.gguf"), folder.path().join("blocks.f32"));
    write(&file);
    let (values, written) = (values(&file), dequantized(&file));
    assert!(values.iter().map(|x| x.to_bits()).eq(written.iter().map(|x| x.to_bits())));
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    fs::write(&decoded, bytes).unwrap();
    let output = Command::new(python)
        .arg(workspace().join("tests/python/ggml_blocks_check.py"))
        .args([&file, &decoded])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for (id, _) in TYPES {
        let name = Encoding::from_ggml(id).unwrap().name;
        assert!(text.contains(&format!("ok  {name}: {} values", ROWS * K)), "{name}: {text}");
    }
}

//! Checkpoints as plain tensors: what is written, what is left out, what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, ops::ControlFlow, path::Path};

use eitri_quant::{Checkpoint, Encoding, QuantError, write_plain};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

type Part<'a> = (&'a str, Dtype, &'a [usize], Vec<u8>);

fn bytes(parts: &[Part<'_>]) -> Vec<u8> {
    let views = parts.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn write(folder: &Path, name: &str, parts: &[Part<'_>]) {
    fs::write(folder.join(name), bytes(parts)).unwrap();
}

fn plain(path: &Path, floats: Encoding) -> Result<Vec<u8>, QuantError> {
    let checkpoint = Checkpoint::open(path)?;
    let target = path.with_extension("plain");
    let bytes = write_plain(&target, &checkpoint.plain_tensors()?, floats, &mut |_| {
        ControlFlow::Continue(())
    })?;
    let written = fs::read(&target).unwrap();
    assert_eq!(bytes, written.len() as u64);
    Ok(written)
}

/// Four rows of 32 signed bytes with a scale each.
fn int8(rows: u8) -> [Part<'static>; 2] {
    let scales = (0..rows).flat_map(|row| f16::from_f32(0.5 + f32::from(row)).to_le_bytes());
    [
        ("weight", Dtype::I8, &[4, 32], (0..128).collect()),
        ("weight_scale", Dtype::F16, &[4, 1], scales.collect()),
    ]
}

#[test]
fn a_module_needs_no_name_and_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "module.safetensors", &int8(4));
    for path in [folder.path().to_owned(), folder.path().join("module.safetensors")] {
        let written = plain(&path, Encoding::F32).unwrap();
        let written = SafeTensors::deserialize(&written).unwrap();
        assert_eq!(written.names(), ["weight"]);
        let weight = written.tensor("weight").unwrap();
        assert_eq!((weight.dtype(), weight.shape()), (Dtype::F32, &[4, 32][..]));
        let values =
            (0..128_u8).flat_map(|i| (f32::from(i) * (0.5 + f32::from(i / 32))).to_le_bytes());
        assert!(weight.data().iter().copied().eq(values));
    }
}

#[test]
fn floats_are_converted_and_integers_copied() {
    let folder = tempfile::tempdir().unwrap();
    let values = [1.0_f32, -0.1, 3e38];
    let halves = values.map(|x| f16::from_f32(x.min(6e4)));
    let doubles = values.map(|x| f64::from(x) * (1.0 + f64::EPSILON));
    let parts: [Part<'_>; 5] = [
        ("a.norm.weight", Dtype::F32, &[3], values.iter().flat_map(|x| x.to_le_bytes()).collect()),
        ("conv", Dtype::F16, &[1, 1, 3], halves.iter().flat_map(|x| x.to_le_bytes()).collect()),
        ("d", Dtype::F64, &[3], doubles.iter().flat_map(|x| x.to_le_bytes()).collect()),
        ("ids", Dtype::I64, &[1], 7_i64.to_le_bytes().to_vec()),
        ("none", Dtype::F32, &[0, 2], Vec::new()),
    ];
    write(folder.path(), "x.safetensors", &parts);
    let written = plain(&folder.path().join("x.safetensors"), Encoding::BF16).unwrap();
    let written = SafeTensors::deserialize(&written).unwrap();
    let half = |x: f32| bf16::from_f32(x).to_le_bytes();
    for (name, shape, expected) in [
        ("a.norm.weight", &[3][..], values.map(half).concat()),
        ("conv", &[1, 1, 3], halves.map(|x| half(x.to_f32())).concat()),
        ("d", &[3], values.map(half).concat()),
        ("none", &[0, 2], Vec::new()),
    ] {
        let tensor = written.tensor(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (Dtype::BF16, shape), "{name}");
        assert_eq!(tensor.data(), expected, "{name}");
    }
    let ids = written.tensor("ids").unwrap();
    assert_eq!((ids.dtype(), ids.data()), (Dtype::I64, &7_i64.to_le_bytes()[..]));
}

#[test]
fn scales_of_activations_are_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let [weight, scale] = int8(4);
    let input: Part<'_> = ("input_scale", Dtype::F32, &[1], vec![0; 4]);
    write(folder.path(), "x.safetensors", &[weight, scale, input]);
    let path = folder.path().join("x.safetensors");
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.plain_tensors().unwrap().len(), 1);
    assert_eq!(checkpoint.passed_over(), ["input_scale"]);
    assert!(checkpoint.unused().is_empty());
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let codes = |name, dtype| -> Part<'static> { (name, dtype, &[4, 32], vec![0; 128]) };
    let dense: Part<'_> = ("m.weight", Dtype::BF16, &[1, 32], vec![0; 64]);
    let packed: Part<'_> = ("m.weight_packed", Dtype::I32, &[1, 4], vec![0; 16]);
    let cases: [(&[Part<'_>], &str); 6] = [
        (&[codes("m.weight", Dtype::U8)], "x.safetensors: tensor m.weight is U8; readable are"),
        (&[codes("m.blocks", Dtype::U8)], "x.safetensors: tensor m.blocks is U8 and belongs to no"),
        (&[codes("m.weight", Dtype::I8)], "tensor m.weight_scale is missing from x.safetensors"),
        (&[codes("m.weight", Dtype::F8_E5M2)], "tensor m.weight is F8_E5M2"),
        (&[codes("m.weight", Dtype::F8_E4M3)], "tensor m.weight is F8_E4M3, but neither"),
        (&[dense, packed], "tensor m.weight stands beside m.weight_packed"),
    ];
    for (parts, message) in cases {
        write(folder.path(), "x.safetensors", parts);
        let error = plain(&path, Encoding::F32).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(!path.with_extension("plain").exists());
    }
    fs::write(folder.path().join("config.json"), "[]").unwrap();
    let error = plain(&path, Encoding::F32).unwrap_err().to_string();
    assert!(error.starts_with("config.json: the file must be a JSON object"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(plain(empty.path(), Encoding::F32), Err(QuantError::NoWeights { .. })));
}

#[test]
fn a_file_that_is_stopped_or_has_bad_values_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [weight, (name, dtype, shape, mut scales)] = int8(4);
    scales[4..6].copy_from_slice(&f16::NAN.to_le_bytes());
    write(folder.path(), "x.safetensors", &[weight, (name, dtype, shape, scales)]);
    let path = folder.path().join("x.safetensors");
    let error = plain(&path, Encoding::F32).unwrap_err().to_string();
    assert!(error.contains("x.safetensors: tensor weight_scale has values"), "{error}");
    write(folder.path(), "x.safetensors", &int8(4));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let (target, mut steps) = (folder.path().join("plain"), 0);
    let tensors = checkpoint.plain_tensors().unwrap();
    let outcome = write_plain(&target, &tensors, Encoding::F32, &mut |progress| {
        assert_eq!(progress.total, 128);
        steps += 1;
        if steps < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(outcome, Err(QuantError::Stopped)) && steps == 3);
    let left = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["x.safetensors"]);
}

//! Writing models as safetensors files: one, or several with an index.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde_json::{Map, json};

use super::header::{header, size};
use crate::{Encoding, QuantError, tensor_file::NewTensor};

/// Files in the making: tensors come in any order. The files have their final names from the
/// beginning; whoever needs them to appear complete renames their directory.
#[derive(Debug)]
pub struct SafeTensorsDirectory {
    directory: PathBuf,
    shards: Vec<Shard>,
    places: HashMap<String, Place>,
    total: u64,
}

#[derive(Debug)]
struct Shard {
    name: String,
    file: File,
}

#[derive(Debug)]
struct Place {
    shard: usize,
    offset: u64,
    bytes: u64,
    is_written: bool,
}

impl SafeTensorsDirectory {
    /// Creates `model.safetensors` in `directory`, or files of at most `shard_bytes` of data (one
    /// tensor at least) and `model.safetensors.index.json`. Tensors fill the files in this order;
    /// within a file the widest types come first, as in those of the reference implementation.
    ///
    /// # Errors
    /// When a tensor occurs twice or has no size, or a file cannot be written.
    pub fn create(
        directory: &Path,
        tensors: &[NewTensor],
        shard_bytes: u64,
    ) -> Result<Self, QuantError> {
        let parts = parts(tensors, shard_bytes)?;
        let mut writer = Self {
            directory: directory.to_owned(),
            shards: Vec::with_capacity(parts.len()),
            places: HashMap::with_capacity(tensors.len()),
            total: 0,
        };
        for (i, part) in parts.iter().enumerate() {
            let name = match parts.len() {
                1 => "model.safetensors".to_owned(),
                count => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
            };
            writer.add_shard(name, part)?;
        }
        if parts.len() > 1 {
            writer.write_index(tensors)?;
        }
        Ok(writer)
    }

    fn add_shard(&mut self, name: String, part: &[&NewTensor]) -> Result<(), QuantError> {
        let (header, offsets) = header(part, &order(part))?;
        let path = self.directory.join(&name);
        let error = |error| QuantError::Write { path: path.clone(), error };
        let mut file = File::create(&path).map_err(error)?;
        file.write_all(&header).map_err(error)?;
        let shard = self.shards.len();
        let mut end = header.len() as u64;
        for (tensor, (offset, bytes)) in part.iter().zip(offsets) {
            let place =
                Place { shard, offset: header.len() as u64 + offset, bytes, is_written: false };
            end = end.max(place.offset + bytes);
            if self.places.insert(tensor.name.clone(), place).is_some() {
                let problem = "occurs twice";
                return Err(QuantError::NotExpected { tensor: tensor.name.clone(), problem });
            }
        }
        self.total += end;
        self.shards.push(Shard { name, file });
        Ok(())
    }

    fn write_index(&self, tensors: &[NewTensor]) -> Result<(), QuantError> {
        let file = |tensor: &NewTensor| {
            let shard = self.places.get(&tensor.name).map_or(0, |place| place.shard);
            (tensor.name.clone(), json!(self.shards[shard].name))
        };
        let map: Map<String, serde_json::Value> = tensors.iter().map(file).collect();
        let data: u64 = self.places.values().map(|place| place.bytes).sum();
        let index = json!({"metadata": {"total_size": data}, "weight_map": map});
        let path = self.directory.join("model.safetensors.index.json");
        std::fs::write(&path, format!("{index:#}\n"))
            .map_err(|error| QuantError::Write { path, error })
    }

    /// Writes the data of a tensor.
    ///
    /// # Errors
    /// When it was not announced, was written before or takes another number of bytes, or the
    /// system refuses.
    pub fn write(&mut self, tensor: &str, data: &[u8]) -> Result<(), QuantError> {
        let unexpected = |problem| QuantError::NotExpected { tensor: tensor.to_owned(), problem };
        let place = self.places.get_mut(tensor).ok_or_else(|| unexpected("was not announced"))?;
        if place.is_written {
            return Err(unexpected("was written before"));
        }
        if place.bytes != data.len() as u64 {
            return Err(QuantError::DataLength {
                tensor: tensor.to_owned(),
                expected: place.bytes,
                got: data.len() as u64,
            });
        }
        place.is_written = true;
        let Shard { name, file } = &mut self.shards[place.shard];
        let written = file.seek(SeekFrom::Start(place.offset)).and_then(|_| file.write_all(data));
        written.map_err(|error| QuantError::Write { path: self.directory.join(&*name), error })
    }

    /// Waits until all data is on the disk. Returns the bytes of all files but the index.
    ///
    /// # Errors
    /// When a tensor is missing, or the system refuses.
    pub fn finish(self) -> Result<u64, QuantError> {
        if let Some((tensor, place)) = self.places.iter().find(|(_, place)| !place.is_written) {
            let (tensor, expected) = (tensor.clone(), place.bytes);
            return Err(QuantError::DataLength { tensor, expected, got: 0 });
        }
        for Shard { name, file } in &self.shards {
            let error =
                |error: io::Error| QuantError::Write { path: self.directory.join(name), error };
            file.sync_all().map_err(error)?;
        }
        Ok(self.total)
    }
}

/// One file in memory.
///
/// # Errors
/// When data is not as long as its tensor, or a tensor has no size.
pub fn serialize(tensors: &[(NewTensor, Vec<u8>)]) -> Result<Vec<u8>, QuantError> {
    let part: Vec<&NewTensor> = tensors.iter().map(|(tensor, _)| tensor).collect();
    let (mut file, offsets) = header(&part, &order(&part))?;
    let start = file.len();
    file.resize(start + tensors.iter().map(|(_, data)| data.len()).sum::<usize>(), 0);
    for ((tensor, data), (offset, expected)) in tensors.iter().zip(offsets) {
        let at = start + offset as usize;
        let (name, got) = (&tensor.name, data.len() as u64);
        match file.get_mut(at..at + data.len()) {
            Some(place) if got == expected => place.copy_from_slice(data),
            _ => {
                return Err(QuantError::DataLength { tensor: name.clone(), expected, got });
            }
        }
    }
    Ok(file)
}

fn parts(tensors: &[NewTensor], shard_bytes: u64) -> Result<Vec<Vec<&NewTensor>>, QuantError> {
    let mut parts: Vec<Vec<&NewTensor>> = vec![Vec::new()];
    let mut filled = 0;
    for tensor in tensors {
        let bytes = size(tensor)?;
        if filled > 0 && filled + bytes > shard_bytes {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(part) = parts.last_mut() {
            part.push(tensor);
        }
    }
    Ok(parts)
}

/// Order of the data within a file.
fn order(part: &[&NewTensor]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..part.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(width(part[i].encoding)), &part[i].name));
    order
}

fn width(encoding: Encoding) -> usize {
    encoding.bytes / encoding.block.max(1)
}

use std::sync::mpsc;

use super::*;
use crate::Checkpoint;

const MIB: usize = 1 << 20;

/// Sizes in bytes of byte matrices with rows of 1 MiB.
fn safetensors(sizes: &[usize]) -> Vec<u8> {
    let (mut entries, mut end) = (Vec::new(), 0);
    for (i, size) in sizes.iter().enumerate() {
        let shape = format!("[{},{}]", size / MIB, MIB / 4);
        let offsets = format!("[{end},{}]", end + size);
        entries.push(format!(
            r#""m{i}.weight":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}"#
        ));
        end += size;
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    // Zero bytes that nobody touches take no memory.
    file.resize(file.len() + end, 0);
    file
}

fn order<'a>(checkpoint: &'a Checkpoint, matrices: &[usize]) -> ReadOrder<'a> {
    let mut order = ReadOrder::default();
    for i in matrices {
        order.push(&Matrix::open(checkpoint, &format!("m{i}")).unwrap());
    }
    order
}

#[derive(Debug, PartialEq, Eq)]
enum Given {
    WillNeed(Range<usize>),
    Release(Range<usize>),
}

fn note(advice: Advice<'_>) -> Given {
    match advice {
        Advice::WillNeed(part) => Given::WillNeed(part.range),
        Advice::Release(part) => Given::Release(part.range),
    }
}

/// Joins ranges that touch or overlap.
fn joined(ranges: impl Iterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.contains(&range.start) || last.end == range.start => {
                last.end = range.end;
            }
            _ => joined.push(range),
        }
    }
    joined
}

#[test]
fn files_are_read_within_the_window_and_released_when_they_are_packed() {
    // The second is larger than what is read ahead.
    let sizes = [10 * MIB, 300 * MIB, 20 * MIB, 40 * MIB, 30 * MIB];
    let bytes: &'static [u8] = Box::leak(safetensors(&sizes).into_boxed_slice());
    let data = bytes.len() - sizes.iter().sum::<usize>();
    let checkpoint = Checkpoint::from_safetensors("x", bytes).unwrap();
    let order = order(&checkpoint, &[0, 1, 2, 3, 4]);
    assert_eq!(order.bytes as usize, sizes.iter().sum::<usize>());
    let (sender, given) = mpsc::channel();
    let mut read = Vec::new();
    let mut released = Vec::new();
    order.follow_with(
        |cursor| {
            let mut packed = data;
            for size in sizes {
                cursor.begin(size as u64);
                let wanted = (packed + size + AHEAD as usize).min(bytes.len());
                // All of the matrix in hand and the window behind it is asked for before packing
                // ends, though nothing else happens.
                while read.last().is_none_or(|range: &Range<usize>| range.end < wanted) {
                    match given.recv().unwrap() {
                        Given::WillNeed(range) => {
                            assert!(range.start < wanted && range.len() <= PIECE, "{range:?}");
                            read.push(range);
                        }
                        Given::Release(range) => {
                            assert!(range.end <= packed, "{range:?} before {packed}");
                            released.push(range);
                        }
                    }
                }
                packed += size;
                cursor.finish();
            }
        },
        move |advice| sender.send(note(advice)).unwrap(),
    );
    released.extend(given.iter().map(|given| match given {
        Given::Release(range) => range,
        Given::WillNeed(range) => panic!("{range:?} is asked for after the end"),
    }));
    let whole = std::iter::once(data..bytes.len()).collect::<Vec<_>>();
    assert_eq!(joined(read.into_iter()), whole);
    assert_eq!(joined(released.into_iter()), whole);
}

#[test]
fn the_order_is_that_of_packing_and_pieces_end_at_round_offsets() {
    let sizes = [3 * MIB, 12 * MIB, 5 * MIB];
    let bytes: &'static [u8] = Box::leak(safetensors(&sizes).into_boxed_slice());
    let data = bytes.len() - sizes.iter().sum::<usize>();
    let checkpoint = Checkpoint::from_safetensors("x", bytes).unwrap();
    let order = order(&checkpoint, &[2, 0, 1]);
    let at = |mib: usize| data + mib * MIB;
    let ranges: Vec<Range<usize>> =
        order.pieces.iter().map(|piece| piece.part.range.clone()).collect();
    let expected =
        [at(15)..2 * PIECE, 2 * PIECE..at(20), at(0)..at(3), at(3)..PIECE, PIECE..at(15)];
    assert_eq!(ranges, expected);
    let ends: Vec<u64> = order.pieces.iter().map(|piece| piece.end).collect();
    assert!(ends.is_sorted() && ends[1] as usize == 5 * MIB && ends[2] as usize == 8 * MIB);
}

#[test]
fn a_packing_that_fails_half_way_ends_the_thread_and_releases_only_what_was_packed() {
    let sizes = [2 * MIB, 2 * MIB];
    let bytes: &'static [u8] = Box::leak(safetensors(&sizes).into_boxed_slice());
    let data = bytes.len() - sizes.iter().sum::<usize>();
    let checkpoint = Checkpoint::from_safetensors("x", bytes).unwrap();
    let order = order(&checkpoint, &[0, 1]);
    let (sender, given) = mpsc::channel();
    let outcome: Result<(), &str> = order.follow_with(
        |cursor| {
            cursor.begin(sizes[0] as u64);
            cursor.finish();
            cursor.begin(sizes[1] as u64);
            Err("damaged")
        },
        move |advice| sender.send(note(advice)).unwrap(),
    );
    assert_eq!(outcome, Err("damaged"));
    let released: Vec<Given> =
        given.iter().filter(|given| matches!(given, Given::Release(_))).collect();
    assert_eq!(released, [Given::Release(data..data + 2 * MIB)]);
}

#[test]
fn released_bytes_stay_readable() {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = safetensors(&[2 * MIB]);
    let data = bytes.len() - 2 * MIB;
    for (i, byte) in bytes[data..].iter_mut().enumerate() {
        *byte = (i % 251) as u8;
    }
    std::fs::write(directory.path().join("model.safetensors"), &bytes).unwrap();
    let checkpoint = Checkpoint::open_safetensors(directory.path()).unwrap();
    let order = order(&checkpoint, &[0]);
    order.follow(|cursor| {
        cursor.begin(2 * MIB as u64);
        cursor.finish();
    });
    assert_eq!(checkpoint.tensor("m0.weight").unwrap().bytes, &bytes[data..]);
}

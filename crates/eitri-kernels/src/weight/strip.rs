//! Packing the rows of a whole strip at once. Rows are read along k and written across it, so words
//! of several rows change places in registers instead of value after value in memory.

use super::Layout;

/// Rows whose words change places together.
const TOGETHER: usize = 8;

/// Writes a section of `VECTORS` 4-byte cells of each row, from byte `at` of the rows on.
pub(super) fn put_cells<const VECTORS: usize>(
    layout: Layout,
    rows: &[&[u8]],
    at: usize,
    section: &mut [u8],
    cell: impl Fn(u32) -> u32,
) {
    for (half, rows) in rows.chunks_exact(layout.lanes).enumerate() {
        let section = &mut section[layout.cell(half * layout.lanes, VECTORS, 0)..];
        match layout.lanes / TOGETHER {
            1 => put_words::<VECTORS, 1>(rows, at, section, &cell),
            _ => put_words::<VECTORS, 2>(rows, at, section, &cell),
        }
    }
}

/// Writes `WORDS` 4-byte words of `EIGHTS` times eight rows, those of all rows beside each other.
fn put_words<const WORDS: usize, const EIGHTS: usize>(
    rows: &[&[u8]],
    at: usize,
    out: &mut [u8],
    cell: impl Fn(u32) -> u32,
) {
    let mut cells = [[[0; TOGETHER]; EIGHTS]; WORDS];
    let Some(rows) = rows.as_chunks::<TOGETHER>().0.first_chunk::<EIGHTS>() else { return };
    for (eight, rows) in rows.iter().enumerate() {
        for (lane, row) in rows.iter().enumerate() {
            let words = row[at..at + 4 * WORDS].as_chunks::<4>().0;
            for (cells, word) in cells.iter_mut().zip(words) {
                cells[eight][lane] = u32::from_le_bytes(*word);
            }
        }
    }
    let cells = cells.as_flattened().as_flattened();
    for (out, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(cells) {
        *out = cell(*word).to_le_bytes();
    }
}

/// Writes the 4-byte values of the rows, those of all rows beside each other.
pub(super) fn put_singles(_: Layout, rows: &[&[u8]], strip: &mut [u8]) {
    const WORDS: usize = 8;
    let pitch = 4 * rows.len();
    let mut blocks = strip.chunks_exact_mut(WORDS * pitch);
    let mut at = 0;
    for block in blocks.by_ref() {
        match rows.len() / TOGETHER {
            2 => put_words::<WORDS, 2>(rows, at, block, |word| word),
            _ => put_words::<WORDS, 4>(rows, at, block, |word| word),
        }
        at += 4 * WORDS;
    }
    for (k, out) in blocks.into_remainder().chunks_exact_mut(pitch).enumerate() {
        put_parameters(rows, at + 4 * k, 4, out);
    }
}

/// Writes bytes `at..at + count` of the rows, those of all rows beside each other.
pub(super) fn put_bytes(rows: &[&[u8]], at: usize, count: usize, out: &mut [u8]) {
    let n = rows.len();
    let mut blocks = out[..n * count].chunks_exact_mut(8 * n);
    let done = count / 8 * 8;
    for (b, block) in blocks.by_ref().enumerate() {
        for (h, rows) in rows.as_chunks::<8>().0.iter().enumerate() {
            let columns = transpose_bytes(rows.map(|row| word(row, at + 8 * b)));
            for (k, column) in columns.iter().enumerate() {
                let place = k * n + h * 8;
                block[place..place + 8].copy_from_slice(&column.to_le_bytes());
            }
        }
    }
    for (k, out) in blocks.into_remainder().chunks_exact_mut(n).enumerate() {
        for (out, row) in out.iter_mut().zip(rows) {
            *out = row[at + done + k];
        }
    }
}

/// Writes the 2-byte values of the rows, those of all rows beside each other.
pub(super) fn put_halves(_: Layout, rows: &[&[u8]], strip: &mut [u8]) {
    let n = rows.len();
    let done = strip.len() / (8 * n) * 8;
    let mut blocks = strip.chunks_exact_mut(8 * n);
    for (b, block) in blocks.by_ref().enumerate() {
        for (q, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
            let columns = transpose_halves(rows.map(|row| word(row, 8 * b)));
            for (k, column) in columns.iter().enumerate() {
                let place = 2 * (k * n + 4 * q);
                block[place..place + 8].copy_from_slice(&column.to_le_bytes());
            }
        }
    }
    for (k, out) in blocks.into_remainder().chunks_exact_mut(2 * n).enumerate() {
        for (out, row) in out.as_chunks_mut::<2>().0.iter_mut().zip(rows) {
            out.copy_from_slice(&row[done + 2 * k..done + 2 * k + 2]);
        }
    }
}

/// Writes bytes `at..at + bytes` of each row, one row's after another's.
pub(super) fn put_parameters(rows: &[&[u8]], at: usize, bytes: usize, out: &mut [u8]) {
    for (out, row) in out.chunks_exact_mut(bytes).zip(rows) {
        out.copy_from_slice(&row[at..at + bytes]);
    }
}

fn word(row: &[u8], at: usize) -> u64 {
    row[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Changes the upper part of each unit of `a` for the lower part of the same unit of `b`.
/// `low` masks the lower parts, which are `bits` wide.
fn exchange(a: u64, b: u64, low: u64, bits: u32) -> (u64, u64) {
    ((a & low) | (b & low) << bits, (a >> bits & low) | (b & !low))
}

/// Four rows of four 2-byte values become four columns.
fn transpose_halves([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    const LOW: u64 = 0x0000_FFFF_0000_FFFF;
    let ((a, b), (c, d)) = (exchange(a, b, LOW, 16), exchange(c, d, LOW, 16));
    let ((a, c), (b, d)) = (exchange(a, c, 0xFFFF_FFFF, 32), exchange(b, d, 0xFFFF_FFFF, 32));
    [a, b, c, d]
}

/// Eight rows of eight bytes become eight columns.
fn transpose_bytes(mut rows: [u64; 8]) -> [u64; 8] {
    const STEPS: [(usize, u64); 3] =
        [(1, 0x00FF_00FF_00FF_00FF), (2, 0x0000_FFFF_0000_FFFF), (4, 0xFFFF_FFFF)];
    for (distance, low) in STEPS {
        for i in (0..8).filter(|i| i & distance == 0) {
            let (a, b) = exchange(rows[i], rows[i + distance], low, 8 * distance as u32);
            (rows[i], rows[i + distance]) = (a, b);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_rows_become_words_of_columns() {
        let byte = |r: usize, k: usize| (31 * r + 7 * k) as u8;
        let rows: [u64; 8] =
            std::array::from_fn(|r| u64::from_le_bytes(std::array::from_fn(|k| byte(r, k))));
        for (k, column) in transpose_bytes(rows).iter().enumerate() {
            assert_eq!(column.to_le_bytes(), std::array::from_fn(|r| byte(r, k)));
        }
        let columns = transpose_halves([rows[0], rows[1], rows[2], rows[3]]);
        for (k, column) in columns.iter().enumerate() {
            let expected = std::array::from_fn(|i| byte(i / 2, 2 * k + i % 2));
            assert_eq!(column.to_le_bytes(), expected);
        }
    }

    #[test]
    fn ends_that_do_not_fill_a_block_are_written_too() {
        for n in [16, 32] {
            let bytes: Vec<u8> = (0..n * 22).map(|i| (i * 37 / 4) as u8).collect();
            let rows: Vec<&[u8]> = bytes.chunks_exact(22).collect();
            let mut out = vec![0; 11 * n];
            put_bytes(&rows, 3, 11, &mut out);
            let mut halves = vec![0; 22 * n];
            let layout = Layout { lanes: n / 2 };
            put_halves(layout, &rows, &mut halves);
            let rows_of_singles: Vec<&[u8]> = rows.iter().map(|row| &row[..20]).collect();
            let mut singles = vec![0; 20 * n];
            put_singles(layout, &rows_of_singles, &mut singles);
            for (r, row) in rows.iter().enumerate() {
                for k in 0..11 {
                    assert_eq!(out[k * n + r], row[3 + k]);
                    let at = 2 * (k * n + r);
                    assert_eq!(halves[at..at + 2], row[2 * k..2 * k + 2]);
                }
                for k in 0..5 {
                    let at = 4 * (k * n + r);
                    assert_eq!(singles[at..at + 4], row[4 * k..4 * k + 4]);
                }
            }
        }
    }
}

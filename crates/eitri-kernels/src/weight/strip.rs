//! Packing the rows of a whole strip at once. Rows are read along k and written across it, so words
//! of several rows change places in registers instead of value after value in memory.

use super::Layout;

/// Rows of a strip, and of one half of it, that these functions are written for.
pub(super) const ROWS: usize = 2 * LANES;
const LANES: usize = 8;

/// Canonical rows of a strip.
pub(super) type Rows<'a> = [&'a [u8]; ROWS];

/// Whether a layout is the one that these functions write.
pub(super) fn fits(layout: Layout) -> bool {
    layout.rows() == ROWS
}

/// Writes a section of `VECTORS` 4-byte cells of each row, from byte `at` of the rows on.
pub(super) fn put_cells<const VECTORS: usize>(
    rows: &Rows<'_>,
    at: usize,
    section: &mut [u8],
    cell: impl Fn(u32) -> u32,
) {
    let halves = section.chunks_exact_mut(4 * LANES * VECTORS);
    for (rows, half) in rows.as_chunks::<LANES>().0.iter().zip(halves) {
        let mut cells = [[0; LANES]; VECTORS];
        for (lane, row) in rows.iter().enumerate() {
            let words = row[at..at + 4 * VECTORS].as_chunks::<4>().0;
            for (cells, word) in cells.iter_mut().zip(words) {
                cells[lane] = u32::from_le_bytes(*word);
            }
        }
        for (out, word) in half.as_chunks_mut::<4>().0.iter_mut().zip(cells.as_flattened()) {
            *out = cell(*word).to_le_bytes();
        }
    }
}

/// Writes bytes `at..at + count` of the rows, those of all rows beside each other.
pub(super) fn put_bytes(rows: &Rows<'_>, at: usize, count: usize, out: &mut [u8]) {
    let (blocks, rest) = out[..ROWS * count].as_chunks_mut::<{ 8 * ROWS }>();
    let done = 8 * blocks.len();
    for (b, block) in blocks.iter_mut().enumerate() {
        for (h, rows) in rows.as_chunks::<LANES>().0.iter().enumerate() {
            let columns = transpose_bytes(rows.map(|row| word(row, at + 8 * b)));
            for (k, column) in columns.iter().enumerate() {
                let place = k * ROWS + h * LANES;
                block[place..place + 8].copy_from_slice(&column.to_le_bytes());
            }
        }
    }
    for (k, out) in rest.chunks_exact_mut(ROWS).enumerate() {
        for (out, row) in out.iter_mut().zip(rows) {
            *out = row[at + done + k];
        }
    }
}

/// Writes the 2-byte values of the rows, those of all rows beside each other.
pub(super) fn put_halves(rows: &Rows<'_>, strip: &mut [u8]) {
    const BLOCK: usize = 4 * 2 * ROWS;
    let (blocks, rest) = strip.as_chunks_mut::<BLOCK>();
    let done = 8 * blocks.len();
    for (b, block) in blocks.iter_mut().enumerate() {
        for (q, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
            let columns = transpose_halves(rows.map(|row| word(row, 8 * b)));
            for (k, column) in columns.iter().enumerate() {
                let place = 2 * (k * ROWS + 4 * q);
                block[place..place + 8].copy_from_slice(&column.to_le_bytes());
            }
        }
    }
    for (k, out) in rest.chunks_exact_mut(2 * ROWS).enumerate() {
        for (out, row) in out.as_chunks_mut::<2>().0.iter_mut().zip(rows) {
            out.copy_from_slice(&row[done + 2 * k..done + 2 * k + 2]);
        }
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
        let bytes: Vec<u8> = (0..ROWS * 22).map(|i| (i * 37 / 4) as u8).collect();
        let rows: Rows<'_> = std::array::from_fn(|r| &bytes[22 * r..22 * (r + 1)]);
        let mut out = vec![0; 11 * ROWS];
        put_bytes(&rows, 3, 11, &mut out);
        let mut halves = vec![0; 22 * ROWS];
        put_halves(&rows, &mut halves);
        for (r, row) in rows.iter().enumerate() {
            for k in 0..11 {
                assert_eq!(out[k * ROWS + r], row[3 + k]);
                let at = 2 * (k * ROWS + r);
                assert_eq!(halves[at..at + 2], row[2 * k..2 * k + 2]);
            }
        }
    }
}

//! The loops of a matrix product. Products are added in ascending order of k, whatever the shape,
//! the threads and the width of the processor's vectors.
#![allow(clippy::inline_always, reason = "a loop takes the vector width of the function it is in")]

use std::{
    ops::{AddAssign, Mul},
    thread,
};

/// Multiply-adds below which starting threads costs more than it gains.
const WORTH_A_THREAD: usize = 1 << 21;

/// What products are added in.
pub(super) trait Number:
    Copy + Default + AddAssign + Send + Sync + Mul<Output = Self>
{
    fn from_f32(value: f32) -> Self;
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
}

impl Number for f32 {
    #[inline]
    fn from_f32(value: f32) -> Self {
        value
    }

    #[inline]
    fn from_f64(value: f64) -> Self {
        value as Self
    }

    #[inline]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Number for f64 {
    #[inline]
    fn from_f32(value: f32) -> Self {
        Self::from(value)
    }

    #[inline]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline]
    fn to_f64(self) -> f64 {
        self
    }
}

/// Rows, columns and length of the sums of a product.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) k: usize,
}

/// x y, of x with `rows` rows and y with `columns` columns, all row by row. Rows are shared out
/// over at most so many threads.
pub(super) fn multiply<T: Number>(x: &[T], y: &[T], shape: Shape, threads: usize) -> Vec<T> {
    let Shape { rows, columns, k } = shape;
    let mut sums = vec![T::default(); rows * columns];
    if k == 0 || sums.is_empty() {
        return sums;
    }
    let useful = (rows * columns * k / WORTH_A_THREAD).clamp(1, threads);
    let each = rows.div_ceil(useful);
    let part = |x: &[T], sums: &mut [T]| some_rows(x, y, sums, (columns, k));
    thread::scope(|scope| {
        let (first, rest) = sums.split_at_mut(each * columns);
        for (x, sums) in x[each * k..].chunks(each * k).zip(rest.chunks_mut(each * columns)) {
            scope.spawn(move || part(x, sums));
        }
        part(&x[..each * k], first);
    });
    sums
}

/// The rows of a matrix with so many columns, as columns.
pub(super) fn transpose<T: Number>(values: Vec<T>, columns: usize) -> Vec<T> {
    let rows = values.len().checked_div(columns).unwrap_or(0);
    if rows <= 1 || columns == 1 {
        return values;
    }
    let mut turned = vec![T::default(); values.len()];
    for (row, line) in values.chunks_exact(columns).enumerate() {
        for (value, target) in line.iter().zip(turned[row..].iter_mut().step_by(rows)) {
            *target = *value;
        }
    }
    turned
}

/// Some rows of a product, in the widest vectors that the processor has.
fn some_rows<T: Number>(x: &[T], y: &[T], sums: &mut [T], shape: (usize, usize)) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature.
        unsafe { some_rows_avx2(x, y, sums, shape) };
        return;
    }
    some_rows_any(x, y, sums, shape);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn some_rows_avx2<T: Number>(x: &[T], y: &[T], sums: &mut [T], shape: (usize, usize)) {
    some_rows_any(x, y, sums, shape);
}

#[inline(always)]
fn some_rows_any<T: Number>(x: &[T], y: &[T], sums: &mut [T], (columns, k): (usize, usize)) {
    if columns == 1 {
        return one_column(x, y, sums);
    }
    for column in (0..columns).step_by(16) {
        match columns - column {
            16.. => strip::<T, 16>(x, y, sums, (columns, k), column),
            rest => {
                let mut from = column;
                for width in [8, 4, 2, 1].into_iter().filter(|width| rest & width != 0) {
                    match width {
                        8 => strip::<T, 8>(x, y, sums, (columns, k), from),
                        4 => strip::<T, 4>(x, y, sums, (columns, k), from),
                        2 => strip::<T, 2>(x, y, sums, (columns, k), from),
                        _ => strip::<T, 1>(x, y, sums, (columns, k), from),
                    }
                    from += width;
                }
            }
        }
    }
}

/// Some columns side by side, four rows at a time.
#[inline(always)]
fn strip<T: Number, const WIDTH: usize>(
    x: &[T],
    y: &[T],
    sums: &mut [T],
    (columns, k): (usize, usize),
    from: usize,
) {
    let mut x_fours = x.chunks_exact(4 * k);
    let mut sum_fours = sums.chunks_exact_mut(4 * columns);
    for (x, sums) in x_fours.by_ref().zip(sum_fours.by_ref()) {
        tile::<T, 4, WIDTH>(x, y, sums, (columns, k), from);
    }
    let rest = x_fours.remainder().chunks_exact(k);
    for (x, sums) in rest.zip(sum_fours.into_remainder().chunks_exact_mut(columns)) {
        tile::<T, 1, WIDTH>(x, y, sums, (columns, k), from);
    }
}

/// A few rows and columns, whose sums stay in registers.
#[inline(always)]
fn tile<T: Number, const ROWS: usize, const WIDTH: usize>(
    x: &[T],
    y: &[T],
    sums: &mut [T],
    (columns, k): (usize, usize),
    from: usize,
) {
    let rows: [&[T]; ROWS] = std::array::from_fn(|row| &x[row * k..(row + 1) * k]);
    let mut tile = [[T::default(); WIDTH]; ROWS];
    for (index, values) in y.chunks_exact(columns).enumerate() {
        let values = &values[from..from + WIDTH];
        for (sums, row) in tile.iter_mut().zip(rows) {
            let factor = row[index];
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += factor * *value;
            }
        }
    }
    for (sums, tile) in sums.chunks_exact_mut(columns).zip(tile) {
        sums[from..from + WIDTH].copy_from_slice(&tile);
    }
}

/// A matrix times a vector: eight rows at a time, so that their sums need not wait for each other.
#[inline(always)]
fn one_column<T: Number>(x: &[T], y: &[T], sums: &mut [T]) {
    const STEP: usize = 16;
    for (x, sums) in x.chunks(8 * y.len()).zip(sums.chunks_mut(8)) {
        for (index, values) in y.chunks(STEP).enumerate() {
            for (sum, row) in sums.iter_mut().zip(x.chunks_exact(y.len())) {
                let row = &row[index * STEP..];
                *sum = row.iter().zip(values).fold(*sum, |mut sum, (factor, value)| {
                    sum += *factor * *value;
                    sum
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + seed * 13) % 23) as f32 * 0.37 - 3.0).collect()
    }

    /// The sums of the definition, in ascending order of k.
    fn defined(x: &[f32], y: &[f32], shape: Shape) -> Vec<f32> {
        let Shape { rows, columns, k } = shape;
        let sum = |row: usize, column: usize| {
            (0..k).fold(0.0, |sum, i| sum + x[row * k + i] * y[i * columns + column])
        };
        (0..rows * columns).map(|place| sum(place / columns, place % columns)).collect()
    }

    #[test]
    fn every_width_and_number_of_threads_adds_in_the_same_order() {
        let shapes =
            (1..36).map(|columns| (5, columns, 19)).chain((1..20).map(|rows| (rows, 1, 33)));
        for (rows, columns, k) in shapes.chain([(130, 120, 281), (3, 4, 0), (2, 1, 1)]) {
            let shape = Shape { rows, columns, k };
            let (x, y) = (numbers(rows * k, 1), numbers(k * columns, 2));
            let expected = defined(&x, &y, shape);
            for threads in [1, 3] {
                assert_eq!(multiply(&x, &y, shape, threads), expected, "{shape:?}, {threads}");
            }
            let mut sums = vec![0.0; rows * columns];
            if k > 0 {
                some_rows_any(&x, &y, &mut sums, (columns, k));
                assert_eq!(sums, expected, "{shape:?}");
            }
        }
    }

    #[test]
    fn rows_become_columns() {
        assert_eq!(
            transpose(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3),
            [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]
        );
        assert_eq!(transpose(vec![1.0, 2.0], 1), [1.0, 2.0]);
        assert_eq!(transpose(Vec::<f32>::new(), 0), []);
    }
}

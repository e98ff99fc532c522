//! Keeping a call of the model within its time.
//!
//! Rows of a batch do not depend on those behind them. So when time runs short between two layers,
//! the last rows are left out of the layers that remain: what was computed of them is lost, and all
//! others are what they would have been.

use std::time::{Duration, Instant};

use eitri_kernels::ops::SequenceSpan;

use crate::ModelInput;

/// When a call of the model should end.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// The end of the last layer.
    pub at: Instant,
    /// How many of the first rows are computed in any case.
    pub least_rows: usize,
}

/// Rows that remain are left out in steps of this many: a finer choice is not worth anything.
const STEP: usize = 8;
/// A layer seldom takes less than the fastest so far.
const SLACK: f64 = 1.05;

/// Watches the time of one call.
#[derive(Debug)]
pub(crate) struct Pace {
    deadline: Deadline,
    layers: usize,
    rows: usize,
    /// End of the last layer.
    last: Instant,
    /// Time of the fastest layer, at the present number of rows.
    fastest: Duration,
}

impl Pace {
    /// For `layers` layers over `rows` rows, the first of which begins now.
    pub(crate) fn new(deadline: Deadline, layers: usize, rows: usize, now: Instant) -> Self {
        Self { deadline, layers, rows, last: now, fastest: Duration::MAX }
    }

    /// `done` layers have been computed: how many rows go on. Of an unusually slow layer only the
    /// time that it took is felt, and not taken for the speed of those that remain.
    pub(crate) fn rows(&mut self, done: usize, now: Instant) -> usize {
        self.fastest = self.fastest.min(now.saturating_duration_since(self.last));
        self.last = now;
        let left = self.layers.saturating_sub(done);
        let needed = self.fastest.as_secs_f64() * left as f64 * SLACK;
        let available = self.deadline.at.saturating_duration_since(now).as_secs_f64();
        let least = self.deadline.least_rows;
        if needed <= available || self.rows <= least {
            return self.rows;
        }
        let fitting = (self.rows as f64 * available / needed) as usize;
        let further = fitting.saturating_sub(least) / STEP * STEP;
        let rows = least + further.min(self.rows - least);
        self.fastest = self.fastest.mul_f64(rows as f64 / self.rows as f64);
        self.rows = rows;
        rows
    }
}

/// The first `rows` rows of `input`; `spans` is where their spans are written if they are fewer.
pub(crate) fn first_rows<'a>(
    input: &ModelInput<'a>,
    rows: usize,
    spans: &'a mut Vec<SequenceSpan>,
) -> ModelInput<'a> {
    spans.clear();
    spans.extend(input.spans.iter().take_while(|span| span.row < rows).map(|span| {
        let len = span.len.min(rows - span.row);
        SequenceSpan { len, context: span.context - (span.len - len), ..*span }
    }));
    let logits = input.logit_rows.partition_point(|&row| (row as usize) < rows);
    ModelInput {
        tokens: &input.tokens[..rows],
        positions: &input.positions[..rows],
        slots: &input.slots[..rows],
        spans,
        logit_rows: &input.logit_rows[..logits],
        ..*input
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Rows that go on after each of ten layers that take 1 ms per 10 rows, `hiccup` aside.
    fn run(limit: u32, rows: usize, least_rows: usize, hiccup: Option<usize>) -> Vec<usize> {
        let start = Instant::now();
        let mut now = start;
        let mut pace = Pace::new(Deadline { at: start + MS * limit, least_rows }, 10, rows, start);
        let mut seen = Vec::new();
        let mut rows = rows;
        for layer in 0..10 {
            now += MS * rows as u32 / 10;
            if hiccup == Some(layer) {
                now += MS * 20;
            }
            rows = pace.rows(layer + 1, now);
            seen.push(rows);
        }
        let late = now.saturating_duration_since(start + MS * limit);
        // One layer of all rows, and those that cannot be left out.
        assert!(late <= MS * (11 + least_rows as u32), "{late:?} late: {seen:?}");
        seen
    }

    #[test]
    fn nothing_is_left_out_while_there_is_time() {
        assert_eq!(run(106, 100, 4, None), [100; 10]);
    }

    #[test]
    fn what_does_not_fit_is_left_out_early_and_once() {
        let seen = run(55, 100, 4, None);
        assert!((40..52).contains(&seen[0]), "{seen:?}");
        assert!(seen.iter().all(|&rows| rows == seen[0]), "{seen:?}");
        assert_eq!(run(0, 100, 4, None), [4; 10]);
    }

    #[test]
    fn a_hiccup_costs_rows_only_if_its_time_cannot_be_made_up() {
        assert_eq!(run(130, 100, 4, Some(3)), [100; 10]);
        let seen = run(110, 100, 4, Some(3));
        assert_eq!(seen[2], 100);
        assert!((60..90).contains(&seen[3]), "{seen:?}");
    }

    #[test]
    fn spans_and_logits_end_with_the_rows() {
        let span = |row, len, context| SequenceSpan { row, len, context, table: row };
        let spans = [span(0, 1, 9), span(1, 1, 5), span(2, 30, 40), span(32, 8, 8)];
        let tokens: Vec<u32> = (0..40).collect();
        let input = ModelInput {
            tokens: &tokens,
            positions: &tokens,
            slots: &tokens,
            spans: &spans,
            block_tables: &[],
            logit_rows: &[0, 1, 31, 39],
            deadline: None,
        };
        let mut kept = Vec::new();
        let cut = first_rows(&input, 12, &mut kept);
        assert_eq!((cut.tokens.len(), cut.logit_rows), (12, &[0, 1][..]));
        assert_eq!((cut.spans.len(), cut.spans[2].len, cut.spans[2].context), (3, 10, 20));
        let cut = first_rows(&input, 32, &mut kept);
        assert_eq!((cut.spans.len(), cut.logit_rows.len(), cut.spans[2].context), (3, 3, 40));
    }
}

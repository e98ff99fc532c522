//! The columns of a summary, shared by all forms of a report.

use serde_json::Value;

use super::{Block, Report, Side, Verdict, lines::number};

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) heading: String,
    /// Whether it holds words and not numbers.
    pub(super) is_words: bool,
    cell: Cell,
}

/// What stands in it.
#[derive(Debug, Clone, Copy)]
enum Cell {
    /// A number of the row, by its pointer.
    Number(&'static str, usize),
    /// A number of one side.
    Of(Side, &'static str, usize),
    /// A number of the side by which the row is judged.
    Judged(&'static str, usize),
    /// Time to first token, and whether the prompt was cached.
    FirstToken(Side),
    /// What physics says.
    Physics(Side),
}

/// A cell as it is shown.
#[derive(Debug, serde::Serialize)]
pub(super) struct Shown {
    /// Place of the number in the report's JSON; none for words.
    pub(super) pointer: Option<String>,
    /// The number or the words.
    pub(super) text: String,
    /// A word behind the number.
    pub(super) note: &'static str,
    /// Whether it must not be overlooked.
    pub(super) alarm: bool,
}

impl Column {
    fn number(heading: impl Into<String>, cell: Cell) -> Self {
        Self { heading: heading.into(), is_words: matches!(cell, Cell::Physics(_)), cell }
    }

    /// The columns of a report: what there is nothing of is left out.
    pub(super) fn all(report: &Report) -> Vec<Self> {
        let of = |title: &'static str, cell: fn(Side) -> Cell| {
            report
                .sides()
                .map(move |side| Self::number(format!("{title} {}", report.name(side)), cell(side)))
        };
        let pair = report.reference.is_some();
        let ratio = |what: &str, pointer| {
            pair.then(|| Self::number(format!("{what} ratio"), Cell::Number(pointer, 2)))
        };
        let known = |pointer: &str| {
            let known = |block: &Block| {
                let floor = block.floor.as_ref()?;
                if pointer == NOMINAL { floor.nominal_ms } else { floor.practical_ms }
            };
            report.rows.iter().any(|row| row.side(row.judged()).and_then(known).is_some())
        };
        let floor = |heading: &str, pointer| {
            known(pointer).then(|| Self::number(heading, Cell::Judged(pointer, 2)))
        };
        let share = if known(NOMINAL) { "nominal" } else { "practical" };
        let shares = move |side| {
            let pointer = if share == "nominal" { NOMINAL_SHARE } else { PRACTICAL_SHARE };
            Self::number(
                format!("{share} floor by step {}", report.name(side)),
                Cell::Of(side, pointer, 2),
            )
        };
        let any_floor = known(NOMINAL) || known(PRACTICAL);
        let physics = any_floor.then(|| of("by physics", Cell::Physics));
        let shares = any_floor.then(|| report.sides().map(shares));
        let mut columns: Vec<Self> = physics.into_iter().flatten().collect();
        columns.extend(of("tok/s", |side| Cell::Of(side, "/figures/output_throughput", 2)));
        columns.extend(ratio("tok/s", "/ratios/output_throughput"));
        columns.extend(of("step ms", |side| Cell::Of(side, "/step_ms", 2)));
        columns.extend(floor("nominal floor ms", NOMINAL));
        columns.extend(floor("practical floor ms", PRACTICAL));
        columns.extend(shares.into_iter().flatten());
        columns.extend(of("TTFT ms", Cell::FirstToken));
        columns.extend(ratio("TTFT", "/ratios/ttft"));
        columns
    }

    /// The cell of a row.
    pub(super) fn show(&self, report: &Report, json: &Value, row: usize) -> Shown {
        let at = format!("/rows/{row}");
        let shown = |pointer: String, decimals, note| Shown {
            text: number(json, &pointer, decimals),
            pointer: Some(pointer),
            note,
            alarm: false,
        };
        let block = |side| report.rows[row].side(side);
        match self.cell {
            Cell::Number(pointer, decimals) => shown(format!("{at}{pointer}"), decimals, ""),
            Cell::Of(side, pointer, decimals) => {
                shown(format!("{at}/{}{pointer}", side.key()), decimals, "")
            }
            Cell::Judged(pointer, decimals) => {
                let side = report.rows[row].judged();
                shown(format!("{at}/{}{pointer}", side.key()), decimals, "")
            }
            Cell::FirstToken(side) => {
                let state = block(side).map_or("", |block| block.prompt_cache.state.name());
                shown(format!("{at}/{}/figures/ttft/mean", side.key()), 1, state)
            }
            Cell::Physics(side) => Shown {
                pointer: None,
                text: physics(block(side)).to_owned(),
                note: "",
                alarm: block(side).is_some_and(|block| block.verdict().is_alarm()),
            },
        }
    }
}

const NOMINAL: &str = "/floor/nominal_ms";
const PRACTICAL: &str = "/floor/practical_ms";
const NOMINAL_SHARE: &str = "/floor/nominal_share";
const PRACTICAL_SHARE: &str = "/floor/practical_share";

/// What physics says of a block, in a word or two.
pub(super) fn physics(block: Option<&Block>) -> &'static str {
    match block.and_then(|block| block.floor).map(|floor| floor.verdict) {
        None => "not judged",
        Some(Verdict::Possible) => "possible",
        Some(Verdict::FitsInCache) => "fits in cache",
        Some(Verdict::BeatsPractical) => "BEATS PRACTICAL FLOOR",
        Some(Verdict::BeatsNominal) => "IMPOSSIBLE",
    }
}

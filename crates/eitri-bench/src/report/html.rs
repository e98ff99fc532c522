//! A report as one page that needs nothing else: no script, no font, no picture from elsewhere.

use minijinja::{AutoEscape, Environment, Value, context, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

use super::{
    Load, Report,
    charts::{self, Bars, ChartError, NARROW, WIDE},
    columns::{Column, Shown},
    lines::{self, LINES},
    markdown,
};

/// A page could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// A chart could not be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
    /// The report holds a number that JSON does not know.
    #[error("the report is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The template does not fit the report.
    #[error("the page's template: {0}")]
    Template(#[from] minijinja::Error),
}

#[derive(Serialize)]
struct Chart {
    title: String,
    unit: &'static str,
    key: Vec<(&'static str, String)>,
    wide: String,
    narrow: String,
}

#[derive(Serialize)]
struct Histogram {
    name: String,
    svg: String,
    row: usize,
}

#[derive(Serialize)]
struct LabelledLine {
    label: &'static str,
    pointer: String,
    decimals: usize,
}

/// The whole page. Every number of a table carries its place in the report's JSON as the attribute
/// `data-path`, a JSON pointer.
///
/// # Errors
/// [`PageError`].
pub fn render(report: &Report) -> Result<String, PageError> {
    let json = serde_json::to_value(report)?;
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    let numbers = json.clone();
    environment.add_function("number", move |pointer: &str, decimals: usize| {
        lines::number(&numbers, pointer, decimals)
    });
    environment.add_template("page.html", include_str!("page.html"))?;
    let columns = Column::all(report);
    let loads: Vec<_> = Load::ALL
        .into_iter()
        .filter(|&load| report.rows_of(load).next().is_some())
        .map(|load| {
            let rows: Vec<_> = report
                .rows_of(load)
                .map(|(index, row)| {
                    let show = |column: &Column| column.show(report, &json, index);
                    let cells: Vec<Shown> = columns.iter().map(show).collect();
                    context! { model => &row.model, cells => Value::from(Serde(cells)) }
                })
                .collect();
            context! { title => load.title(), rows }
        })
        .collect();
    let sides: Vec<_> = report
        .sides()
        .map(|side| context! { key => side.key(), name => report.name(side) })
        .collect();
    let page = environment.get_template("page.html")?.render(context! {
        report => Value::from(Serde(&json)),
        facts => markdown::facts(report),
        warnings => Value::from(Serde(warnings(report))),
        charts => Value::from(Serde(bar_charts(report)?)),
        histograms => Value::from(Serde(histograms(report)?)),
        lines => Value::from(Serde(block_lines())),
        loads,
        sides,
        ours => &report.ours,
        headings => headings(&columns),
        are_words => are_words(&columns),
        answers => Value::from(Serde(answers(report))),
        titles => report.rows.iter().map(|row| row.load.title()).collect::<Vec<_>>(),
    })?;
    Ok(page)
}

fn headings(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| column.heading.clone()).collect()
}

fn are_words(columns: &[Column]) -> Vec<bool> {
    columns.iter().map(|column| column.is_words).collect()
}

fn warnings(report: &Report) -> Vec<[String; 4]> {
    let four = |(row, whose, warning): (&super::Row, &str, super::Warning)| {
        [row.model.clone(), row.load.title().to_owned(), whose.to_owned(), warning.text]
    };
    report.warnings().into_iter().map(four).collect()
}

/// What was found in the answers of each row.
fn answers(report: &Report) -> Vec<Option<String>> {
    let found = |row: &super::Row| Some(row.ours.as_ref()?.outputs?.to_string());
    report.rows.iter().map(found).collect()
}

fn bar_charts(report: &Report) -> Result<Vec<Chart>, ChartError> {
    Bars::all(report)
        .into_iter()
        .map(|bars| {
            Ok(Chart {
                wide: bars.svg(WIDE)?,
                narrow: bars.svg(NARROW)?,
                title: bars.title.to_owned(),
                unit: bars.unit,
                key: bars.key,
            })
        })
        .collect()
}

fn histograms(report: &Report) -> Result<Vec<Histogram>, ChartError> {
    report
        .rows_of(Load::High)
        .filter_map(|(index, row)| Some((index, row, row.ours.as_ref()?.jitter.as_ref()?)))
        .map(|(index, row, jitter)| {
            let title = format!("Gaps of {}", row.model);
            Ok(Histogram {
                name: row.model.clone(),
                svg: charts::gaps(&title, jitter)?,
                row: index,
            })
        })
        .collect()
}

fn block_lines() -> Vec<LabelledLine> {
    let lines =
        LINES.iter().map(|line| (line.label, format!("/figures{}", line.pointer), line.decimals));
    let facts = markdown::FACTS
        .iter()
        .map(|(label, pointer, decimals)| (*label, (*pointer).to_owned(), *decimals));
    lines
        .chain(facts)
        .map(|(label, pointer, decimals)| LabelledLine { label, pointer, decimals })
        .collect()
}

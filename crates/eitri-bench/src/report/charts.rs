//! Charts as SVG, coloured by the page's own variables so that they follow its theme.

use plotters::{
    coord::{
        Shift,
        ranged1d::{Ranged, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::*,
};

use super::{Block, Jitter, Load, Report, Row, Side};

/// A chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("chart {title:?} cannot be drawn: {reason}")]
pub struct ChartError {
    /// Its title.
    title: String,
    /// What the chart library said.
    reason: String,
}

/// Colours that stand for variables of the page. They only have to differ from each other.
const PALETTE: [(RGBColor, &str, &str); 8] = [
    (OURS, "#010001", "var(--ours)"),
    (REFERENCE, "#010002", "var(--reference)"),
    (FLOOR, "#010003", "var(--floor)"),
    (ALARM, "#010004", "var(--alarm)"),
    (TEXT, "#010005", "var(--text)"),
    (GRID, "#010006", "var(--grid)"),
    (WARM, "#010007", "var(--warm)"),
    (REFERENCE_COLD, "#010008", "var(--reference-cold)"),
];
const OURS: RGBColor = RGBColor(1, 0, 1);
const REFERENCE: RGBColor = RGBColor(1, 0, 2);
const FLOOR: RGBColor = RGBColor(1, 0, 3);
const ALARM: RGBColor = RGBColor(1, 0, 4);
const TEXT: RGBColor = RGBColor(1, 0, 5);
const GRID: RGBColor = RGBColor(1, 0, 6);
const WARM: RGBColor = RGBColor(1, 0, 7);
const REFERENCE_COLD: RGBColor = RGBColor(1, 0, 8);

/// Widths in pixels: for wide screens, where names stand beside bars, and for phones, above them.
pub(super) const WIDE: u32 = 900;
pub(super) const NARROW: u32 = 380;

const BAR: i32 = 11;
const LABEL: i32 = 17;
const FONT: i32 = 12;
const NAMES: u32 = 300;
/// Room to the right of the longest bar for its number.
const NUMBERS: u32 = 60;
/// Pixels that a number covers.
const NUMBER: f64 = 40.0;

/// A horizontal bar.
#[derive(Debug, Clone, Copy)]
struct Measure {
    value: f64,
    colour: RGBColor,
    /// Marked: it cannot be.
    alarm: bool,
}

/// The bars of one checkpoint, and the floor drawn across them.
#[derive(Debug, Clone)]
struct Group {
    name: String,
    bars: Vec<Measure>,
    floor: Option<f64>,
}

/// What a bar chart shows.
#[derive(Debug, Clone)]
pub(super) struct Bars {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) key: Vec<(&'static str, String)>,
    logarithmic: bool,
    groups: Vec<Group>,
}

/// What the bars of either side, floors and marked bars are.
fn key(report: &Report, floor: &str) -> Vec<(&'static str, String)> {
    let device = report.reference.as_ref().map_or(&report.device, |reference| &reference.device);
    let mut key: Vec<_> =
        report.sides().map(|side| (side.key(), report.name(side).to_owned())).collect();
    key.push(("floor", format!("{floor} on {}", device.name)));
    key.push(("alarm", "faster than the floor".to_owned()));
    key
}

impl Bars {
    /// The bar charts of a report, without those that would be empty.
    pub(super) fn all(report: &Report) -> Vec<Self> {
        let charts = vec![
            Self::throughput(report),
            Self::step(report, Load::High, "Step at high load"),
            Self::step(report, Load::Low, "Step at low load"),
            Self::first_token(report),
        ];
        charts
            .into_iter()
            .filter(|chart| chart.groups.iter().any(|group| !group.bars.is_empty()))
            .collect()
    }

    fn throughput(report: &Report) -> Self {
        let value = |block: &Block| Some(block.figures.output_throughput);
        // The rate at which all sequences of a step get a token each.
        let ceiling = |row: &Row| {
            let floor = row.side(row.judged())?.floor?;
            Some(floor.shape.batch as f64 / floor.practical_ms? * 1e3)
        };
        Self {
            title: "Output throughput at high load",
            unit: "tokens per second, more is better",
            key: key(report, "most that the practical bandwidth allows, prompts aside,"),
            logarithmic: false,
            groups: groups(report, Load::High, value, ceiling),
        }
    }

    fn step(report: &Report, load: Load, title: &'static str) -> Self {
        let value = |block: &Block| block.step_ms;
        let floor = |row: &Row| row.side(row.judged())?.floor?.practical_ms;
        Self {
            title,
            unit: "ms, less is better",
            key: key(report, "practical floor"),
            logarithmic: false,
            groups: groups(report, load, value, floor),
        }
    }

    /// Of prompts that were cached and of prompts that were computed, where there are such.
    fn first_token(report: &Report) -> Self {
        let warm = |block: &Block| block.prompt_cache.warm.map(|group| group.ttft.mean);
        let cold = |block: &Block| block.prompt_cache.cold.map(|group| group.ttft.mean);
        let kinds = [
            (Side::Reference, Load::Low, "reference", REFERENCE, "prompt cached"),
            (Side::Reference, Load::LowCold, "reference-cold", REFERENCE_COLD, "prompt computed"),
            (Side::Ours, Load::Low, "warm", WARM, "prompt cached"),
            (Side::Ours, Load::LowCold, "ours", OURS, "prompt computed"),
        ];
        let value = |model: &str, side, load| {
            let (_, row) = report.rows_of(load).find(|(_, row)| row.model == model)?;
            let block = row.side(side)?;
            if load == Load::Low { warm(block) } else { cold(block) }
        };
        let mut key = Vec::new();
        for (side, load, class, _, words) in kinds {
            if report.rows.iter().any(|row| value(&row.model, side, load).is_some()) {
                key.push((class, format!("{}, {words}", report.name(side))));
            }
        }
        let groups = report
            .rows_of(Load::Low)
            .map(|(_, row)| {
                let bar = |&(side, load, _, colour, _): &(Side, Load, _, RGBColor, _)| {
                    value(&row.model, side, load).map(|value| Measure {
                        value,
                        colour,
                        alarm: false,
                    })
                };
                let bars = kinds.iter().filter_map(bar).collect();
                Group { name: row.model.clone(), bars, floor: None }
            })
            .collect();
        Self {
            title: "Time to first token at low load",
            unit: "ms, logarithmic, less is better",
            key,
            logarithmic: true,
            groups,
        }
    }

    /// As SVG of a width in pixels.
    pub(super) fn svg(&self, width: u32) -> Result<String, ChartError> {
        let above = width < NARROW + NAMES;
        let rows = |group: &Group| group.bars.len().max(1) as i32 * BAR;
        let height_of = |group: &Group| rows(group) + if above { LABEL + 8 } else { 10 };
        let height = self.groups.iter().map(height_of).sum::<i32>() as u32 + 34;
        let draw = |area: &Canvas<'_>| {
            let left = if above { 6 } else { NAMES };
            let mut chart = ChartBuilder::on(area);
            chart.margin_right(NUMBERS).margin_left(left).x_label_area_size(26).margin_top(4);
            let down = (height - 30) as f64;
            let values = self
                .groups
                .iter()
                .flat_map(|group| group.bars.iter().map(|bar| bar.value).chain(group.floor));
            let (low, high) = values
                .fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
            if self.logarithmic {
                let (low, high) = (low / 1.5, high * 1.1);
                let range = (low..high).log_scale().with_key_points(round_numbers(low, high));
                self.draw(chart.build_cartesian_2d(range, down..0.0), low, above)
            } else {
                self.draw(chart.build_cartesian_2d(0.0..high * 1.02, down..0.0), 0.0, above)
            }
        };
        paint(self.title, (width, height), draw)
    }

    fn draw<'a, X>(
        &self,
        chart: Result<ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>, Failure>,
        start: f64,
        above: bool,
    ) -> Result<(), Failure>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = chart?;
        let end = chart.x_range().end;
        let (pixels, _) = chart.plotting_area().dim_in_pixel();
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_labels(6)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_label_formatter(&|value| tick(*value))
            .label_style(text(TEXT))
            .draw()?;
        let mut y = if above { 0 } else { 4 };
        for group in &self.groups {
            let bars = group.bars.len().max(1) as i32 * BAR;
            if above {
                y += LABEL;
            }
            let name_at = if above { (0, -14) } else { (8 - NAMES as i32, bars / 2 - 7) };
            let name = Text::new(group.name.clone(), name_at, text(TEXT));
            chart.draw_series([EmptyElement::at((start, f64::from(y))) + name])?;
            for (index, bar) in group.bars.iter().enumerate() {
                let top = y + index as i32 * BAR;
                let (from, to) = (f64::from(top), f64::from(top + BAR - 2));
                let colour = if bar.alarm { ALARM } else { bar.colour };
                chart.draw_series([Rectangle::new(
                    [(start, from), (bar.value, to)],
                    colour.filled(),
                )])?;
                let mark = if bar.alarm { " !" } else { "" };
                let words = if bar.alarm { ALARM } else { TEXT };
                let label = Text::new(format!("{}{mark}", short(bar.value)), (5, -2), text(words));
                // The floor must not run through the number.
                let clear = bar.value..bar.value + end * NUMBER / f64::from(pixels);
                let at = group.floor.filter(|floor| clear.contains(floor)).unwrap_or(bar.value);
                chart.draw_series([EmptyElement::at((at, from)) + label])?;
            }
            if let Some(floor) = group.floor {
                let ends = [(floor, f64::from(y - 2)), (floor, f64::from(y + bars))];
                chart.draw_series([PathElement::new(ends, FLOOR.stroke_width(2))])?;
            }
            y += bars + if above { 8 } else { 10 };
        }
        Ok(())
    }
}

/// One group per checkpoint with the value of the reference and ours.
fn groups(
    report: &Report,
    load: Load,
    value: impl Fn(&Block) -> Option<f64>,
    floor: impl Fn(&Row) -> Option<f64>,
) -> Vec<Group> {
    let bar = |block: Option<&Block>, colour| {
        let block = block?;
        Some(Measure { value: value(block)?, colour, alarm: block.verdict().is_alarm() })
    };
    report
        .rows_of(load)
        .map(|(_, row)| {
            let bars = [bar(row.reference.as_ref(), REFERENCE), bar(row.ours.as_ref(), OURS)];
            Group {
                name: row.model.clone(),
                bars: bars.into_iter().flatten().collect(),
                floor: floor(row),
            }
        })
        .collect()
}

/// A histogram of gaps.
pub(super) fn gaps(title: &str, jitter: &Jitter) -> Result<String, ChartError> {
    let tallest = jitter.histogram.iter().map(|bar| bar.count).max().unwrap_or(1) as f64;
    let (Some(first), Some(last)) = (jitter.histogram.first(), jitter.histogram.last()) else {
        return Ok(String::new());
    };
    // At least a factor of ten, so that even gaps make a narrow bar and not a wide one.
    let (from, to) = (first.from_ms / 1.8, last.below_ms * 1.8);
    paint(title, (NARROW, 150), |area| {
        let range = (from..to).log_scale().with_key_points(round_numbers(from, to));
        let mut chart = ChartBuilder::on(area)
            .margin(4)
            .margin_right(26)
            .x_label_area_size(24)
            .y_label_area_size(48)
            .build_cartesian_2d(range, 0.0..tallest * 1.05)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .y_labels(4)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_label_formatter(&|value| format!("{} ms", tick(*value)))
            .y_label_formatter(&|value| tick(*value))
            .label_style(text(TEXT))
            .draw()?;
        chart.draw_series(jitter.histogram.iter().map(|bar| {
            Rectangle::new([(bar.from_ms, 0.0), (bar.below_ms, bar.count as f64)], OURS.filled())
        }))?;
        Ok(())
    })
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure = DrawingAreaErrorKind<std::io::Error>;

/// Draws and replaces the colours. Sizes are left to the page.
fn paint(
    title: &str,
    size: (u32, u32),
    draw: impl FnOnce(&Canvas<'_>) -> Result<(), Failure>,
) -> Result<String, ChartError> {
    let failed = |error: Failure| ChartError { title: title.to_owned(), reason: error.to_string() };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    for (_, sentinel, variable) in PALETTE {
        svg = svg.replace(&format!("\"{sentinel}\""), &format!("\"{variable}\""));
    }
    let role = format!("<svg role=\"img\" aria-label=\"{title}\" ");
    Ok(svg.replacen("<svg ", &role, 1))
}

fn text(colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", FONT).into_font().color(&colour)
}

/// 1, 2 and 5 times powers of ten between two values, only powers where those are many.
fn round_numbers(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let factors: &[f64] = if high / low > 1e3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    powers
        .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
        .filter(|number| (low..=high).contains(number))
        .collect()
}

/// A number on an axis.
fn tick(value: f64) -> String {
    let rounded = format!("{value:.3}");
    rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Three digits are enough on a chart.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || size == 0.0 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rectangles(svg: &str, fill: &str) -> Vec<f64> {
        let of = |element: &str| {
            let width = element.split("width=\"").nth(1)?.split('"').next()?.parse().ok();
            element.contains(fill).then_some(width)?
        };
        svg.split("<rect ").skip(1).filter_map(|element| of(element.split('>').next()?)).collect()
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_marked_where_they_cannot_be() {
        let bar = |value, colour, alarm| Measure { value, colour, alarm };
        let bars = Bars {
            title: "t",
            unit: "ms",
            key: Vec::new(),
            logarithmic: false,
            groups: vec![Group {
                name: "a<b".to_owned(),
                bars: vec![
                    bar(50.0, REFERENCE, false),
                    bar(100.0, OURS, false),
                    bar(25.0, OURS, true),
                ],
                floor: Some(40.0),
            }],
        };
        for width in [WIDE, NARROW] {
            let svg = bars.svg(width).unwrap();
            let [reference, ours, alarm] = ["var(--reference)", "var(--ours)", "var(--alarm)"]
                .map(|fill| rectangles(&svg, fill));
            assert_eq!((reference.len(), ours.len(), alarm.len()), (1, 1, 1), "{svg}");
            assert!((reference[0] / ours[0] - 0.5).abs() < 0.01, "{svg}");
            assert!((alarm[0] / ours[0] - 0.25).abs() < 0.01, "{svg}");
            assert!(svg.contains("a&lt;b") && svg.contains("25.0 !") && !svg.contains("#0100"));
        }
    }
}

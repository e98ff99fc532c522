//! The published tables, judged.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::collections::BTreeMap;

use eitri_bench::report::{
    Block, CacheState, Device, Evidence, Load, ModelBytes, ModelledRun, PublishedTables, Reference,
    Report, Row, Verdict, csv, html, markdown,
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Counted {
    model: String,
    #[serde(flatten)]
    bytes: ModelBytes,
}

/// Counts of `eitri inspect --config NAME --json`; a test of `eitri` holds them against the program.
fn byte_counts() -> BTreeMap<String, ModelBytes> {
    let counted: Vec<Counted> = serde_json::from_str(include_str!("byte-counts.json")).unwrap();
    counted.into_iter().map(|counted| (counted.model, counted.bytes)).collect()
}

/// All sixteen rows at three loads, modelled beside published.
fn report() -> Report {
    let tables = PublishedTables::jetson_thor().unwrap();
    let (thor, bytes) = (Device::jetson_thor(), byte_counts());
    let mut rows = Vec::new();
    for row in &tables.rows {
        let bytes = &bytes[&row.model];
        for load in Load::ALL {
            let run = ModelledRun {
                load,
                num_prompts: row.num_prompts(load),
                max_concurrency: row.max_concurrency(load),
                total_input_tokens: row.figures(load).unwrap_or(&row.low).total_input_tokens,
                output_len: tables.output_len,
                arithmetic: row.arithmetic,
            };
            let published = Block::published(row, load, bytes, &thor);
            rows.push(Row::new(&row.model, load, published, run.block(bytes, &thor)));
        }
    }
    Report {
        title: "Jetson Thor, modelled".to_owned(),
        date: None,
        machine: None,
        device: thor.clone(),
        ours: "modelled".to_owned(),
        reference: Some(Reference {
            name: "published".to_owned(),
            source: tables.source,
            device: thor,
        }),
        remarks: vec!["Ours are modelled: nothing ran.".to_owned()],
        rows,
    }
}

fn published(report: &Report) -> impl Iterator<Item = (&Row, &Block)> {
    report.rows.iter().filter_map(|row| Some((row, row.reference.as_ref()?)))
}

#[test]
fn exactly_the_impossible_rows_are_marked() {
    let report = report();
    let marked: Vec<_> = published(&report)
        .filter(|(_, block)| block.verdict().is_alarm())
        .map(|(row, block)| (row.model.as_str(), row.load, block.verdict()))
        .collect();
    assert_eq!(
        marked,
        [
            ("Qwen3-8B-FP8", Load::High, Verdict::BeatsNominal),
            ("Qwen3-8B-FP8", Load::Low, Verdict::BeatsNominal),
            ("Qwen3-30B-A3B-FP8", Load::Low, Verdict::BeatsNominal),
            ("Qwen3-Coder-30B-A3B-Instruct-FP8", Load::Low, Verdict::BeatsNominal),
        ]
    );
    assert_eq!(published(&report).count(), 32);
}

/// Rows that reach what has been measured on the device are no alarm, those that need more are, even
/// if the data sheet allows it.
#[test]
fn between_the_two_bandwidths_a_row_is_doubtful() {
    let report = report();
    let (_, low) = published(&report).nth(1).unwrap();
    let share = low.floor.unwrap().practical_share.unwrap();
    assert!((0.99..1.01).contains(&share), "bf16 at batch 1 is at the practical floor: {share}");
    let mut faster = low.clone();
    for times in [&mut faster.figures.tpot, &mut faster.figures.itl] {
        times.mean *= 0.95;
        times.median *= 0.95;
    }
    let faster = faster.judged(&byte_counts()["Qwen3-8B"], &Device::jetson_thor());
    assert_eq!(faster.verdict(), Verdict::BeatsPractical);
    assert!(faster.warnings()[0].text.starts_with("beats the practical floor"));
    let mut cached = Device::jetson_thor();
    cached.cache_bytes = 16 << 30;
    assert_eq!(
        low.clone().judged(&byte_counts()["Qwen3-8B"], &cached).verdict(),
        Verdict::FitsInCache
    );
}

/// Tokens that a slow network delivers in pairs have a median gap of nothing.
#[test]
fn bunches_are_no_speed() {
    let report = report();
    let (_, high) = published(&report).next().unwrap();
    let mut bunched = high.clone();
    bunched.figures.itl.median = 0.01;
    bunched.figures.bunched = true;
    let bunched = bunched.judged(&byte_counts()["Qwen3-8B"], &Device::jetson_thor());
    assert_eq!(bunched.verdict(), Verdict::Possible);
    assert!((bunched.floor.unwrap().step_ms - high.figures.tpot.mean).abs() < 1e-9);
}

#[test]
fn every_published_low_load_is_named_warm() {
    let report = report();
    let mut by_other_means = Vec::new();
    for (row, block) in published(&report) {
        let cache = &block.prompt_cache;
        match row.load {
            Load::Low => {
                assert_eq!(cache.state, CacheState::Warm, "{}", row.model);
                if !matches!(cache.evidence, Some(Evidence::FasterThanComputing { .. })) {
                    by_other_means.push(row.model.as_str());
                }
            }
            _ => assert_ne!(cache.state, CacheState::Warm, "{}", row.model),
        }
    }
    // Computing the prompt at the data sheet's rate would do for these; the row's own rate does not.
    assert_eq!(by_other_means, ["Qwen3-8B-FP4", "Qwen3-8B-GGUF"]);
}

/// Worked out by hand beforehand: milliseconds of a cold prompt and tokens per second at high load
/// when nothing overlaps. For sparse models the throughput of even choices was not worked out.
#[test]
fn modelled_times_are_those_worked_out_by_hand() {
    let report = report();
    let ours = |model: &str, load| {
        let row = report.rows.iter().find(|row| row.model == model && row.load == load).unwrap();
        row.ours.as_ref().unwrap()
    };
    for (model, cold_ms, throughput) in [
        ("Qwen3-8B", 237.0, Some(92.0)),
        ("Qwen3-8B-FP8", 123.0, Some(156.0)),
        ("Qwen3-8B-FP4", 81.0, Some(221.0)),
        ("Qwen3-8B-GPTQ-Int4", 237.0, Some(179.0)),
        ("Qwen3-8B-GPTQ-Int8", 237.0, Some(135.0)),
        ("Qwen3-32B-AWQ", 1055.0, Some(51.0)),
        ("Qwen3-30B-A3B", 249.0, None),
        ("Qwen3-30B-A3B-FP8", 126.0, None),
        ("Qwen3-Coder-30B-A3B-Instruct-AWQ-4bit", 102.0, None),
    ] {
        let cold = ours(model, Load::LowCold);
        assert_eq!(cold.prompt_cache.state, CacheState::Cold);
        let got = cold.figures.ttft.mean;
        assert!((got / cold_ms - 1.0).abs() < 0.02, "{model}: {got} ms, expected {cold_ms}");
        let Some(throughput) = throughput else { continue };
        let got = ours(model, Load::High).figures.output_throughput;
        assert!((got / throughput - 1.0).abs() < 0.02, "{model}: {got}, expected {throughput}");
        // One step: what the cache saves is all of the prompt.
        let warm = ours(model, Load::Low);
        assert!(warm.figures.ttft.mean < cold_ms && warm.verdict() == Verdict::Possible);
    }
}

/// Whatever the page shows in a table is the number of the JSON at the place that the cell names.
#[test]
fn numbers_of_the_page_are_those_of_the_json() {
    let report = report();
    let json: Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    let page = html::render(&report).unwrap();
    let mut seen = 0;
    for cell in page.split("data-path=\"").skip(1) {
        let (path, rest) = cell.split_once("\">").unwrap();
        let path = path.replace("&#x2f;", "/");
        let shown = rest.split('<').next().unwrap();
        match json.pointer(&path).and_then(Value::as_f64) {
            None => assert_eq!(shown, "–", "{path}"),
            Some(number) => {
                let decimals = shown.split_once('.').map_or(0, |(_, digits)| digits.len());
                let half_a_digit = 0.5001 * 10_f64.powi(-(decimals as i32));
                let shown: f64 = shown.parse().unwrap();
                assert!((shown - number).abs() <= half_a_digit, "{path}: {shown}, {number}");
                seen += 1;
            }
        }
    }
    assert!(seen > 48 * 17, "{seen} numbers");
    for forbidden in ["<script", "http://", "https://", "url(", "@import", "src="] {
        let count = page.matches(forbidden).count();
        let namespaces = page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count();
        let allowed = if forbidden == "http://" { namespaces } else { 0 };
        assert_eq!(count, allowed, "{forbidden}");
    }
}

#[test]
fn markdown_and_csv_have_every_row() {
    let report = report();
    let text = markdown::render(&report).unwrap();
    assert!(text.contains("- **Qwen3-8B-FP8**, low load, published: beats the nominal floor"));
    assert!(text.contains("| Mean TPOT (ms) | 8.88 | 34.99 |"), "{text}");
    let mut table = Vec::new();
    csv::write(&report, &mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    assert_eq!(table.lines().count(), 1 + 32 + 48);
    let first = table.lines().nth(1).unwrap();
    assert!(first.starts_with("Qwen3-8B,high,published,100,8,150.59,204169,12419,"), "{first}");
}

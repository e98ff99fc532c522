use std::{cell::Cell, rc::Rc};

use super::*;
use crate::{
    outcome::{Metrics, RequestRecord, RunSettings, ServerFacts, Summary},
    report::{CacheState, Device, Machine, ModelBytes, PublishedTables, Report},
};

/// Answers from memory: prompts of a seed that it has seen are cached. Dropping a server is noted.
#[derive(Default)]
struct FakeRig {
    started: Vec<String>,
    running: Rc<Cell<usize>>,
    broken: Option<&'static str>,
    beside: bool,
}

struct FakeServer {
    seen: Vec<u64>,
    running: Rc<Cell<usize>>,
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.running.set(self.running.get() - 1);
    }
}

impl Rig for FakeRig {
    type Server = FakeServer;
    type Error = String;

    fn start(&mut self, row: &RowPlan) -> Result<FakeServer, String> {
        assert_eq!(self.running.get(), 0, "two servers at once would share the machine");
        if self.broken == Some(row.model.as_str()) {
            return Err("no such directory".to_owned());
        }
        self.started.push(row.model.clone());
        self.running.set(1);
        Ok(FakeServer { seen: Vec::new(), running: Rc::clone(&self.running) })
    }

    fn measure(&mut self, server: &mut FakeServer, load: &LoadPlan) -> Result<Measurement, String> {
        let warm = server.seen.contains(&load.seed);
        server.seen.push(load.seed);
        let requests: Vec<RequestRecord> = (0..load.num_prompts)
            .map(|index| RequestRecord {
                index,
                prompt_tokens: load.input_len,
                cached_prompt_tokens: Some(if warm { load.input_len - 1 } else { 0 }),
                output_tokens: 3,
                ttft: if warm { 0.01 } else { 0.5 },
                itl: vec![0.02, 0.02],
                latency: if warm { 0.05 } else { 0.54 },
                generated_text: format!("answer {index}"),
                ..RequestRecord::default()
            })
            .collect();
        let metrics = Metrics {
            completed: requests.len(),
            total_input_tokens: load.input_len * requests.len(),
            total_output_tokens: 3 * requests.len(),
            tpot: Summary { mean: 20.0, ..Summary::default() },
            ..Metrics::default()
        };
        let settings =
            RunSettings { max_concurrency: load.max_concurrency, ..RunSettings::default() };
        let outcome = BenchOutcome {
            settings,
            server: ServerFacts::default(),
            requests,
            duration: 1.0,
            metrics,
            rate_changes: Vec::new(),
            interrupted: false,
        };
        let reference = self.beside.then(|| BenchOutcome { duration: 2.0, ..outcome.clone() });
        Ok(Measurement { outcome, joules: Some(6.0), reference })
    }

    fn describe(&self, _server: &FakeServer) -> Description {
        Description { command: vec!["serve".to_owned()], ..Description::default() }
    }
}

fn plan(only: &[&str]) -> Plan {
    let tables = PublishedTables::jetson_thor().unwrap();
    let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
    Plan::new(&tables, Scale::Published, &only)
}

#[test]
fn the_plan_is_the_published_one_and_a_cold_run() {
    let plan = plan(&[]);
    assert_eq!(plan.rows.len(), 16);
    for row in &plan.rows {
        let loads: Vec<_> = row.loads.iter().map(|load| (load.load, load.seed)).collect();
        assert_eq!(loads, [(Load::High, 0), (Load::Low, 0), (Load::LowCold, 1)]);
        let [high, low, cold] = [0, 1, 2].map(|index| row.loads[index].num_prompts);
        match row.model.as_str() {
            "Qwen3-8B-GPTQ-Int4" => assert_eq!([high, low, cold], [200, 10, 10]),
            "Qwen3-8B-GGUF" => assert_eq!([high, low, cold], [100, 1, 1]),
            _ => assert_eq!([high, low, cold], [100, 10, 10]),
        }
    }
    let names: Vec<_> =
        self::plan(&["coder", "32b"]).rows.into_iter().map(|row| row.model).collect();
    assert_eq!((names.len(), names[0].as_str()), (6 - 1, "Qwen3-32B-AWQ"));
}

#[test]
fn rows_are_kept_repeated_as_a_whole_and_do_not_stop_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("rows")).unwrap();
    let plan = plan(&["qwen3-8b-f", "32b"]);
    let mut rig = FakeRig { broken: Some("Qwen3-8B-FP4"), ..FakeRig::default() };
    let first = reproduce(&plan.rows, &store, &mut rig, |_| {}).unwrap();
    assert_eq!(rig.started, ["Qwen3-8B-FP8", "Qwen3-32B-AWQ"]);
    assert_eq!(first[1].error.as_deref(), Some("no such directory"));
    // What failed is tried again, what was measured is not.
    let mut rig = FakeRig::default();
    let mut kept = 0;
    let count = |event: RowEvent<'_>| kept += usize::from(matches!(event, RowEvent::Kept(_)));
    let second = reproduce(&plan.rows, &store, &mut rig, count).unwrap();
    assert_eq!((rig.started.as_slice(), kept), (&["Qwen3-8B-FP4".to_owned()][..], 2));
    assert_eq!((&second[0], &second[2]), (&first[0], &first[2]));
    assert_eq!(rig.running.get(), 0);
    // Other settings are other results.
    let mut other = plan.clone();
    other.rows.truncate(1);
    other.rows[0].loads[0].num_prompts = 3;
    let mut rig = FakeRig::default();
    reproduce(&other.rows, &store, &mut rig, |_| {}).unwrap();
    assert_eq!(rig.started, ["Qwen3-8B-FP8"]);
    std::fs::write(directory.path().join("rows/Qwen3-8B-FP8.json"), "{").unwrap();
    let error = reproduce(&other.rows, &store, &mut rig, |_| {}).unwrap_err().to_string();
    assert!(error.contains("remove it"), "{error}");
    // Each load's records can be compared with others.
    let sample = directory.path().join("rows/Qwen3-32B-AWQ.low.json");
    let sample = crate::compare::Sample::read(&sample).unwrap();
    assert_eq!(sample.runs[0].requests.len(), 10);
}

#[test]
fn the_report_tells_warm_from_cold_and_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let plan = plan(&["qwen3-8b-f"]);
    let mut rig = FakeRig { broken: Some("Qwen3-8B-FP4"), ..FakeRig::default() };
    let results = reproduce(&plan.rows, &store, &mut rig, |_| {}).unwrap();
    let tables = PublishedTables::jetson_thor().unwrap();
    let thor = Device::jetson_thor();
    let ours = Ours::Measured {
        results: &results,
        machine: Machine::default(),
        device: Device::measured("a machine", 50.0, 0),
    };
    let report = report(&plan, &tables, &thor, &[], &ours);
    let states: Vec<_> =
        report.rows[..3].iter().map(|row| row.ours.as_ref().unwrap().prompt_cache.state).collect();
    assert_eq!(states, [CacheState::Cold, CacheState::Warm, CacheState::Cold]);
    let energy = report.rows[0].ours.as_ref().unwrap().energy.unwrap();
    assert!((energy.tokens_per_joule - 50.0).abs() < 1e-9);
    assert_eq!(report.rows[3].remark.as_deref(), Some("not measured: no such directory"));
    let files = report.write(&directory.path().join("report")).unwrap();
    assert_eq!(files.len(), 4);
    let json = std::fs::read_to_string(&files[2]).unwrap();
    let again: crate::report::Report = serde_json::from_str(&json).unwrap();
    assert_eq!(again, report);
}

#[test]
fn any_model_can_be_held_against_another_server() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let loads = Loads { input_len: 8, output_len: 3, clients: 4, high: 6, low: 2 };
    let rows = loads.rows(["a", "b"]);
    let plans: Vec<_> = rows[1]
        .loads
        .iter()
        .map(|load| (load.num_prompts, load.max_concurrency, load.seed, load.ready_check))
        .collect();
    assert_eq!(plans, [(6, Some(4), 0, true), (2, Some(1), 0, true), (2, Some(1), 1, false)]);
    let mut rig = FakeRig { beside: true, broken: Some("b"), ..FakeRig::default() };
    let results = reproduce(&rows, &store, &mut rig, |_| {}).unwrap();
    assert!(directory.path().join("a.low-cold.reference.json").is_file());
    let bytes = ModelBytes {
        always: 100_000_000,
        experts: None,
        kv_per_token: 0,
        multiply_adds_per_token: 0,
        attention_width: 0,
    };
    let sizes = [Checkpoint { model: "a".to_owned(), stored: bytes, in_memory: Some(bytes) }];
    let device = Device::measured("a machine", 50.0, 0);
    let machine = Machine::default();
    let report = here_report(&loads, &results, &sizes, machine, device, Some("another"));
    assert_eq!(report.rows.len(), 6);
    // 2 ms of 20 by either side's floor.
    for block in [&report.rows[1].reference, &report.rows[1].ours] {
        let floor = block.as_ref().unwrap().floor.unwrap();
        assert!((floor.practical_share.unwrap() - 0.1).abs() < 1e-9);
    }
    assert_eq!(report.rows[3].remark.as_deref(), Some("not measured: no such directory"));
    let text = crate::report::markdown::render(&report).unwrap();
    assert!(text.contains("| tok/s another | tok/s eitri | tok/s ratio |"), "{text}");
    assert!(!text.contains("published"), "{text}");
    // Alone, there is no empty column.
    let alone = Report { reference: None, ..report };
    let text = crate::report::markdown::render(&alone).unwrap();
    assert!(
        text.contains("| tok/s eitri | step ms eitri |") && !text.contains("tok/s ratio"),
        "{text}"
    );
}

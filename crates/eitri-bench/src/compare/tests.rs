use std::io::Write;

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

fn request(ttft: f64, gap: f64) -> MeasuredRequest {
    MeasuredRequest { input_tokens: 8, output_tokens: 5, ttft, gaps: vec![gap; 4] }
}

/// Requests whose times vary by a fifth around these.
fn sample(rng: &mut StdRng, name: &str, requests: usize, ttft: f64, gap: f64) -> Sample {
    let mut around = |time: f64| time * rng.random_range(0.8..1.2);
    let requests: Vec<_> = (0..requests).map(|_| request(around(ttft), around(gap))).collect();
    let duration = requests.iter().map(|r| r.ttft + r.gaps.iter().sum::<f64>()).sum();
    let output_tokens = 5 * requests.len();
    Sample { name: name.to_owned(), runs: vec![Run { duration, output_tokens, requests }] }
}

fn find(comparison: &Comparison, metric: Metric) -> &Change {
    comparison.changes.iter().find(|change| change.metric == metric).unwrap()
}

/// What an interval of 90 % promises: of many experiments about as many intervals hold the truth.
#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let mut rng = StdRng::seed_from_u64(1);
    let options = CompareOptions { confidence: 0.9, resamples: 300, ..CompareOptions::default() };
    let experiments = 300;
    let mut held = 0;
    for seed in 0..experiments {
        let base = sample(&mut rng, "a", 40, 0.2, 0.01);
        let other = sample(&mut rng, "b", 50, 0.3, 0.01);
        let comparison = Comparison::of(&base, &other, &CompareOptions { seed, ..options });
        assert!(!comparison.paired);
        let (low, high) = find(&comparison, Metric::MeanTtft).interval.unwrap();
        held += usize::from((low..high).contains(&1.5));
    }
    let share = held as f64 / experiments as f64;
    assert!((0.84..0.95).contains(&share), "{share}");
}

#[test]
fn pairs_show_what_differences_between_prompts_hide() {
    let mut rng = StdRng::seed_from_u64(2);
    let mut base = sample(&mut rng, "a", 30, 0.2, 0.01);
    // Prompts differ much more than servers do.
    for (index, request) in base.runs[0].requests.iter_mut().enumerate() {
        request.ttft *= 1.0 + index as f64;
    }
    let mut other = base.clone();
    other.runs[0].requests.iter_mut().for_each(|request| request.ttft *= 1.1);
    let options = CompareOptions::default();
    let paired = Comparison::of(&base, &other, &options);
    assert!(paired.paired && paired.has_regression());
    assert_eq!(find(&paired, Metric::MeanTtft).finding, Finding::Regression);
    assert_eq!(find(&paired, Metric::MeanTpot).finding, Finding::NoRegression);
    other.runs[0].requests.rotate_left(1);
    other.runs[0].requests[0].input_tokens = 9;
    let apart = Comparison::of(&base, &other, &options);
    assert!(!apart.paired);
    assert_eq!(find(&apart, Metric::MeanTtft).finding, Finding::Unclear);
}

#[test]
fn directions_and_thresholds() {
    let case = |metric, ratio, interval, threshold| finding(metric, ratio, interval, threshold);
    let (throughput, ttft) = (Metric::OutputThroughput, Metric::MeanTtft);
    assert_eq!(case(throughput, 0.9, None, 0.05), Finding::Regression);
    assert_eq!(case(throughput, 0.97, None, 0.05), Finding::NoRegression);
    assert_eq!(case(throughput, 1.2, Some((1.1, 1.3)), 0.05), Finding::Better);
    assert_eq!(case(throughput, 0.9, Some((0.8, 1.1)), 0.05), Finding::Unclear);
    assert_eq!(case(ttft, 1.2, Some((1.1, 1.3)), 0.05), Finding::Regression);
    assert_eq!(case(ttft, 1.2, Some((1.1, 1.3)), 0.4), Finding::NoRegression);
    assert_eq!(case(ttft, 0.9, Some((0.8, 0.99)), 0.05), Finding::Better);
}

#[test]
fn files_of_vllm_are_read_with_and_without_details() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let plain = r#"{"duration": 2.0, "total_output_tokens": 10, "completed": 2}"#;
    let detailed = r#"{"duration": 3.0, "total_output_tokens": 6, "input_lens": [4, 5, 6],
        "output_lens": [3, 3, 0], "ttfts": [0.1, 0.3, 0.0], "itls": [[0.01, 0.03], [0.02, 0.02], []],
        "errors": ["", "", "refused"]}"#;
    writeln!(file, "{plain}\n{detailed}").unwrap();
    let sample = Sample::read(file.path()).unwrap();
    assert_eq!(sample.runs.len(), 2);
    assert_eq!(sample.requests().len(), 2);
    let near = |metric, want: f64| {
        let got = sample.value(metric).unwrap();
        assert!((got - want).abs() < 1e-9, "{metric:?}: {got}");
    };
    near(Metric::OutputThroughput, 16.0 / 5.0);
    near(Metric::MeanTtft, 200.0);
    near(Metric::MeanTpot, 20.0);
    near(Metric::MeanE2el, 240.0);
    for (text, message) in [
        ("", "holds no result"),
        ("{", "not JSON"),
        ("{}", "missing field `duration`"),
        (r#"{"duration": 1.0, "total_output_tokens": 1, "ttfts": [0.1]}"#, "differ in length"),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let error = Sample::read(file.path()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

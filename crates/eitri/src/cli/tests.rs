use std::ffi::OsString;

use super::*;

fn try_parse(line: &[&str]) -> Result<Parsed, clap::Error> {
    parse(["eitri", "serve"].iter().chain(line).map(OsString::from))
}

fn parsed(line: &[&str]) -> Parsed {
    try_parse(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

fn serve(line: &[&str]) -> ServeArgs {
    match parsed(line).cli.command {
        Command::Serve(arguments) => *arguments,
        other => panic!("{other:?}"),
    }
}

fn refused(line: &[&str]) -> String {
    let error = try_parse(line).expect_err("should be refused");
    assert_eq!(error.exit_code(), 2, "{line:?}");
    error.to_string()
}

/// What the user sees, at a width that does not depend on the terminal.
fn help(line: &[&str]) -> String {
    let line = ["eitri"].iter().chain(line).chain(&["--help"]);
    command().term_width(100).try_get_matches_from(line).unwrap_err().to_string()
}

#[test]
fn help_is_as_reviewed() {
    insta::assert_snapshot!("eitri", help(&[]));
    for name in ["serve", "chat", "inspect", "quantize"] {
        insta::assert_snapshot!(name, help(&[name]));
    }
    insta::assert_snapshot!("bench", help(&["bench"]));
    for name in
        ["serve", "latency", "throughput", "sweep", "kernel", "compare", "reproduce", "here"]
    {
        insta::assert_snapshot!(format!("bench_{name}"), help(&["bench", name]));
    }
}

#[test]
fn quantize_knows_its_formats_by_name() {
    use eitri::QuantizeFormat::{Directory, Gguf};
    let line = |format| ["eitri", "quantize", "m", "--to", format, "--out", "m.gguf"];
    let parse_format = |format| parse(line(format).map(OsString::from));
    let presets = eitri::GGUF_PRESETS.iter().map(|preset| (preset.name, Gguf(preset)));
    let schemes = eitri::SCHEMES.iter().map(|scheme| (scheme.name, Directory(*scheme)));
    for (name, format) in presets.chain(schemes) {
        match parse_format(name).unwrap().cli.command {
            Command::Quantize(arguments) => assert_eq!(arguments.to, format),
            other => panic!("{other:?}"),
        }
    }
    let error = parse_format("q3_k").unwrap_err().to_string();
    assert!(error.contains("'q3_k'") && error.contains("q4_k_m"), "{error}");
}

#[test]
fn bench_refuses_what_has_no_meaning() {
    let try_parse = |line: &[&str]| {
        parse(["eitri", "bench"].iter().chain(line).map(OsString::from)).map(|parsed| parsed.cli)
    };
    for line in [
        &["compare"][..],
        &["compare", "one.json"],
        &["compare", "--paired", "http://a", "http://b"],
        &["compare", "a", "b", "--confidence", "1"],
        &["reproduce"],
        &["here"],
        &["here", "robot", "--beside-name", "x"],
        &["reproduce", "--modelled", "thor", "--scale", "tiny"],
        &["reproduce", "--modelled", "thor", "--models-dir", "m"],
        &["reproduce", "--models-dir", "m", "--device", "cuda"],
        &["sweep", "--formats", "q3_k"],
        &["kernel", "--shape", "10"],
        &["serve", "--floor-of", "Qwen3-8B"],
    ] {
        assert_eq!(try_parse(line).expect_err("should be refused").exit_code(), 2, "{line:?}");
    }
    for line in [
        &["compare", "a.json", "b.json"][..],
        &["compare", "--paired", "http://a", "http://b", "--tokenizer", "t"],
        &["reproduce", "--scale", "tiny", "--", "--threads", "1"],
        &["here", "a.gguf", "robot", "--beside", "s {model} {port}", "--", "--threads", "1"],
        &["sweep", "m", "--formats", "stored,q4_0,awq-int4", "--batch-sizes", "1,2"],
    ] {
        assert!(try_parse(line).is_ok(), "{line:?}");
    }
}

#[test]
fn no_flag_is_defined_twice() {
    let command = command();
    let serve = command.find_subcommand("serve").unwrap();
    let mut names: Vec<&str> = serve.get_arguments().filter_map(clap::Arg::get_long).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn underscores_are_dashes_and_values_are_left_alone() {
    let arguments = serve(&["a_b", "--served_model_name=x_y", "--max_model_len", "1k"]);
    assert_eq!(arguments.engine.model().to_str(), Some("a_b"));
    assert_eq!(arguments.names(), ["x_y"]);
    let builder = format!("{:?}", arguments.builder().unwrap());
    assert!(builder.contains("max_model_len: Some(1000)"), "{builder}");
}

#[test]
fn flags_reach_the_engine() {
    for (line, expected) in [
        (&["m", "--max-model-len", "1K"][..], "max_model_len: Some(1024)"),
        (&["m", "--max-model-len=25.6k"], "max_model_len: Some(25600)"),
        (&["m", "--max-model-len", "-1"], "max_model_len: None"),
        (&["m", "--max-model-len", "auto"], "max_model_len: None"),
        (&["m", "--memory-budget", "6G"], "memory_budget: Some(6442450944)"),
        (&["m", "--kv-cache-memory-bytes", "1g"], "kv_cache_bytes: Some(1000000000)"),
        (&["m", "--num-gpu-blocks-override", "40"], "num_blocks: Some(40)"),
        (&["m", "--max-num-seqs", "8"], "max_num_seqs: 8"),
        (&["m", "--max-num-seqs", "4k"], "max_num_batched_tokens: 4000"),
        (&["m", "--max-num-batched-tokens", "32"], "max_num_seqs: 32"),
        (&["m", "--threads", "3"], "threads: 3"),
        (&["m", "--cores", "0,2-3"], "threads: 3"),
        (&["m", "--cores", "0,2-3"], "cores: [0, 2, 3]"),
        (&["m", "--activations", "exact"], "activations: Exact"),
        (&["m"], "kv_dtype: None"),
        (&["m", "--kv-cache-dtype", "auto"], "kv_dtype: None"),
        (&["m", "--kv-cache-dtype", "bfloat16"], "kv_dtype: Some(Bf16)"),
        (&["m", "--kv-cache-dtype", "float32"], "kv_dtype: Some(F32)"),
        (&["m", "--kv-cache-dtype", "fp8"], "kv_dtype: Some(Fp8)"),
        (&["m", "--kv-cache-dtype", "fp8_e4m3"], "kv_dtype: Some(Fp8)"),
        (&["--model", "m"], "model: Some(\"m\")"),
        (&[], "model: Some(\"robot\")"),
    ] {
        let builder = format!("{:?}", serve(line).builder().unwrap());
        assert!(builder.contains(expected), "{line:?}: {builder}");
    }
}

#[test]
fn flags_reach_the_server() {
    let arguments = serve(&["m", "--port", "0", "--api-key", "a", "b", "--max-logprobs", "-1"]);
    let config = arguments.server_config(true);
    assert_eq!((arguments.port, config.max_logprobs), (0, u32::MAX));
    assert_eq!(config.api_keys, ["a", "b"]);
    assert!(config.dev_mode);
    let origins = serve(&["m", "--allowed-origins", r#"["http://a", "http://b"]"#]);
    assert_eq!(origins.server_config(false).allowed_origins, ["http://a", "http://b"]);
    let kwargs = serve(&["m", "--default-chat-template-kwargs", r#"{"enable_thinking": false}"#]);
    assert_eq!(kwargs.server_config(false).default_chat_template_kwargs["enable_thinking"], false);
}

#[test]
fn the_last_of_two_switches_wins() {
    let on = ["m", "--no-enable-prefix-caching", "--enable-prefix-caching"];
    let off = ["m", "--enable-prefix-caching", "--no-enable-prefix-caching"];
    let caching = |line| !format!("{:?}", serve(line)).contains("no_enable_prefix_caching: true");
    assert!(caching(&on) && !caching(&off));
}

#[test]
fn neutral_flags_of_vllm_are_noted() {
    for line in [
        &["m", "--swap-space", "4"][..],
        &["m", "--swap_space=4"],
        &["m", "--enforce-eager"],
        &["m", "--no-async-scheduling", "--async-scheduling"],
        &["m", "--trust-remote-code"],
        &["m", "-O3"],
        &["m", "--cudagraph-capture-sizes", "1", "2"],
        &["m", "--enable-chunked-prefill"],
        &["m", "--dtype", "bfloat16"],
    ] {
        assert_eq!(parsed(line).notes.len(), 1, "{line:?}");
    }
    for line in [&["m", "-tp", "1"][..], &["m", "-tp=1"], &["m", "--cpu-offload-gb", "0"], &["m"]] {
        assert_eq!(parsed(line).notes.len(), 0, "{line:?}");
    }
}

#[test]
fn unsupported_flags_and_values_are_refused_by_name() {
    for (line, part) in [
        (&["m", "--enable-lora"][..], "--enable-lora is not supported: adapters"),
        (&["m", "--tensor-parallel-size", "2"], "--tensor-parallel-size must be 1, got 2"),
        (&["m", "-tp", "2"], "--tensor-parallel-size"),
        (&["m", "--speculative-config", "{}"], "speculative decoding"),
        (&["m", "--ssl-keyfile", "k"], "TLS"),
        (&["m", "--no-enable-chunked-prefill"], "chunks"),
        (&["m", "--block-size", "32"], "[possible values: 16]"),
        (&["m", "--quantization", "awq"], "--quantization must be gguf"),
        (&["m", "--max-model-len", "1x"], "\"1x\" is not a number"),
        (&["m", "--max-step-ms", "x"], "--max-step-ms"),
        (&["m", "--cores", "1-0"], "list of cores"),
        (
            &["m", "--kv-cache-dtype", "fp8_e5m2"],
            "'fp8_e5m2' for '--kv-cache-dtype <TYPE>'\n  [possible values: auto, bfloat16, fp8, float32]",
        ),
        (&["m", "--gpu-memory-utilization", "2"], "(0, 1]"),
        (&["m", "--memory-budget", "1G", "--gpu-memory-utilization", "0.5"], "cannot be used with"),
        (&["m", "--model", "n"], "cannot be used with"),
        (&["--served-model-name", "a", "m"], "give MODEL before it"),
        (&["m", "--override-generation-config", "[]"], "not a JSON object"),
        (&["m", "--max-num-seq", "3"], "--max-num-seqs"),
        (&["m", "--no-such-flag"], "--no-such-flag"),
    ] {
        let message = refused(line);
        assert!(message.contains(part), "{line:?}: {message}");
    }
}

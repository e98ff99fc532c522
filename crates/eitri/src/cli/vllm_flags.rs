//! Flags of `vllm serve` that Eitri has no use for or does not support yet.
//!
//! They are accepted with a note where nothing that matters depends on them, and refused with the
//! reason where it does: a server that starts does what its flags say.

use clap::{Arg, ArgAction, ArgMatches, parser::ValueSource};

/// Values that a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    One,
    Many,
}

/// What becomes of a flag.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// Accepted; the note says why it has no effect.
    Neutral(&'static str),
    /// Accepted without a word with one of these values, else refused for this reason.
    Only(&'static [&'static str], &'static str),
    /// Refused for this reason.
    Refused(&'static str),
}

use Takes::{Many, Nothing, One};
use Verdict::{Neutral, Only, Refused};

const ONE_DEVICE: &str = "one process computes on one device";
const NO_TOOLS: &str = "tools are called by the client";
const NO_LORA: &str = "adapters are not supported yet";
const NO_TLS: &str = "TLS is not supported yet: put a proxy in front";
const NO_PYTHON: &str = "there is no Python to load it into";
const NO_TRACES: &str = "traces and events are not exported yet";
const NOT_COMPILED: &str = "nothing is compiled or captured at start";
const UNIFIED: &str = "there is one memory, nothing to offload to";
const CHUNKED: &str = "prompts are always cut into chunks that ride with other requests' tokens";
const NO_STRUCTURE: &str = "structured outputs are not supported yet; requests for them get a 400";
const CHECKPOINT: &str =
    "the checkpoint says how it is quantised, and nothing is quantised at load";
const HUB_VARIABLES: &str = "set HF_HUB_CACHE and HF_TOKEN in the environment instead";
const CONFIG_JSON: &str = "change config.json instead";
const NO_HEADER: &str = "this header is not sent yet";
const MULTIPROCESS: &str = "there is one process";
const LATER: &str = "it is not supported yet";

/// Each flag without its dashes. Those that take nothing have a `no-` form too.
const FLAGS: &[(&str, Takes, Verdict)] = &[
    ("allow-credentials", Nothing, Refused(LATER)),
    ("allowed-headers", One, Only(&["*", "[\"*\"]"], "all headers are allowed")),
    ("allowed-methods", One, Only(&["*", "[\"*\"]"], "all methods are allowed")),
    ("api-server-count", One, Only(&["1"], MULTIPROCESS)),
    ("async-scheduling", Nothing, Neutral("the engine has its own thread in any case")),
    ("attention-backend", One, Neutral("there is one")),
    ("calculate-kv-scales", Nothing, Neutral("scales come from the checkpoint or are 1")),
    ("chat-template-content-format", One, Neutral("it is found out from the template")),
    ("collect-detailed-traces", One, Refused(NO_TRACES)),
    ("compilation-config", One, Neutral(NOT_COMPILED)),
    ("config", One, Refused("give the flags on the command line")),
    ("cpu-offload-gb", One, Only(&["0", "0.0"], UNIFIED)),
    ("cudagraph-capture-sizes", Many, Neutral(NOT_COMPILED)),
    ("data-parallel-size", One, Only(&["1"], ONE_DEVICE)),
    ("device", One, Only(&["auto", "cpu"], "there is no CUDA code yet")),
    ("disable-fastapi-docs", Nothing, Neutral("there is no /docs")),
    ("disable-frontend-multiprocessing", Nothing, Neutral(MULTIPROCESS)),
    ("disable-log-requests", Nothing, Neutral("requests are not logged")),
    ("disable-uvicorn-access-log", Nothing, Neutral("requests are not logged")),
    ("distributed-executor-backend", One, Neutral(ONE_DEVICE)),
    ("download-dir", One, Refused(HUB_VARIABLES)),
    ("enable-auto-tool-choice", Nothing, Neutral("see --tool-call-parser")),
    ("enable-expert-parallel", Nothing, Neutral(ONE_DEVICE)),
    ("enable-log-outputs", Nothing, Refused(LATER)),
    ("enable-log-requests", Nothing, Refused("it is not supported yet; see --log-level debug")),
    ("enable-lora", Nothing, Refused(NO_LORA)),
    ("enable-offline-docs", Nothing, Refused("there is no /docs")),
    ("enable-per-request-metrics", Nothing, Refused(LATER)),
    ("enable-prompt-tokens-details", Nothing, Neutral("cached tokens are always reported")),
    ("enable-request-id-headers", Nothing, Refused(NO_HEADER)),
    ("enable-server-load-tracking", Nothing, Neutral("/load is always there")),
    ("enable-sleep-mode", Nothing, Refused(LATER)),
    ("enable-ssl-refresh", Nothing, Refused(NO_TLS)),
    ("enable-tokenizer-info-endpoint", Nothing, Refused(LATER)),
    ("enforce-eager", Nothing, Neutral(NOT_COMPILED)),
    ("guided-decoding-backend", One, Neutral(NO_STRUCTURE)),
    ("h11-max-header-count", One, Neutral("the HTTP stack is another one")),
    ("h11-max-incomplete-event-size", One, Neutral("the HTTP stack is another one")),
    ("headless", Nothing, Refused(ONE_DEVICE)),
    ("hf-overrides", One, Refused(CONFIG_JSON)),
    ("hf-token", One, Refused(HUB_VARIABLES)),
    ("io-processor-plugin", One, Refused(NO_PYTHON)),
    ("kv-events-config", One, Refused(NO_TRACES)),
    ("kv-offloading-size", One, Only(&["0", "0.0"], UNIFIED)),
    ("kv-transfer-config", One, Refused(ONE_DEVICE)),
    ("load-format", One, Only(&["auto", "safetensors", "gguf"], "these are the formats")),
    ("log-config-file", One, Neutral("logging is set with --log-level and EITRI_LOG")),
    ("logits-processors", Many, Refused(NO_PYTHON)),
    ("logprobs-mode", One, Only(&["raw_logprobs"], "they are of the raw logits")),
    ("lora-modules", Many, Refused(NO_LORA)),
    ("master-addr", One, Neutral(ONE_DEVICE)),
    ("master-port", One, Neutral(ONE_DEVICE)),
    ("max-cudagraph-capture-size", One, Neutral(NOT_COMPILED)),
    ("max-log-len", One, Neutral("requests are not logged")),
    ("max-long-partial-prefills", One, Neutral("any number of prompts may be in progress")),
    ("max-lora-rank", One, Neutral(NO_LORA)),
    ("max-loras", One, Neutral(NO_LORA)),
    ("max-num-active-seqs", One, Neutral("--max-num-seqs bounds them")),
    ("max-num-partial-prefills", One, Neutral("any number of prompts may be in progress")),
    ("max-num-queued-tokens", One, Refused("bound the queue with --max-num-queued-reqs")),
    ("max-num-scheduled-tokens", One, Neutral("--max-num-batched-tokens bounds them")),
    ("max-seq-len-to-capture", One, Neutral(NOT_COMPILED)),
    ("middleware", One, Refused(NO_PYTHON)),
    ("nnodes", One, Only(&["1"], ONE_DEVICE)),
    ("node-rank", One, Only(&["0"], ONE_DEVICE)),
    ("optimization-level", One, Neutral(NOT_COMPILED)),
    ("otlp-traces-endpoint", One, Refused(NO_TRACES)),
    ("performance-mode", One, Neutral(NOT_COMPILED)),
    ("pipeline-parallel-size", One, Only(&["1"], ONE_DEVICE)),
    ("prefix-caching-hash-algo", One, Neutral("hashes have 128 bits and a hit is compared")),
    ("quantization", One, Only(&["gguf"], CHECKPOINT)),
    ("response-role", One, Only(&["assistant"], "answers have the role assistant")),
    ("return-tokens-as-token-ids", Nothing, Refused("ask for `return_token_ids` in requests")),
    ("root-path", One, Refused(LATER)),
    ("rope-scaling", One, Refused(CONFIG_JSON)),
    ("rope-theta", One, Refused(CONFIG_JSON)),
    ("runner", One, Only(&["auto", "generate"], "models generate text")),
    ("scheduler-cls", One, Refused(NO_PYTHON)),
    ("scheduler-reserve-full-isl", Nothing, Neutral("blocks are taken chunk by chunk")),
    ("skip-tokenizer-init", Nothing, Refused("the server needs the tokenizer")),
    ("speculative-config", One, Refused("speculative decoding is not supported yet")),
    ("sse-keep-alive-interval", One, Only(&["0"], LATER)),
    ("ssl-ca-certs", One, Refused(NO_TLS)),
    ("ssl-cert-reqs", One, Refused(NO_TLS)),
    ("ssl-certfile", One, Refused(NO_TLS)),
    ("ssl-ciphers", One, Refused(NO_TLS)),
    ("ssl-keyfile", One, Refused(NO_TLS)),
    ("stream-interval", One, Only(&["1"], "every token is sent at once")),
    ("structured-outputs-config", One, Neutral(NO_STRUCTURE)),
    ("swap-space", One, Neutral("sequences that lose their blocks are computed again")),
    ("task", One, Only(&["auto", "generate"], "models generate text")),
    ("tensor-parallel-size", One, Only(&["1"], ONE_DEVICE)),
    ("tokenizer-mode", One, Only(&["auto", "hf"], "there is one kind of tokenizer")),
    ("tokenizer-revision", One, Neutral("the tokenizer lies beside the model")),
    ("tool-parser-plugin", One, Refused(NO_PYTHON)),
    ("tool-server", One, Refused(NO_TOOLS)),
    ("trust-remote-code", Nothing, Neutral("code that comes with a model is never run")),
    ("trust-request-chat-template", Nothing, Refused(LATER)),
    ("uds", One, Refused("Unix sockets are not supported yet: use --host and --port")),
    ("uvicorn-log-level", One, Neutral("logging is set with --log-level and EITRI_LOG")),
    ("watermark", One, Neutral("blocks are taken chunk by chunk")),
    ("worker-cls", One, Refused(NO_PYTHON)),
];

/// Switches whose two forms do not mean the same here.
const SWITCHES: &[(&str, Verdict)] = &[
    ("enable-chunked-prefill", Neutral(CHUNKED)),
    ("no-enable-chunked-prefill", Refused(CHUNKED)),
];

/// Abbreviations with one dash and several letters, or a letter and a number.
const SHORT: &[(&str, &str)] = &[
    ("-tp", "tensor-parallel-size"),
    ("-pp", "pipeline-parallel-size"),
    ("-dp", "data-parallel-size"),
    ("-cc", "compilation-config"),
    ("-sc", "speculative-config"),
    ("-q", "quantization"),
    ("-O", "compilation-config"),
];

/// The flags as hidden arguments.
pub(super) fn arguments() -> Vec<Arg> {
    let mut arguments = Vec::new();
    for &(name, takes, _) in FLAGS {
        let argument = Arg::new(name).long(name).hide(true);
        arguments.push(match takes {
            Nothing => argument.action(ArgAction::SetTrue),
            One => argument.action(ArgAction::Append).allow_hyphen_values(true),
            Many => argument.action(ArgAction::Append).num_args(1..),
        });
        if takes == Nothing {
            let negated = format!("no-{name}");
            arguments.push(
                Arg::new(negated.clone()).long(negated).hide(true).action(ArgAction::SetTrue),
            );
        }
    }
    for &(name, _) in SWITCHES {
        arguments.push(Arg::new(name).long(name).hide(true).action(ArgAction::SetTrue));
    }
    arguments
}

/// Notes on the accepted flags among `matches`, or why one is refused.
pub(super) fn judge(matches: &ArgMatches) -> Result<Vec<String>, String> {
    let given = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let mut notes = Vec::new();
    let flags = FLAGS.iter().map(|&(name, _, verdict)| (name, verdict));
    for (name, verdict) in flags.chain(SWITCHES.iter().copied()).filter(|(name, _)| given(name)) {
        match verdict {
            Neutral(why) => notes.push(format!("--{name} has no effect: {why}")),
            Refused(why) => return Err(format!("--{name} is not supported: {why}")),
            Only(values, why) => {
                let mut given = matches.get_many::<String>(name).into_iter().flatten();
                if let Some(value) = given.find(|value| !values.contains(&value.as_str())) {
                    let values = values.join(" or ");
                    return Err(format!("--{name} must be {values}, got {value}: {why}"));
                }
            }
        }
    }
    Ok(notes)
}

/// The long form of one of [`SHORT`], with its value where that is part of the word.
pub(super) fn long_form(argument: &str) -> Option<String> {
    SHORT.iter().find_map(|(short, long)| {
        let value = argument.strip_prefix(short)?;
        if value.is_empty() {
            return Some(format!("--{long}"));
        }
        let value = value.strip_prefix('=').unwrap_or(value);
        let number = value.starts_with(|c: char| c.is_ascii_digit());
        (number || argument.contains('=')).then(|| format!("--{long}={value}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_parts_agree() {
        assert!(FLAGS.is_sorted_by(|(a, ..), (b, ..)| a < b));
        for (name, takes, verdict) in FLAGS {
            assert!(!name.starts_with("no-"), "{name}");
            // A switch has no value that could be checked.
            assert!(!matches!(verdict, Only(..)) || *takes != Nothing, "{name}");
        }
        for (_, long) in SHORT {
            assert!(FLAGS.iter().any(|(name, ..)| name == long), "{long}");
        }
    }

    #[test]
    fn abbreviations() {
        for (word, expected) in [
            ("-tp", Some("--tensor-parallel-size")),
            ("-tp=2", Some("--tensor-parallel-size=2")),
            ("-tp2", Some("--tensor-parallel-size=2")),
            ("-O3", Some("--compilation-config=3")),
            ("-q", Some("--quantization")),
            ("-quiet", None),
            ("-h", None),
            ("--tp", None),
            ("x-tp", None),
        ] {
            assert_eq!(long_form(word).as_deref(), expected, "{word}");
        }
    }
}

use clap::Args;

use crate::BenchError;

/// Flags of `vllm bench serve` that have no meaning here: those that change nothing are noted, those
/// that would are refused.
#[derive(Debug, Clone, Default, Args)]
#[allow(missing_docs, reason = "hidden flags, explained where they are refused")]
pub struct RefusedArgs {
    #[arg(long, hide = true)]
    pub trust_remote_code: bool,
    #[arg(long, hide = true)]
    pub no_stream: bool,
    #[arg(long, hide = true)]
    pub use_beam_search: bool,
    #[arg(long, hide = true, value_parser = ["auto", "hf", "slow"])]
    pub tokenizer_mode: Option<String>,
    #[arg(long, hide = true)]
    pub profile: bool,
    #[arg(long, hide = true, num_args = 1..)]
    pub lora_modules: Vec<String>,
    #[arg(long, hide = true)]
    pub skip_tokenizer_init: bool,
    #[arg(long, hide = true)]
    pub plot_timeline: bool,
    #[arg(long, hide = true)]
    pub plot_dataset_stats: bool,
    #[arg(long, hide = true)]
    pub probe_request_rate: Option<f64>,
    #[arg(long, hide = true, overrides_with = "no_self_timed")]
    pub self_timed: bool,
    #[arg(long, hide = true)]
    pub no_self_timed: bool,
}

impl RefusedArgs {
    /// Refuses what cannot be honoured.
    pub(super) fn check(&self) -> Result<(), BenchError> {
        let refused = [
            (self.profile, "--profile", "profilers of servers are not started from here"),
            (!self.lora_modules.is_empty(), "--lora-modules", "adapters are not supported"),
            (
                self.skip_tokenizer_init,
                "--skip-tokenizer-init",
                "prompts are made of and counted in tokens",
            ),
            (self.plot_timeline, "--plot-timeline", "`eitri bench` draws its reports on its own"),
            (
                self.plot_dataset_stats,
                "--plot-dataset-stats",
                "`eitri bench` draws its reports on its own",
            ),
            (
                self.probe_request_rate.is_some_and(|rate| rate > 0.0),
                "--probe-request-rate",
                "probes beside the run are not supported",
            ),
            (self.self_timed, "--self-timed", "traces with times are not supported"),
        ];
        match refused.into_iter().find(|(given, ..)| *given) {
            Some((_, flag, message)) => Err(BenchError::flag(flag, message)),
            None => Ok(()),
        }
    }

    /// Names the flags that were given and change nothing.
    pub(super) fn notes(&self) -> Vec<String> {
        let neutral = [
            (self.trust_remote_code, "--trust-remote-code", "no code comes with a tokenizer"),
            (self.no_stream, "--no-stream", "files are read as a whole"),
            (self.use_beam_search, "--use-beam-search", "vLLM's client ignores it, too"),
            (self.tokenizer_mode.is_some(), "--tokenizer-mode", "there is one kind of tokenizer"),
        ];
        let given = neutral.into_iter().filter(|(given, ..)| *given);
        given.map(|(_, flag, why)| format!("{flag} has no effect: {why}")).collect()
    }
}

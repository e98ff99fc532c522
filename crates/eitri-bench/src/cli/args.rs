use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Backend, DataArgs, RefusedArgs, names};
use crate::{Compat, outcome::RampUpStrategy};

/// Flags of `eitri bench serve`; their help texts are the documentation.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Which release of `vllm bench serve` is reproduced: its prompts, requests, metrics and files
    #[arg(long, value_enum, default_value = "vllm-0.10", value_name = "RELEASE")]
    pub compat: Compat,

    /// Make the prompts, print how many tokens they have and their SHA-256, and send nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Exit with status 1 if any request failed; without it, only if all did
    #[arg(long)]
    pub fail_on_error: bool,

    /// Who speaks: vllm and openai send completions, openai-chat chats, openai-responses responses
    /// [default: vllm, and openai from vllm-0.11 on]
    #[arg(long, value_enum, help_heading = "Server")]
    pub backend: Option<Backend>,

    /// What decides over the API with vllm-0.10, and another name of --backend later
    /// [default: openai]
    #[arg(long, value_enum, value_name = "BACKEND", help_heading = "Server")]
    pub endpoint_type: Option<Backend>,

    /// Address of the server, with a path where its API does not lie at the top
    #[arg(long, value_name = "URL", conflicts_with_all = ["host", "port"], help_heading = "Server")]
    pub base_url: Option<String>,

    /// Host of the server
    #[arg(long, default_value = "127.0.0.1", help_heading = "Server")]
    pub host: String,

    /// Port of the server
    #[arg(long, default_value_t = 8000, help_heading = "Server")]
    pub port: u16,

    /// Take any certificate of an https server
    #[arg(long, help_heading = "Server")]
    pub insecure: bool,

    /// Path of the API [default: /v1/completions, or that of the backend]
    #[arg(long, value_name = "PATH", help_heading = "Server")]
    pub endpoint: Option<String>,

    /// Name of the model [default: the first that the server lists]
    #[arg(long, help_heading = "Server")]
    pub model: Option<String>,

    /// Name of the model in requests, where it is another
    #[arg(long, value_name = "NAME", help_heading = "Server")]
    pub served_model_name: Option<String>,

    /// Directory with tokenizer.json, or a model's file or name [default: --model, where it is a directory]
    #[arg(long, value_name = "DIR", help_heading = "Server")]
    pub tokenizer: Option<PathBuf>,

    /// More headers of requests; the key of `OPENAI_API_KEY` is sent in any case
    #[arg(long, value_name = "KEY=VALUE", num_args = 0.., value_parser = names::key_value)]
    #[arg(help_heading = "Server")]
    pub header: Vec<(String, String)>,

    /// Start of the header x-request-id, before the number of the request
    /// [default: none with vllm-0.10, benchmark-serving with 0.11, bench-SEED- later]
    #[arg(long, value_name = "TEXT", help_heading = "Server")]
    pub request_id_prefix: Option<String>,

    /// How long the first prompt is tried before the run, so that a server can start; 0 skips it
    /// [default: 600, and 0 with vllm-0.32]
    #[arg(long, value_name = "SECONDS", help_heading = "Server")]
    pub ready_check_timeout_sec: Option<u64>,

    /// A request fails when nothing comes for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 600, help_heading = "Server")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub stall_timeout_sec: u64,

    /// A request fails when it takes longer
    #[arg(long, value_name = "SECONDS", default_value_t = 21600, help_heading = "Server")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub request_timeout_sec: u64,

    #[command(flatten)]
    pub(crate) data: DataArgs,

    /// Requests per second; inf sends all at once
    #[arg(long, value_name = "RATE", default_value = "inf", value_parser = names::rate)]
    #[arg(help_heading = "Traffic")]
    pub request_rate: f64,

    /// How regular the gaps are: 1 a Poisson process, below more bursty, above more regular
    #[arg(long, value_name = "SHAPE", default_value = "1.0", value_parser = names::rate)]
    #[arg(help_heading = "Traffic")]
    pub burstiness: f64,

    /// Most requests at once; a request is timed from when its turn comes [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Traffic")]
    pub max_concurrency: Option<u32>,

    /// Let the rate grow from the first request to the last
    #[arg(long, value_enum, value_name = "STRATEGY", help_heading = "Traffic")]
    #[arg(requires_all = ["ramp_up_start_rps", "ramp_up_end_rps"])]
    pub ramp_up_strategy: Option<RampUpStrategy>,

    /// Requests per second at the start
    #[arg(long, value_name = "RATE", requires = "ramp_up_strategy", help_heading = "Traffic")]
    pub ramp_up_start_rps: Option<u32>,

    /// Requests per second at the end
    #[arg(long, value_name = "RATE", requires = "ramp_up_strategy", help_heading = "Traffic")]
    pub ramp_up_end_rps: Option<u32>,

    /// Send the first prompt this often before the run
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Traffic")]
    pub num_warmups: usize,

    /// Generate on after an end token [always with vllm-0.32 and random prompts]
    #[arg(long, help_heading = "Sampling")]
    pub ignore_eos: bool,

    /// Temperature [default: 0, and the server's with vllm-0.32]
    #[arg(long, value_name = "T", help_heading = "Sampling")]
    pub temperature: Option<f64>,

    /// Sent as `top_p`
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    pub top_p: Option<f64>,

    /// Sent as `top_k`
    #[arg(long, value_name = "K", allow_hyphen_values = true, help_heading = "Sampling")]
    pub top_k: Option<i64>,

    /// Sent as `min_p`
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    pub min_p: Option<f64>,

    /// Sent as `frequency_penalty`
    #[arg(long, value_name = "X", allow_hyphen_values = true, help_heading = "Sampling")]
    pub frequency_penalty: Option<f64>,

    /// Sent as `presence_penalty`
    #[arg(long, value_name = "X", allow_hyphen_values = true, help_heading = "Sampling")]
    pub presence_penalty: Option<f64>,

    /// Sent as `repetition_penalty`
    #[arg(long, value_name = "X", help_heading = "Sampling")]
    pub repetition_penalty: Option<f64>,

    /// Sent as logprobs, with completions
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    pub logprobs: Option<u32>,

    /// More fields of requests, a JSON object
    #[arg(long, value_name = "JSON", help_heading = "Sampling")]
    pub extra_body: Option<String>,

    /// Metrics that are reported, of ttft, tpot, itl, e2el, and with vllm-0.32 `client_queue_time`,
    /// `e2el_including_client_queue`
    #[arg(long, value_name = "LIST", default_value = "ttft,tpot,itl", help_heading = "Report")]
    pub percentile_metrics: String,

    /// Percentiles that are reported
    #[arg(long, value_name = "LIST", default_value = "99", help_heading = "Report")]
    pub metric_percentiles: String,

    /// Count requests that meet all of these: ttft:MS, tpot:MS, e2el:MS
    #[arg(long, value_name = "METRIC:MS", num_args = 1.., help_heading = "Report")]
    pub goodput: Vec<String>,

    /// Write the result to a JSON file
    #[arg(long, help_heading = "Report")]
    pub save_result: bool,

    /// With --save-result: also what belongs to single requests
    #[arg(long, help_heading = "Report")]
    pub save_detailed: bool,

    /// Add the result to the file as another line
    #[arg(long, help_heading = "Report")]
    pub append_result: bool,

    /// More fields of the file
    #[arg(long, value_name = "KEY=VALUE", num_args = 0.., help_heading = "Report")]
    pub metadata: Vec<String>,

    /// Directory of the file
    #[arg(long, value_name = "DIR", help_heading = "Report")]
    pub result_dir: Option<PathBuf>,

    /// Name of the file [default: made of label, rate, concurrency, model and time]
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub result_filename: Option<PathBuf>,

    /// Start of the name of the file [default: the backend]
    #[arg(long, value_name = "TEXT", help_heading = "Report")]
    pub label: Option<String>,

    /// Show no progress bar
    #[arg(long, help_heading = "Report")]
    pub disable_tqdm: bool,

    #[command(flatten)]
    pub(crate) refused: RefusedArgs,
}

impl ValueEnum for Compat {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

impl ValueEnum for RampUpStrategy {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Linear, Self::Exponential]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

//! Flags of `eitri bench here`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::quantity::parse_count;

#[derive(Debug, Args)]
pub(crate) struct HereArgs {
    /// Models: GGUF files, directories, or names as for `eitri serve`
    #[arg(value_name = "MODEL", required = true)]
    pub(crate) models: Vec<PathBuf>,

    /// Where results are kept and tables are written; what is there already is not measured again
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    pub(crate) out: PathBuf,

    /// Measure another server beside: its command, in which {model} and {port} are replaced, such as
    /// 'llama-server -m {model} --port {port} --parallel 8 -c 8192'
    #[arg(long, value_name = "COMMAND")]
    pub(crate) beside: Option<String>,

    /// What the other server is called in tables [default: the name of its program]
    #[arg(long, value_name = "NAME", requires = "beside")]
    pub(crate) beside_name: Option<String>,

    /// Tokens of each prompt
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "512")]
    pub(crate) input_len: usize,

    /// Tokens generated for each
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "64")]
    pub(crate) output_len: usize,

    /// Clients of the high load
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "8")]
    pub(crate) max_concurrency: usize,

    /// Requests of the high load
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "24")]
    pub(crate) num_prompts: usize,

    /// Requests of each low load
    #[arg(long, value_name = "N", value_parser = parse_count, default_value = "4")]
    pub(crate) num_prompts_low: usize,

    /// Further flags of `eitri serve`, such as `--threads 4`
    #[arg(last = true, value_name = "SERVE FLAGS")]
    pub(crate) serve_flags: Vec<String>,
}

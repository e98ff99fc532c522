use std::path::PathBuf;

use eitri_bench::cli::ServeArgs;

#[derive(Debug, clap::Args)]
pub(crate) struct BenchServeArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,

    /// Write all that was measured to a JSON file, for other commands of `eitri bench`
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) save_records: Option<PathBuf>,
}

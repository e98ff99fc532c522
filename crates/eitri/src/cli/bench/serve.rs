use std::path::PathBuf;

use eitri_bench::{
    cli::ServeArgs,
    report::{Device, Limits},
};

#[derive(Debug, clap::Args)]
pub(crate) struct BenchServeArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,

    /// Write all that was measured to a JSON file, for other commands of `eitri bench`
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) save_records: Option<PathBuf>,

    /// What the server serves: a published checkpoint (`eitri inspect --config list`), a directory or a
    /// .gguf file. Its bytes are stated beside the result
    #[arg(long, value_name = "NAME|MODEL", requires = "floor_on", help_heading = "Report")]
    pub(crate) floor_of: Option<PathBuf>,

    /// Memory bandwidth of the server's device in GB/s, or `thor`: the time that these bytes need
    #[arg(long, value_name = "N|thor", value_parser = parse_device, help_heading = "Report")]
    #[arg(requires = "floor_of")]
    pub(crate) floor_on: Option<Device>,
}

fn parse_device(text: &str) -> Result<Device, String> {
    if text.eq_ignore_ascii_case("thor") {
        return Ok(Device::jetson_thor());
    }
    match text.parse::<f64>() {
        Ok(gbps) if gbps.is_finite() && gbps > 0.0 => Ok(Device {
            name: "the server's device".to_owned(),
            nominal: Some(Limits { gbps, teraflops: None }),
            practical: None,
            cache_bytes: 0,
            source: "--floor-on".to_owned(),
        }),
        _ => Err("must be a number above 0, or thor".to_owned()),
    }
}

//! Flags of `eitri inspect`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use eitri::PlainType;

use super::EngineArgs;

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    /// A published checkpoint whose configuration is part of the program, without its weights;
    /// `list` prints the names
    #[arg(long, value_name = "NAME|list", conflicts_with_all = ["model", "model_flag", "dequantize"])]
    pub(crate) config: Option<String>,

    /// Memory bandwidth in GB/s (10^9 bytes) for the least time of a step, or `thor`: 273 by the
    /// data sheet of Jetson Thor and 243 as others measured there
    #[arg(long, value_name = "N|thor", value_parser = parse_bandwidths)]
    pub(crate) bandwidth_gbps: Option<Bandwidths>,

    /// Write the values of a safetensors or GGUF file, or of a directory of them, as plain tensors
    /// under the names that an unquantised checkpoint has; it need not be a whole model
    #[arg(long, value_name = "IN", requires = "out", conflicts_with_all = ["model", "model_flag"])]
    pub(crate) dequantize: Option<PathBuf>,

    /// The file to write; an existing one is replaced
    #[arg(long, value_name = "OUT.safetensors", requires = "dequantize")]
    pub(crate) out: Option<PathBuf>,

    /// Type of the floats in it
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Dtype::F32)]
    #[arg(requires = "dequantize")]
    dtype: Dtype,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
}

impl InspectArgs {
    pub(crate) fn plain_type(&self) -> PlainType {
        match self.dtype {
            Dtype::F32 => PlainType::F32,
            Dtype::Bf16 => PlainType::Bf16,
        }
    }

    pub(crate) fn bandwidths(&self) -> &[Bandwidth] {
        self.bandwidth_gbps.as_ref().map_or(&[], |bandwidths| &bandwidths.0)
    }
}

/// Bytes per second that a memory gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bandwidth {
    /// 10^9 bytes per second.
    pub(crate) gbps: f64,
    /// What kind of figure it is, or empty.
    pub(crate) kind: &'static str,
}

/// One, or several of the same machine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bandwidths(Vec<Bandwidth>);

fn parse_bandwidths(text: &str) -> Result<Bandwidths, String> {
    if text.eq_ignore_ascii_case("thor") {
        return Ok(Bandwidths(vec![
            Bandwidth { gbps: 273.0, kind: "nominal" },
            Bandwidth { gbps: 243.0, kind: "practical" },
        ]));
    }
    match text.parse::<f64>() {
        Ok(gbps) if gbps.is_finite() && gbps > 0.0 => {
            Ok(Bandwidths(vec![Bandwidth { gbps, kind: "" }]))
        }
        _ => Err("must be a number above 0, or thor".to_owned()),
    }
}

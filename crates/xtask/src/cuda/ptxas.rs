//! What `ptxas -v` says about the resources of each kernel.

use anyhow::{Context, Result, ensure};

/// Resources of one entry function after register allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resources {
    pub(super) kernel: String,
    /// Registers of a thread.
    pub(super) registers: u32,
    /// Statically declared shared memory, bytes.
    pub(super) shared_bytes: u32,
    /// Local memory of a thread, bytes.
    pub(super) stack_bytes: u32,
    pub(super) spill_store_bytes: u32,
    pub(super) spill_load_bytes: u32,
}

/// Reads the messages of one run of `ptxas -v`; other lines are ignored.
pub(super) fn parse(messages: &str) -> Result<Vec<Resources>> {
    let mut kernels: Vec<Resources> = Vec::new();
    let mut complete = 0;
    for line in messages.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let (kernel, _) = rest.split_once('\'').context("ptxas names no entry function")?;
            kernels.push(Resources { kernel: kernel.to_owned(), ..Resources::default() });
        } else if line.contains("bytes spill stores") {
            // Device functions that were not inlined have such a line as well, after the entry's.
            let kernel = kernels.last_mut().context("ptxas names properties before a kernel")?;
            kernel.stack_bytes = kernel.stack_bytes.max(number_before(line, "bytes stack frame")?);
            kernel.spill_store_bytes += number_before(line, "bytes spill stores")?;
            kernel.spill_load_bytes += number_before(line, "bytes spill loads")?;
        } else if line.contains(": Used ") && line.contains("registers") {
            let kernel = kernels.last_mut().context("ptxas names registers before a kernel")?;
            kernel.registers = number_before(line, "registers")?;
            if line.contains("bytes smem") {
                kernel.shared_bytes = number_before(line, "bytes smem")?;
            }
            complete += 1;
        }
    }
    ensure!(
        complete == kernels.len(),
        "ptxas named {} kernels but the registers of {complete}; was it called with -v?",
        kernels.len()
    );
    Ok(kernels)
}

/// The number that stands before `unit` in a line.
fn number_before(line: &str, unit: &str) -> Result<u32> {
    line.split_once(unit)
        .and_then(|(before, _)| before.split_whitespace().last())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("ptxas gives no number of {unit:?} in {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by ptxas 13.0.88 for two kernels of one file.
    const PRINTED: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'self_test_block_sum_u32' for 'sm_110a'
ptxas info    : Function properties for self_test_block_sum_u32
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 14 registers, used 1 barriers, 1024 bytes smem
ptxas info    : Compile time = 19.900 ms
ptxas info    : Compiling entry function 'spills' for 'sm_110a'
ptxas info    : Function properties for spills
    448 bytes stack frame, 516 bytes spill stores, 584 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 448 bytes cumulative stack size
ptxas info    : Compile time = 41.435 ms
";

    #[test]
    fn each_kernel_has_its_resources() {
        let expected = [
            Resources {
                kernel: "self_test_block_sum_u32".to_owned(),
                registers: 14,
                shared_bytes: 1024,
                ..Resources::default()
            },
            Resources {
                kernel: "spills".to_owned(),
                registers: 40,
                stack_bytes: 448,
                spill_store_bytes: 516,
                spill_load_bytes: 584,
                ..Resources::default()
            },
        ];
        assert_eq!(parse(PRINTED).unwrap(), expected);
    }

    #[test]
    fn a_report_that_is_cut_short_is_an_error() {
        let (cut, _) = PRINTED.split_once("ptxas info    : Used 40").unwrap();
        assert!(parse(cut).unwrap_err().to_string().contains("registers of 1"));
        assert!(parse("ptxas info    : Used 14 registers").is_err());
        let garbled = PRINTED.replace("Used 14 registers", "Used many registers");
        assert!(parse(&garbled).unwrap_err().to_string().contains("many"));
    }
}

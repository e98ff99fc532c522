//! Registers of kernels, which PTX does not tell: from the table that `cargo xtask cuda` writes.

use std::{collections::HashMap, fs, path::Path};

/// Registers of a thread by kernel.
#[derive(Debug, Default)]
pub(crate) struct Resources(HashMap<String, u32>);

impl Resources {
    /// Reads lines of kernel, registers and shared bytes with tabs between; none without a file.
    pub(crate) fn read(file: Option<&Path>) -> Result<Self, String> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(&text).ok_or_else(|| {
            format!("{}: not lines of kernel, registers and shared bytes", file.display())
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut registers = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split('\t');
            registers.insert(fields.next()?.to_owned(), fields.next()?.parse().ok()?);
        }
        Some(Self(registers))
    }

    pub(crate) fn registers(&self, kernel: &str) -> Option<u32> {
        self.0.get(kernel).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gives_registers_and_a_damaged_one_nothing() {
        let table = Resources::parse("add\t18\t0\nsum\t14\t1024\n").unwrap();
        assert_eq!(table.registers("sum"), Some(14));
        assert_eq!(table.registers("other"), None);
        assert!(Resources::parse("add 18 0\n").is_none());
        assert!(Resources::parse("add\tmany\t0\n").is_none());
    }
}

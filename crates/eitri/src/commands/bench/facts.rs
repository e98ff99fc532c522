//! Byte counts of models for the reports, and limits of this machine.

use std::path::Path;

use eitri::{Engine, Error, KvDtype, ModelInfo, Published, ReadShare, WeightPlanRow};
use eitri_bench::report::{Device, ExpertBytes, Machine, ModelBytes};
use eitri_kernels::{Context, ContextConfig, KernelError, measure::Peaks};

/// Sizes of a model as it lies in memory here.
pub(super) fn in_memory(info: &ModelInfo, kv_dtype: KvDtype) -> ModelBytes {
    count(info, kv_dtype, |row| row.memory_bytes)
}

/// Sizes of a model as it lies in its files.
pub(super) fn stored(info: &ModelInfo, kv_dtype: KvDtype) -> ModelBytes {
    count(info, kv_dtype, |row| row.file_bytes)
}

/// Sizes of a published checkpoint by its name, or of a model's files, keys and values in bf16.
pub(super) fn of_files(model: &Path) -> Result<ModelBytes, Error> {
    let published = model.to_str().and_then(Published::find);
    let info = match published {
        Some(published) => ModelInfo::of_published(published)?,
        None => Engine::builder().model(model).plan()?.model_info().clone(),
    };
    Ok(stored(&info, KvDtype::Bf16))
}

fn count(info: &ModelInfo, kv_dtype: KvDtype, bytes: fn(&WeightPlanRow) -> u64) -> ModelBytes {
    let mut counted = ModelBytes {
        always: 0,
        experts: None,
        kv_per_token: info.kv_bytes_per_token(kv_dtype),
        multiply_adds_per_token: 0,
        attention_width: (info.config.layers * info.config.heads * info.config.head_dim) as u64,
    };
    for row in &info.weights.rows {
        let used = match row.share {
            ReadShare::All => {
                counted.always += bytes(row);
                1
            }
            ReadShare::Rows => continue,
            ReadShare::Experts(per_token) => {
                let none = ExpertBytes { total: 0, count: row.experts, per_token };
                counted.experts.get_or_insert(none).total += bytes(row);
                per_token
            }
        };
        if row.kind != "output" {
            counted.multiply_adds_per_token += (row.n * row.k * row.count * used) as u64;
        }
    }
    counted
}

/// This machine, with the read bandwidth that `threads` threads have on it right now.
pub(super) fn this_device(threads: usize) -> Result<(Machine, Device), KernelError> {
    let machine = Machine::this();
    let ctx = Context::new(&ContextConfig { threads, ..ContextConfig::default() })?;
    let peaks = Peaks::measure(ctx.pool())?;
    let name = machine.name.clone().unwrap_or_else(|| "this machine".to_owned());
    let device = Device::measured(name, peaks.read, machine.cache_bytes.unwrap_or_default());
    Ok((machine, device))
}

#[cfg(test)]
mod tests {
    use eitri::PUBLISHED;
    use serde_json::Value;

    use super::*;

    /// The tests of `eitri-bench` judge the published tables by these numbers.
    #[test]
    fn byte_counts_of_published_checkpoints_are_those_that_the_reports_are_tested_with() {
        let known = include_str!("../../../../eitri-bench/tests/byte-counts.json");
        let known: Vec<Value> = serde_json::from_str(known).unwrap();
        assert_eq!(known.len(), PUBLISHED.len());
        for (published, mut known) in PUBLISHED.iter().zip(known) {
            let info = ModelInfo::of_published(published).unwrap();
            assert_eq!(known["model"], published.name);
            known.as_object_mut().unwrap().remove("model");
            let counted = serde_json::to_value(stored(&info, KvDtype::Bf16)).unwrap();
            assert_eq!(counted, known, "{}", published.name);
        }
    }

    #[test]
    fn steps_of_both_counts_are_those_of_inspect() {
        use eitri_bench::report::Routing;
        for published in &PUBLISHED {
            let info = ModelInfo::of_published(published).unwrap();
            for batch in [1, 8] {
                let even = |bytes: ModelBytes| bytes.weights(batch, Routing::Even);
                let near = |ours: f64, theirs: u64| (ours / theirs as f64 - 1.0).abs() < 1e-6;
                let weights = &info.weights;
                assert!(near(even(in_memory(&info, KvDtype::Bf16)), weights.bytes_per_step(batch)));
                assert!(near(
                    even(stored(&info, KvDtype::Bf16)),
                    weights.file_bytes_per_step(batch)
                ));
            }
        }
    }
}

//! Scales of an FP8 KV memory.

use crate::KernelError;

/// What the numbers of an FP8 KV memory are multiplied by: one scale for the keys and one for the
/// values of each KV head. A key is stored as the E4M3 number nearest to `key / scale`; what is
/// beyond 448 becomes 448, and NaN stays NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct KvScales {
    /// Of the keys of each KV head.
    pub keys: Vec<f32>,
    /// Of the values of each KV head.
    pub values: Vec<f32>,
}

impl KvScales {
    /// Scales of 1.
    pub fn ones(kv_heads: usize) -> Self {
        Self { keys: vec![1.0; kv_heads], values: vec![1.0; kv_heads] }
    }

    /// Fails unless there is one positive finite scale for each head.
    pub(super) fn check(&self, kv_heads: usize) -> Result<(), KernelError> {
        for (what, scales) in [("scales of keys", &self.keys), ("scales of values", &self.values)] {
            let positive = scales.iter().all(|&scale| scale > 0.0 && scale.is_finite());
            if scales.len() != kv_heads || !positive {
                return Err(KernelError::Shape {
                    op: "kv layer",
                    what,
                    expected: format!("{kv_heads} positive finite numbers"),
                    got: format!("{scales:?}"),
                });
            }
        }
        Ok(())
    }
}

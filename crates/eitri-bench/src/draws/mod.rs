//! Random numbers as Python and NumPy draw them, bit for bit, so that a seed means the same prompts
//! and arrivals here as in vLLM's client.

mod mt19937;
mod numpy_generator;
mod numpy_legacy;
mod python;

pub use numpy_generator::Generator;
pub use numpy_legacy::RandomState;
pub use python::PythonRandom;

/// The two global generators that vLLM's client seeds when it starts. What a data set draws from
/// them moves the arrival times that are drawn afterwards.
#[derive(Debug, Clone)]
pub struct GlobalDraws {
    /// `numpy.random`.
    pub numpy: RandomState,
    /// `random`.
    pub python: PythonRandom,
}

impl GlobalDraws {
    /// Both seeded with `seed`. NumPy's takes 32 bits; it refuses more, which the command line
    /// does before this.
    pub fn new(seed: u32) -> Self {
        Self { numpy: RandomState::new(seed), python: PythonRandom::new(seed.into()) }
    }
}

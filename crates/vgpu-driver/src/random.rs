//! The part of cuRAND that candle uses: uniform and normal numbers.
//!
//! The numbers are not those of cuRAND's generators; the same seed and offset give the same ones.

#![allow(non_snake_case, reason = "the names are those of curand.h")]

use std::{ffi::c_int, sync::Arc};

use vgpu::{Gpu, MemoryError};

use crate::{
    pointer::Out,
    queue::Random,
    state::{self, State},
    status::Status,
    work::{Routine, Work},
};

/// `curandStatus_t` other than success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RandomStatus {
    NotInitialized = 101,
    Type = 103,
    OutOfRange = 104,
    LengthNotMultiple = 105,
    LaunchFailure = 201,
    PreexistingFailure = 202,
}

type Result<T> = std::result::Result<T, RandomStatus>;

/// What a generator remembers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Generator {
    seed: u64,
    /// Numbers drawn so far.
    offset: u64,
    stream: usize,
}

/// A distribution with its parameters.
#[derive(Clone, Copy, Debug)]
enum Distribution {
    Bits32,
    /// In (0, 1].
    Uniform,
    Normal {
        mean: f64,
        deviation: f64,
    },
    LogNormal {
        mean: f64,
        deviation: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Single,
    Double,
}

/// Numbers to be written at an address.
struct Fill {
    generator: Generator,
    distribution: Distribution,
    width: Width,
    address: u64,
    count: usize,
}

impl Routine for Fill {
    fn name(&self) -> &'static str {
        "cuRAND generate"
    }

    fn run(&self, gpu: &Gpu) -> std::result::Result<(), MemoryError> {
        gpu.memory().write(self.address, &self.bytes())
    }
}

impl Fill {
    fn bytes(&self) -> Vec<u8> {
        let mut source = Source::new(self.generator);
        let mut bytes = Vec::with_capacity(8 * self.count);
        let mut second = None;
        for _ in 0..self.count {
            let mut normal = || {
                second.take().unwrap_or_else(|| {
                    let (first, other) = source.normals();
                    second = Some(other);
                    first
                })
            };
            let value = match self.distribution {
                Distribution::Bits32 => {
                    bytes.extend((source.bits() as u32).to_le_bytes());
                    continue;
                }
                Distribution::Uniform => source.uniform(self.width),
                Distribution::Normal { mean, deviation } => mean + deviation * normal(),
                Distribution::LogNormal { mean, deviation } => (mean + deviation * normal()).exp(),
            };
            match self.width {
                Width::Single => bytes.extend((value as f32).to_le_bytes()),
                Width::Double => bytes.extend(value.to_le_bytes()),
            }
        }
        bytes
    }
}

/// The numbers of a generator from its offset on.
struct Source(Random);

impl Source {
    fn new(generator: Generator) -> Self {
        // The seed is scattered first: neighbouring seeds must not give neighbouring states.
        let scattered = Random::new(generator.seed).next();
        Self(Random::new(Random::new(scattered ^ generator.offset).next()))
    }

    fn bits(&mut self) -> u64 {
        self.0.next() >> 32
    }

    fn uniform(&mut self, width: Width) -> f64 {
        let bits = match width {
            Width::Single => 24,
            Width::Double => 53,
        };
        let whole = self.0.next() >> (64 - bits);
        (whole + 1) as f64 / (1_u64 << bits) as f64
    }

    /// Two normal numbers (Box and Muller, 1958).
    fn normals(&mut self) -> (f64, f64) {
        let radius = (-2.0 * self.uniform(Width::Double).ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.uniform(Width::Double)).sin_cos();
        (radius * cosine, radius * sine)
    }
}

fn call(name: &'static str, body: impl FnOnce(&mut State, usize) -> Result<()>) -> c_int {
    match state::in_context(name, |state, context| Ok(body(state, context))) {
        Ok(Ok(())) => 0,
        Ok(Err(status)) => status as c_int,
        Err(Status::NotInitialized | Status::InvalidContext) => {
            RandomStatus::NotInitialized as c_int
        }
        Err(_) => RandomStatus::PreexistingFailure as c_int,
    }
}

fn generator_of(state: &mut State, handle: usize) -> Result<&mut Generator> {
    state.generators.get_mut(&handle).ok_or(RandomStatus::NotInitialized)
}

fn generate(
    name: &'static str,
    handle: usize,
    distribution: Distribution,
    width: Width,
    (address, count): (u64, usize),
) -> c_int {
    call(name, |state, context| {
        let pairs =
            matches!(distribution, Distribution::Normal { .. } | Distribution::LogNormal { .. });
        if pairs && !count.is_multiple_of(2) {
            return Err(RandomStatus::LengthNotMultiple);
        }
        if count == 0 {
            return Ok(());
        }
        let size = if width == Width::Double { 8 } else { 4 };
        state
            .check_range(name, address, size * count as u64)
            .map_err(|_| RandomStatus::LaunchFailure)?;
        let generator = *generator_of(state, handle)?;
        generator_of(state, handle)?.offset += count as u64;
        let fill = Fill { generator, distribution, width, address, count };
        state
            .submit(context, generator.stream, Work::Library(Arc::new(fill)))
            .map_err(|_| RandomStatus::LaunchFailure)
    })
}

/// Kinds of pseudo-random generators (`curandRngType`): the default and `XORWOW` to `PHILOX4`.
const PSEUDO: std::ops::RangeInclusive<c_int> = 100..=161;

#[unsafe(no_mangle)]
extern "C" fn curandCreateGenerator(generator: Out<usize>, kind: c_int) -> c_int {
    call("curandCreateGenerator", |state, _| {
        if !PSEUDO.contains(&kind) {
            return Err(RandomStatus::Type);
        }
        let handle = state.new_handle();
        state.generators.insert(handle, Generator::default());
        generator.set(handle).map_err(|_| RandomStatus::OutOfRange)
    })
}

#[unsafe(no_mangle)]
extern "C" fn curandDestroyGenerator(generator: usize) -> c_int {
    call("curandDestroyGenerator", |state, _| {
        state.generators.remove(&generator).map(|_| ()).ok_or(RandomStatus::NotInitialized)
    })
}

#[unsafe(no_mangle)]
extern "C" fn curandSetStream(generator: usize, stream: usize) -> c_int {
    call("curandSetStream", |state, context| {
        state.resolve(context, stream).map_err(|_| RandomStatus::OutOfRange)?;
        generator_of(state, generator)?.stream = stream;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn curandSetPseudoRandomGeneratorSeed(generator: usize, seed: u64) -> c_int {
    call("curandSetPseudoRandomGeneratorSeed", |state, _| {
        let generator = generator_of(state, generator)?;
        generator.seed = seed;
        generator.offset = 0;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn curandSetGeneratorOffset(generator: usize, offset: u64) -> c_int {
    call("curandSetGeneratorOffset", |state, _| {
        generator_of(state, generator)?.offset = offset;
        Ok(())
    })
}

/// Functions that draw numbers of one width, with the parameters of their distribution if it has
/// some.
macro_rules! draws {
    ($($name:ident: $width:ident, $distribution:ident $(($($parameter:ident: $kind:ty),*))?;)*) => { $(
        #[unsafe(no_mangle)]
        extern "C" fn $name(generator: usize, to: u64, count: usize $($(, $parameter: $kind)*)?) -> c_int {
            let distribution =
                Distribution::$distribution $({ $($parameter: f64::from($parameter)),* })?;
            generate(stringify!($name), generator, distribution, Width::$width, (to, count))
        }
    )* };
}

draws! {
    curandGenerate: Single, Bits32;
    curandGenerateUniform: Single, Uniform;
    curandGenerateUniformDouble: Double, Uniform;
    curandGenerateNormal: Single, Normal(mean: f32, deviation: f32);
    curandGenerateNormalDouble: Double, Normal(mean: f64, deviation: f64);
    curandGenerateLogNormal: Single, LogNormal(mean: f32, deviation: f32);
    curandGenerateLogNormalDouble: Double, LogNormal(mean: f64, deviation: f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(seed: u64, offset: u64, distribution: Distribution, count: usize) -> Vec<f64> {
        let generator = Generator { seed, offset, stream: 0 };
        let fill = Fill { generator, distribution, width: Width::Double, address: 0, count };
        let bytes = fill.bytes();
        bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn uniform_numbers_are_in_range_with_the_moments_of_the_distribution() {
        let numbers = fill(7, 0, Distribution::Uniform, 40_000);
        assert!(numbers.iter().all(|x| *x > 0.0 && *x <= 1.0));
        let (mean, variance) = moments(&numbers);
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!((variance - 1.0 / 12.0).abs() < 0.003, "{variance}");
    }

    #[test]
    fn normal_numbers_have_their_mean_and_deviation() {
        let normal = Distribution::Normal { mean: 3.0, deviation: 2.0 };
        let (mean, variance) = moments(&fill(7, 0, normal, 40_000));
        assert!((mean - 3.0).abs() < 0.05, "{mean}");
        assert!((variance - 4.0).abs() < 0.15, "{variance}");
    }

    #[test]
    fn seeds_and_offsets_give_their_own_numbers() {
        let drawn = |seed, offset| fill(seed, offset, Distribution::Uniform, 8);
        assert_eq!(drawn(1, 0), drawn(1, 0));
        assert_ne!(drawn(1, 0), drawn(2, 0));
        assert_ne!(drawn(1, 0), drawn(1, 8));
    }

    fn moments(numbers: &[f64]) -> (f64, f64) {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        (mean, numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count)
    }
}

//! What the machine can do at most: vector instructions in loops without dependences.

#![allow(unsafe_code, reason = "peaks are measured with vector instructions")]

use std::{
    fmt,
    hint::black_box,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::{KernelError, ThreadPool, weight::memory::allocate};

/// Bytes that are read, so that no cache keeps them.
const READ_BYTES: usize = 256 << 20;

/// Peaks of all threads together. Those of arithmetic are 0 where they cannot be measured: they are
/// known for x86-64 with AVX2 and AVX-512, whichever is faster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Bytes read from memory, 10^9 per second.
    pub read: f64,
    /// f32 multiply-adds, 10^9 per second.
    pub f32: f64,
    /// Multiply-adds of bf16 pairs into f32 (`vdpbf16ps`); 0 where there is no such instruction.
    pub bf16: f64,
    /// Multiply-adds of 8-bit integers: four products summed in 32 bits (`vpdpbusd`), else pairs of
    /// them added in 16 bits.
    pub int8: f64,
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "peaks: read {:.1} GB/s, f32 {:.0} GMAC/s, bf16 {:.0}, int8 {:.0}",
            self.read, self.f32, self.bf16, self.int8
        )
    }
}

impl Peaks {
    /// Measures all peaks with the threads of `pool`, best of a few runs each; takes about a second.
    ///
    /// # Errors
    /// When the pool fails.
    pub fn measure(pool: &ThreadPool) -> Result<Self, KernelError> {
        measure(pool)
    }

    /// The multiply-adds per second that bound a kernel, by the activations that its name ends with:
    /// those of integers, of bf16, or of f32.
    pub fn of_kernel(&self, name: &str) -> f64 {
        match name.rsplit_once(" x ").map(|(_, activations)| activations) {
            Some("i8" | "i16") => self.int8,
            Some("bf16") => self.bf16,
            _ => self.f32,
        }
    }
}

/// Memory to read. What other programs or guests of the machine read at the same time changes what is
/// left from second to second, so a kernel is best compared with readings right before and after it.
pub struct ReadBandwidth {
    data: Vec<u8>,
    offset: usize,
}

impl std::fmt::Debug for ReadBandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBandwidth").finish_non_exhaustive()
    }
}

impl Default for ReadBandwidth {
    /// Memory as weights have it, huge pages included, more than any cache holds.
    fn default() -> Self {
        let (mut data, offset) = allocate(READ_BYTES);
        data.fill(1);
        Self { data, offset }
    }
}

impl ReadBandwidth {
    /// Bytes that the threads of `pool` read, 10^9 per second, best of a few runs; takes about a tenth
    /// of a second.
    ///
    /// # Errors
    /// When the pool fails.
    pub fn measure(&self, pool: &ThreadPool) -> Result<f64, KernelError> {
        let data = &self.data[self.offset..self.offset + READ_BYTES];
        let part = data.len() / pool.threads() / 64 * 64;
        let read = |ahead| {
            rate(pool, &|thread| {
                black_box(kernels::sum(&data[thread * part..(thread + 1) * part], ahead));
                part as f64
            })
        };
        // Which distance is best depends on the machine and on how much others read.
        Ok(read(576)?.max(read(4608)?))
    }
}

fn measure(pool: &ThreadPool) -> Result<Peaks, KernelError> {
    let steps = 2_000_000;
    Ok(Peaks {
        read: ReadBandwidth::default().measure(pool)?,
        f32: rate(pool, &|_| kernels::fma(steps))?,
        bf16: rate(pool, &|_| kernels::bf16(steps))?,
        int8: rate(pool, &|_| kernels::int8(steps))?,
    })
}

/// Billions a second of whatever `work` counts.
fn rate(pool: &ThreadPool, work: &(dyn Fn(usize) -> f64 + Sync)) -> Result<f64, KernelError> {
    let mut best = 0.0_f64;
    for _ in 0..5 {
        let total = Mutex::new(0.0);
        let start = Instant::now();
        pool.run(&|thread| {
            let count = work(thread);
            *total.lock().unwrap_or_else(PoisonError::into_inner) += count;
        })?;
        let seconds = start.elapsed().as_secs_f64();
        best = best.max(total.into_inner().unwrap_or_else(PoisonError::into_inner) / seconds);
    }
    Ok(best * 1e-9)
}

#[cfg(target_arch = "x86_64")]
mod kernels {
    use std::{
        arch::x86_64::{
            __m256, __m256i, __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi16,
            _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_maddubs_epi16, _mm256_set1_epi16,
            _mm256_set1_ps, _mm256_setzero_si256, _mm256_storeu_si256, _mm256_xor_si256,
            _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
            _mm512_set1_epi32, _mm512_set1_ps,
        },
        hint::black_box,
    };

    /// Enough for four cycles of latency and two multiplications a cycle.
    const CHAINS: usize = 12;

    /// Reads all whole lines of `data`, each requested `ahead` bytes before its use.
    pub(super) fn sum(data: &[u8], ahead: usize) -> u8 {
        if !is_x86_feature_detected!("avx2") {
            return data.iter().fold(0, |a, b| a ^ b);
        }
        // SAFETY: AVX2 was detected.
        unsafe { sum_avx2(data, ahead) }
    }

    #[target_feature(enable = "avx2")]
    fn sum_avx2(data: &[u8], ahead: usize) -> u8 {
        let mut sums = [_mm256_setzero_si256(); 2];
        for line in data.as_chunks::<64>().0 {
            let p = line.as_ptr();
            // SAFETY: a line holds two vectors; a prefetch of any address is harmless.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(p.wrapping_add(ahead).cast());
                sums[0] = _mm256_xor_si256(sums[0], _mm256_loadu_si256(p.cast()));
                sums[1] = _mm256_xor_si256(sums[1], _mm256_loadu_si256(p.add(32).cast()));
            }
        }
        let mut out = [0; 32];
        // SAFETY: the array holds one vector.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_xor_si256(sums[0], sums[1])) };
        out.iter().fold(0, |a, b| a ^ b)
    }

    /// Multiply-adds done; zero where the instructions are missing.
    pub(super) fn fma(steps: usize) -> f64 {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was detected.
            unsafe { fma_avx512(steps) };
            return (steps * CHAINS * 16) as f64;
        }
        if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
            return 0.0;
        }
        // SAFETY: the features were detected.
        unsafe { fma_avx2(steps) };
        (steps * CHAINS * 8) as f64
    }

    #[target_feature(enable = "avx2,fma")]
    fn fma_avx2(steps: usize) {
        let mut sums: [__m256; CHAINS] = [_mm256_set1_ps(black_box(1.0)); CHAINS];
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f")]
    fn fma_avx512(steps: usize) {
        let mut sums: [__m512; CHAINS] = [_mm512_set1_ps(black_box(1.0)); CHAINS];
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    pub(super) fn bf16(steps: usize) -> f64 {
        if !is_x86_feature_detected!("avx512bf16") {
            return 0.0;
        }
        // SAFETY: the feature was detected.
        unsafe { bf16_avx512(steps) };
        (steps * CHAINS * 32) as f64
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn bf16_avx512(steps: usize) {
        let mut sums: [__m512; CHAINS] = [_mm512_set1_ps(black_box(1.0)); CHAINS];
        let ones = _mm512_set1_ps(black_box(1.0));
        let ones = _mm512_cvtne2ps_pbh(ones, ones);
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, ones, ones);
            }
        }
        black_box(sums);
    }

    pub(super) fn int8(steps: usize) -> f64 {
        if is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the feature was detected.
            unsafe { int8_vnni(steps) };
            return (steps * CHAINS * 64) as f64;
        }
        if !is_x86_feature_detected!("avx2") {
            return 0.0;
        }
        // SAFETY: AVX2 was detected.
        unsafe { int8_avx2(steps) };
        (steps * CHAINS * 32) as f64
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn int8_vnni(steps: usize) {
        let mut sums: [__m512i; CHAINS] = [_mm512_set1_epi32(black_box(1)); CHAINS];
        let a = _mm512_set1_epi32(black_box(0x0101_0101));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, a);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2")]
    fn int8_avx2(steps: usize) {
        let mut sums: [__m256i; CHAINS] = [_mm256_set1_epi16(black_box(1)); CHAINS];
        let a = _mm256_set1_epi16(black_box(0x0101));
        for _ in 0..steps {
            for sum in &mut sums {
                // The operand depends on the sum, so that no product is computed only once.
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(*sum, a));
            }
        }
        black_box(sums);
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod kernels {
    /// Plain sum; other peaks are not measured on this architecture.
    pub(super) fn sum(data: &[u8], _: usize) -> u8 {
        data.iter().fold(0, |a, b| a ^ b)
    }

    pub(super) fn fma(_: usize) -> f64 {
        0.0
    }

    pub(super) fn bf16(_: usize) -> f64 {
        0.0
    }

    pub(super) fn int8(_: usize) -> f64 {
        0.0
    }
}

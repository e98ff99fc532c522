//! NumPy's newer generator: `numpy.random.default_rng`.

/// `numpy.random.Generator` over PCG64 (O'Neill 2014, `pcg_setseq_128_xsl_rr_64`), seeded through
/// NumPy's `SeedSequence`.
#[derive(Debug, Clone)]
pub struct Generator {
    state: u128,
    increment: u128,
    /// The upper half of a 64-bit word whose lower half has been used.
    spare: Option<u32>,
}

const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

impl Generator {
    /// `default_rng(seed)`.
    pub fn new(seed: u32) -> Self {
        let [state_high, state_low, stream_high, stream_low] = SeedSequence::new(seed).words();
        let join = |high: u64, low: u64| (u128::from(high) << 64) | u128::from(low);
        let increment = (join(stream_high, stream_low) << 1) | 1;
        let mut generator = Self { state: 0, increment, spare: None };
        generator.step();
        generator.state = generator.state.wrapping_add(join(state_high, state_low));
        generator.step();
        generator
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    fn next_u32(&mut self) -> u32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let word = self.next_u64();
        self.spare = Some((word >> 32) as u32);
        word as u32
    }

    /// One element of `integers(low, high, size=...)`: in [low, high), by Lemire's method (2019).
    /// Draws nothing where only one value is possible. Ranges are at most 2^32 - 1 long; a longer or
    /// empty one gives `low`.
    pub fn integer(&mut self, low: i64, high: i64) -> i64 {
        let count = u32::try_from(high.saturating_sub(low)).unwrap_or(0);
        if count <= 1 {
            return low;
        }
        let mut product = u64::from(self.next_u32()) * u64::from(count);
        if (product as u32) < count {
            let threshold = count.wrapping_neg() % count;
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(count);
            }
        }
        low + (product >> 32) as i64
    }

    /// `integers(low, high, size=count)`.
    pub fn integers(&mut self, low: i64, high: i64, count: usize) -> Vec<i64> {
        (0..count).map(|_| self.integer(low, high)).collect()
    }
}

/// `numpy.random.SeedSequence` for one 32-bit word of entropy (after O'Neill's `seed_seq_fe`).
struct SeedSequence {
    pool: [u32; 4],
}

/// A multiplier that changes with every use.
struct HashConstant {
    value: u32,
    factor: u32,
}

impl HashConstant {
    fn hash(&mut self, word: u32) -> u32 {
        let word = word ^ self.value;
        self.value = self.value.wrapping_mul(self.factor);
        let word = word.wrapping_mul(self.value);
        word ^ (word >> 16)
    }
}

impl SeedSequence {
    fn new(entropy: u32) -> Self {
        let mut constant = HashConstant { value: 0x43b0_d7e5, factor: 0x931e_8875 };
        let mut pool = [entropy, 0, 0, 0].map(|word| constant.hash(word));
        for source in 0..pool.len() {
            for target in 0..pool.len() {
                if source != target {
                    let left = pool[target].wrapping_mul(0xca01_f9dd);
                    let right = constant.hash(pool[source]).wrapping_mul(0x4973_f715);
                    let mixed = left.wrapping_sub(right);
                    pool[target] = mixed ^ (mixed >> 16);
                }
            }
        }
        Self { pool }
    }

    /// `generate_state(4, uint64)`.
    fn words(&self) -> [u64; 4] {
        let mut constant = HashConstant { value: 0x8b51_f9dd, factor: 0x58f3_8ded };
        let mut halves = self.pool.iter().cycle().map(|&word| u64::from(constant.hash(word)));
        let mut half = || halves.next().unwrap_or_default();
        std::array::from_fn(|_| half() | (half() << 32))
    }
}

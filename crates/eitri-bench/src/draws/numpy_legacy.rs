//! NumPy's legacy generator: `numpy.random.seed` and the functions of `numpy.random`, whose streams
//! are frozen (NEP 19). Source: the behaviour of NumPy 1.16 and later, compared draw by draw.

use super::mt19937::Mt19937;

/// `numpy.random.RandomState`.
#[derive(Debug, Clone)]
pub struct RandomState {
    words: Mt19937,
    /// The second of two normal deviates that were drawn together.
    spare_normal: Option<f64>,
}

impl RandomState {
    /// As `numpy.random.seed(seed)` leaves it.
    pub fn new(seed: u32) -> Self {
        Self { words: Mt19937::from_seed(seed), spare_normal: None }
    }

    /// One element of `randint(low, high, size=...)`: in [low, high). Draws nothing where only one
    /// value is possible. Ranges are at most 2^32 long, which a count of tokens never exceeds; a
    /// longer or empty one gives `low`.
    pub fn integer(&mut self, low: i64, high: i64) -> i64 {
        let max = u32::try_from(high.saturating_sub(low).saturating_sub(1)).unwrap_or(0);
        low + i64::from(self.words.masked(max))
    }

    /// `randint(low, high, size=count)`.
    pub fn integers(&mut self, low: i64, high: i64, count: usize) -> Vec<i64> {
        (0..count).map(|_| self.integer(low, high)).collect()
    }

    /// `permutation(len)`.
    pub fn permutation(&mut self, len: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len).collect();
        for last in (1..order.len()).rev() {
            let other = self.words.masked(last as u32) as usize;
            order.swap(last, other);
        }
        order
    }

    /// `gamma(shape, scale)`, for a positive `shape`: exponential for shape 1, Ahrens and Dieter
    /// (1974) below, Marsaglia and Tsang (2000) above.
    pub fn gamma(&mut self, shape: f64, scale: f64) -> f64 {
        scale * self.standard_gamma(shape)
    }

    #[allow(clippy::float_cmp, reason = "shape 1 is a case of its own in the original, too")]
    fn standard_gamma(&mut self, shape: f64) -> f64 {
        if shape == 1.0 {
            self.exponential()
        } else if shape < 1.0 {
            self.gamma_below_one(shape)
        } else {
            self.gamma_above_one(shape)
        }
    }

    fn gamma_below_one(&mut self, shape: f64) -> f64 {
        loop {
            let uniform = self.words.next_f64();
            let bound = self.exponential();
            if uniform <= 1.0 - shape {
                let value = uniform.powf(1.0 / shape);
                if value <= bound {
                    return value;
                }
            } else {
                let offset = -((1.0 - uniform) / shape).ln();
                let value = (1.0 - shape + shape * offset).powf(1.0 / shape);
                if value <= bound + offset {
                    return value;
                }
            }
        }
    }

    fn gamma_above_one(&mut self, shape: f64) -> f64 {
        let base = shape - 1.0 / 3.0;
        let slope = 1.0 / (9.0 * base).sqrt();
        loop {
            let (normal, cube) = loop {
                let normal = self.normal();
                let root = 1.0 + slope * normal;
                if root > 0.0 {
                    break (normal, root * root * root);
                }
            };
            let uniform = self.words.next_f64();
            let square = normal * normal;
            if uniform < 1.0 - 0.0331 * square * square
                || uniform.ln() < 0.5 * square + base * (1.0 - cube + cube.ln())
            {
                return base * cube;
            }
        }
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.words.next_f64()).ln()
    }

    /// Polar method of Marsaglia (1964).
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        loop {
            let x = 2.0 * self.words.next_f64() - 1.0;
            let y = 2.0 * self.words.next_f64() - 1.0;
            let square = x * x + y * y;
            if square < 1.0 && square > 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare_normal = Some(factor * x);
                return factor * y;
            }
        }
    }
}

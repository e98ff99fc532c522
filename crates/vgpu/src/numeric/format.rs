//! Binary floating-point formats of any width up to 32 bits, with exact rounding into them.
#![allow(clippy::float_cmp, reason = "ties are exact")]

/// How a value between two representable ones is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rounding {
    NearestEven,
    NearestAway,
    Zero,
    Down,
    Up,
}

/// What the largest codes of a format mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Specials {
    /// The largest exponent holds infinity and NaN.
    Ieee,
    /// Only the largest code is NaN; there is no infinity.
    OnlyNan,
    /// Every code is a number.
    None,
}

/// A sign-exponent-fraction format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    exponent_bits: u32,
    fraction_bits: u32,
    specials: Specials,
}

/// IEEE 754 binary32.
pub(crate) const F32: Format = Format::new(8, 23, Specials::Ieee);
/// IEEE 754 binary16.
pub(crate) const F16: Format = Format::new(5, 10, Specials::Ieee);
/// The upper half of binary32.
pub(crate) const BF16: Format = Format::new(8, 7, Specials::Ieee);
/// binary32 with ten fraction bits, the code in the upper 19 bits of a word.
pub(crate) const TF32: Format = Format::new(8, 10, Specials::Ieee);
/// OCP 8-bit floating point, four exponent bits.
pub(crate) const E4M3: Format = Format::new(4, 3, Specials::OnlyNan);
/// OCP 8-bit floating point, five exponent bits.
pub(crate) const E5M2: Format = Format::new(5, 2, Specials::Ieee);
/// OCP microscaling 4-bit floating point.
pub(crate) const E2M1: Format = Format::new(2, 1, Specials::None);

impl Format {
    const fn new(exponent_bits: u32, fraction_bits: u32, specials: Specials) -> Self {
        Self { exponent_bits, fraction_bits, specials }
    }

    fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    fn sign_bit(self) -> u32 {
        1 << (self.exponent_bits + self.fraction_bits)
    }

    /// Code of the largest finite value.
    pub(crate) fn largest(self) -> u32 {
        match self.specials {
            Specials::Ieee => self.infinity() - 1,
            Specials::OnlyNan => self.sign_bit() - 2,
            Specials::None => self.sign_bit() - 1,
        }
    }

    fn infinity(self) -> u32 {
        ((1 << self.exponent_bits) - 1) << self.fraction_bits
    }

    /// The NaN that operations yield: all bits but the sign. For a format without NaN, its
    /// largest value, which is what PTX converts NaN to.
    pub(crate) fn nan(self) -> u32 {
        self.sign_bit() - 1
    }

    /// The value of a code.
    pub(crate) fn decode(self, code: u32) -> f64 {
        let magnitude = code & (self.sign_bit() - 1);
        let sign = if code & self.sign_bit() == 0 { 1.0 } else { -1.0 };
        let is_nan = match self.specials {
            Specials::Ieee => magnitude > self.infinity(),
            Specials::OnlyNan => magnitude == self.sign_bit() - 1,
            Specials::None => false,
        };
        if is_nan {
            return f64::NAN;
        }
        if self.specials == Specials::Ieee && magnitude == self.infinity() {
            return sign * f64::INFINITY;
        }
        let exponent = (magnitude >> self.fraction_bits) as i32;
        let fraction = magnitude & ((1 << self.fraction_bits) - 1);
        let significand = if exponent == 0 { fraction } else { fraction | 1 << self.fraction_bits };
        let power = exponent.max(1) - self.bias() - self.fraction_bits as i32;
        sign * f64::from(significand) * power_of_two(power)
    }

    /// The code of a value, which is exact or rounded to odd. With `saturate`, values beyond the
    /// range (infinities too) become the largest finite one.
    pub(crate) fn encode(self, value: f64, rounding: Rounding, saturate: bool) -> u32 {
        if value.is_nan() {
            return self.nan();
        }
        let sign = if value.is_sign_negative() { self.sign_bit() } else { 0 };
        let away = match rounding {
            Rounding::Up => sign == 0,
            Rounding::Down => sign != 0,
            Rounding::Zero => false,
            Rounding::NearestEven | Rounding::NearestAway => true,
        };
        let beyond = if saturate || self.specials != Specials::Ieee || (!away && value.is_finite())
        {
            self.largest()
        } else {
            self.infinity()
        };
        if value.is_infinite() {
            return sign | beyond;
        }
        let magnitude = value.abs();
        let smallest = 1 - self.bias();
        let exponent = (((magnitude.to_bits() >> 52) as i32) - 1023).max(smallest);
        if exponent > self.bias() + 1 {
            return sign | beyond;
        }
        let scaled = magnitude * power_of_two(self.fraction_bits as i32 - exponent);
        let whole = scaled.trunc();
        let rest = scaled - whole;
        let mut significand = whole as u32;
        significand += u32::from(match rounding {
            Rounding::NearestEven => rest > 0.5 || (rest == 0.5 && significand & 1 == 1),
            Rounding::NearestAway => rest >= 0.5,
            Rounding::Zero => false,
            Rounding::Up | Rounding::Down => rest > 0.0 && away,
        });
        let hidden = 1 << self.fraction_bits;
        let code = if significand < hidden {
            significand
        } else {
            (((exponent + self.bias()) as u32) << self.fraction_bits) + (significand - hidden)
        };
        sign | if code > self.largest() { beyond } else { code }
    }
}

/// 2 to a power in -1074..=1023.
pub(crate) const fn power_of_two(power: i32) -> f64 {
    if power < -1022 {
        f64::from_bits(1 << (power + 1074))
    } else {
        f64::from_bits(((power + 1023) as u64) << 52)
    }
}

//! Floating point: the processor's own operations for rounding to nearest in binary32 and 64,
//! exact multiples of a power of two for everything else.

use crate::harness::Ty::{self, Bf16, F16, F32, F64, U32};
use crate::harness::{Form, check};

const NAN: u64 = 0x7fff_ffff;

/// The value of a code, from its three fields.
pub(crate) fn number(ty: Ty, bits: u64) -> f64 {
    let (exponent_bits, fraction_bits) = match ty {
        F16 => (5, 10),
        Bf16 => (8, 7),
        F32 => (8, 23),
        _ => return f64::from_bits(bits),
    };
    let fraction = bits & ((1 << fraction_bits) - 1);
    let exponent = (bits >> fraction_bits & ((1 << exponent_bits) - 1)) as i32;
    let sign = if bits >> (exponent_bits + fraction_bits) & 1 == 1 { -1.0 } else { 1.0 };
    let bias = (1 << (exponent_bits - 1)) - 1;
    let scale = |e: i32| 2f64.powi(e - bias - fraction_bits);
    if exponent == (1 << exponent_bits) - 1 {
        return if fraction == 0 { sign * f64::INFINITY } else { f64::NAN };
    }
    if exponent == 0 {
        return sign * fraction as f64 * scale(1);
    }
    sign * (fraction + (1 << fraction_bits)) as f64 * scale(exponent)
}

/// The code nearest to an exact multiple of 2^-`scale`; `mode` is n, z, m or p. Zero has the sign
/// that the caller gives. Values must be in the normal range.
pub(crate) fn rounded(exact: i128, scale: i32, mode: char, ty: Ty, zero: u64) -> u64 {
    let fraction_bits = match ty {
        F16 => 10,
        Bf16 => 7,
        F32 => 23,
        _ => 52,
    };
    let exponent_bits = match ty {
        F16 => 5,
        Bf16 | F32 => 8,
        _ => 11,
    };
    if exact == 0 {
        return zero;
    }
    let magnitude = exact.unsigned_abs();
    let length = 128 - magnitude.leading_zeros() as i32;
    let bias = (1i32 << (exponent_bits - 1)) - 1;
    // Fraction bits that are kept: fewer below the normal range.
    let exponent = length - 1 - scale;
    let lowest = (exponent.max(1 - bias)) - fraction_bits;
    let drop = lowest + scale;
    let (mut kept, rest, half) = if drop <= 0 {
        (magnitude << -drop, 0, 1)
    } else if drop > 127 {
        (0, 1, 2)
    } else {
        (magnitude >> drop, magnitude & ((1 << drop) - 1), 1u128 << (drop - 1))
    };
    kept += u128::from(match mode {
        'n' => rest > half || (rest == half && kept % 2 == 1),
        'm' => rest > 0 && exact < 0,
        'p' => rest > 0 && exact > 0,
        _ => false,
    });
    let sign = u64::from(exact < 0) << (exponent_bits + fraction_bits);
    let hidden = 1u128 << fraction_bits;
    let code = if kept < hidden {
        kept as u64
    } else {
        (((exponent.max(1 - bias) + bias) as u64) << fraction_bits) + (kept - hidden) as u64
    };
    let infinity = ((1u64 << exponent_bits) - 1) << fraction_bits;
    sign | code.min(infinity)
}

/// A finite value as a multiple of 2^-`scale`, which must be fine enough.
fn fixed(ty: Ty, bits: u64, scale: i32) -> i128 {
    let value = number(ty, bits);
    let scaled = value * 2f64.powi(scale);
    assert_eq!(scaled, scaled.trunc(), "{ty:?} {bits:#x}");
    scaled as i128
}

#[test]
fn nearest_in_binary32_and_64() {
    let mut forms = Vec::new();
    let narrow = |f: fn(f32, f32, f32) -> f32| {
        move |x: &[u64]| {
            let of = |i: usize| f32::from_bits(x.get(i).copied().unwrap_or(0) as u32);
            let result = f(of(0), of(1), of(2));
            Some(if result.is_nan() { NAN } else { u64::from(result.to_bits()) })
        }
    };
    // NaN payloads of binary64 are open.
    let wide = |f: fn(f64, f64, f64) -> f64| {
        move |x: &[u64]| {
            let of = |i: usize| f64::from_bits(x.get(i).copied().unwrap_or(0));
            let result = f(of(0), of(1), of(2));
            (!result.is_nan()).then(|| result.to_bits())
        }
    };
    for (name, f) in [
        ("add", (|a, b, _| a + b) as fn(f32, f32, f32) -> f32),
        ("sub", |a, b, _| a - b),
        ("mul", |a, b, _| a * b),
    ] {
        forms.push(Form::new(format!("{name}.f32"), F32, &[F32, F32], narrow(f)));
        forms.push(Form::new(format!("{name}.rn.f32"), F32, &[F32, F32], narrow(f)));
    }
    for (name, f) in [
        ("add", (|a, b, _| a + b) as fn(f64, f64, f64) -> f64),
        ("sub", |a, b, _| a - b),
        ("mul", |a, b, _| a * b),
    ] {
        forms.push(Form::new(format!("{name}.f64"), F64, &[F64, F64], wide(f)));
    }
    forms.push(Form::new("fma.rn.f32", F32, &[F32, F32, F32], narrow(f32::mul_add)));
    forms.push(Form::new("fma.rn.f64", F64, &[F64, F64, F64], wide(f64::mul_add)));
    forms.push(Form::new("div.rn.f32", F32, &[F32, F32], narrow(|a, b, _| a / b)));
    forms.push(Form::new("div.rn.f64", F64, &[F64, F64], wide(|a, b, _| a / b)));
    forms.push(Form::new("rcp.rn.f32", F32, &[F32], narrow(|a, _, _| 1.0 / a)));
    forms.push(Form::new("rcp.rn.f64", F64, &[F64], wide(|a, _, _| 1.0 / a)));
    forms.push(Form::new("sqrt.rn.f32", F32, &[F32], narrow(|a, _, _| a.sqrt())));
    forms.push(Form::new("sqrt.rn.f64", F64, &[F64], wide(|a, _, _| a.sqrt())));
    // Flushed inputs and results.
    let flush = |v: f32| if v.is_subnormal() { 0f32.copysign(v) } else { v };
    forms.push(Form::new("mul.ftz.f32", F32, &[F32, F32], move |x| {
        let [a, b] = [0, 1].map(|i| flush(f32::from_bits(x[i] as u32)));
        let result = flush(a * b);
        Some(if result.is_nan() { NAN } else { u64::from(result.to_bits()) })
    }));
    forms.push(Form::new("add.sat.f32", F32, &[F32, F32], |x| {
        let sum = f32::from_bits(x[0] as u32) + f32::from_bits(x[1] as u32);
        let clamped = if sum > 1.0 {
            1.0
        } else if sum > 0.0 {
            sum
        } else {
            0.0
        };
        Some(u64::from(clamped.to_bits()))
    }));
    check(&forms);
}

#[test]
fn extremes_and_signs() {
    let mut forms = Vec::new();
    for ty in [F32, F64, F16, Bf16] {
        let nan = match ty {
            F32 => Some(NAN),
            F64 => None,
            _ => Some(0x7fff),
        };
        let sign = 1u64 << (ty.bits() - 1);
        for (name, greater) in [("min", false), ("max", true)] {
            for strict in [false, true] {
                if ty == F64 && strict {
                    continue;
                }
                let modifier = if strict { ".NaN" } else { "" };
                forms.push(Form::new(
                    format!("{name}{modifier}.{}", ty.name()),
                    ty,
                    &[ty, ty],
                    move |x| {
                        let [a, b] = [0, 1].map(|i| number(ty, x[i]));
                        if (a.is_nan() && b.is_nan()) || (strict && (a.is_nan() || b.is_nan())) {
                            return nan;
                        }
                        if a.is_nan() || b.is_nan() {
                            return Some(x[usize::from(a.is_nan())]);
                        }
                        // +0 is greater than -0.
                        let first =
                            if a == b { (x[0] & sign == 0) == greater } else { (a > b) == greater };
                        Some(if first { x[0] } else { x[1] })
                    },
                ));
            }
        }
        forms.push(Form::new(format!("neg.{}", ty.name()), ty, &[ty], move |x| {
            (!number(ty, x[0]).is_nan()).then(|| x[0] ^ sign)
        }));
        forms.push(Form::new(format!("abs.{}", ty.name()), ty, &[ty], move |x| {
            (!number(ty, x[0]).is_nan()).then(|| x[0] & !sign)
        }));
    }
    forms.push(Form::new("copysign.f32", F32, &[F32, F32], |x| {
        Some(x[0] & 0x8000_0000 | x[1] & 0x7fff_ffff)
    }));
    forms.push(Form::new("copysign.f64", F64, &[F64, F64], |x| {
        Some(x[0] & 1 << 63 | x[1] & !(1 << 63))
    }));
    check(&forms);
}

/// Values whose sums and products are exact multiples of 2^-80.
fn moderate(ty: Ty) -> Vec<u64> {
    let values: &[f64] =
        &[1.0, -1.0, 1.0 + 1.0 / 128.0, 3.0, -0.1, 1e-3, 255.5, -4097.0, 0.333_333, 2f64.powi(-12)];
    values
        .iter()
        .map(|&v| match ty {
            F64 => v.to_bits(),
            F32 => u64::from((v as f32).to_bits()),
            Bf16 => u64::from((v as f32).to_bits() >> 16),
            _ => u64::from(half::f16::from_f64(v).to_bits()),
        })
        .collect()
}

#[test]
fn every_rounding_of_binary32() {
    let mut forms = Vec::new();
    for mode in ['n', 'z', 'm', 'p'] {
        // An exact zero sum of opposite signs is -0 only when rounding down.
        let zero = if mode == 'm' { 0x8000_0000 } else { 0 };
        for (name, sign) in [("add", 1), ("sub", -1)] {
            let mut form = Form::new(format!("{name}.r{mode}.f32"), F32, &[F32, F32], move |x| {
                Some(rounded(
                    fixed(F32, x[0], 50) + sign * fixed(F32, x[1], 50),
                    50,
                    mode,
                    F32,
                    zero,
                ))
            });
            form.edges = Some(moderate(F32));
            forms.push(form);
        }
        let mut form = Form::new(format!("mul.r{mode}.f32"), F32, &[F32, F32], move |x| {
            Some(rounded(fixed(F32, x[0], 40) * fixed(F32, x[1], 40), 80, mode, F32, 0))
        });
        form.edges = Some(moderate(F32));
        forms.push(form);
        let mut form = Form::new(format!("fma.r{mode}.f32"), F32, &[F32, F32, F32], move |x| {
            let exact = fixed(F32, x[0], 40) * fixed(F32, x[1], 40) + fixed(F32, x[2], 80);
            Some(rounded(exact, 80, mode, F32, zero))
        });
        form.edges = Some(moderate(F32));
        forms.push(form);
        let mut form = Form::new(format!("add.r{mode}.f64"), F64, &[F64, F64], move |x| {
            let zero = if mode == 'm' { 1 << 63 } else { 0 };
            Some(rounded(fixed(F64, x[0], 70) + fixed(F64, x[1], 70), 70, mode, F64, zero))
        });
        form.edges = Some(moderate(F64));
        forms.push(form);
        // a / b rounded down to a multiple of 2^-100, and a sticky bit.
        let mut form = Form::new(format!("div.r{mode}.f32"), F32, &[F32, F32], move |x| {
            let (a, b) = (fixed(F32, x[0], 40), fixed(F32, x[1], 40));
            let quotient = (a << 50) / b;
            let sticky = i128::from((a << 50) % b != 0);
            let sign = if (a < 0) == (b < 0) { 1 } else { -1 };
            Some(rounded(sign * (quotient.abs() * 2 + sticky), 51, mode, F32, 0))
        });
        form.edges = Some(moderate(F32));
        forms.push(form);
    }
    check(&forms);
}

#[test]
fn half_precision() {
    let mut forms = Vec::new();
    for ty in [F16, Bf16] {
        let name = ty.name();
        for (op, sign) in [("add", 1), ("sub", -1)] {
            let mut form = Form::new(format!("{op}.rn.{name}"), ty, &[ty, ty], move |x| {
                Some(rounded(fixed(ty, x[0], 50) + sign * fixed(ty, x[1], 50), 50, 'n', ty, 0))
            });
            form.edges = Some(moderate(ty));
            forms.push(form);
        }
        let mut form = Form::new(format!("mul.rn.{name}"), ty, &[ty, ty], move |x| {
            Some(rounded(fixed(ty, x[0], 40) * fixed(ty, x[1], 40), 80, 'n', ty, 0))
        });
        form.edges = Some(moderate(ty));
        forms.push(form);
        let mut form = Form::new(format!("fma.rn.{name}"), ty, &[ty, ty, ty], move |x| {
            Some(rounded(
                fixed(ty, x[0], 40) * fixed(ty, x[1], 40) + fixed(ty, x[2], 80),
                80,
                'n',
                ty,
                0,
            ))
        });
        form.edges = Some(moderate(ty));
        forms.push(form);
        // The packed form does the same to both halves.
        let mut form = Form::new(format!("fma.rn.{name}x2"), U32, &[ty, ty, ty], move |x| {
            let [a, b, c] = [0, 1, 2].map(|i| fixed(ty, x[i], 40));
            let low = rounded(a * b + (c << 40), 80, 'n', ty, 0);
            let high = rounded(b * c + (a << 40), 80, 'n', ty, 0);
            Some(high << 16 | low)
        });
        form.body = Some(format!(
            "mov.b32 %r0, {{%a, %b}}; mov.b32 %r1, {{%b, %c}}; mov.b32 %r2, {{%c, %a}};\n\
             fma.rn.{name}x2 %o, %r0, %r1, %r2;\n"
        ));
        form.edges = Some(moderate(ty));
        forms.push(form);
    }
    // All of binary16, subnormals and overflow included.
    let finite = |x: &[u64]| x.iter().all(|&bits| number(F16, bits).is_finite());
    forms.push(Form::new("fma.rn.f16", F16, &[F16, F16, F16], move |x| {
        let exact = || fixed(F16, x[0], 24) * fixed(F16, x[1], 24) + fixed(F16, x[2], 48);
        (finite(x) && exact() != 0).then(|| rounded(exact(), 48, 'n', F16, 0))
    }));
    check(&forms);
}

#[test]
fn approximations_stay_within_their_documented_error() {
    // (opcode, function, largest error relative to the result or absolute).
    type Function = fn(f64) -> f64;
    let functions: [(&str, Function, f64, bool); 9] = [
        ("rcp.approx.f32", |x| 1.0 / x, 1.2e-7, true),
        ("rcp.approx.ftz.f32", |x| 1.0 / x, 1.2e-7, true),
        ("sqrt.approx.f32", f64::sqrt, 1.2e-7, true),
        ("rsqrt.approx.f32", |x| 1.0 / x.sqrt(), 1.3e-7, true),
        ("ex2.approx.ftz.f32", f64::exp2, 2.4e-7, true),
        ("lg2.approx.f32", f64::log2, 2.4e-7, false),
        ("sin.approx.f32", f64::sin, 6.7e-7, false),
        ("cos.approx.f32", f64::cos, 6.7e-7, false),
        ("tanh.approx.f32", f64::tanh, 5e-4, true),
    ];
    let mut forms = Vec::new();
    for (opcode, function, limit, relative) in functions {
        let mut form = Form::new(opcode, U32, &[F32], move |_| Some(1));
        // The device compares: 1 where the result is as near as it must be.
        let values: Vec<f32> = vec![0.1, 0.5, 1.0, 1.5, 2.0, 2.75, 3.0];
        form.edges = Some(values.iter().map(|v| u64::from(v.to_bits())).collect());
        let table: String = values.iter().map(|&v| {
            let exact = function(f64::from(v));
            let error = if relative { limit * exact.abs() } else { limit };
            format!(
                "setp.eq.b32 %p, %a, {:#x}; @%p mov.b64 %d1, 0d{:016x}; @%p mov.b64 %d2, 0d{:016x};\n",
                v.to_bits(), exact.to_bits(), error.to_bits()
            )
        }).collect();
        form.body = Some(format!(
            "{table}{opcode} %r0, %a; cvt.f64.f32 %d0, %r0; sub.f64 %d0, %d0, %d1; abs.f64 %d0, %d0;\n\
             setp.le.f64 %p, %d0, %d2; selp.u32 %o, 1, 0, %p;\n"
        ));
        forms.push(form);
    }
    check(&forms);
}

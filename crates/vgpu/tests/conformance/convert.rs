//! Conversions.

use crate::float::{number, rounded};
use crate::harness::Ty::{self, Bf16, F16, F32, F64, S16, S32, S64, U16, U32, U64};
use crate::harness::{Form, check};
use crate::integer::{value, wrapped};

const INTEGERS: [Ty; 6] = [U16, S16, U32, S32, U64, S64];

fn range(ty: Ty) -> (i128, i128) {
    let n = ty.bits();
    if ty.signed() { (-(1 << (n - 1)), (1 << (n - 1)) - 1) } else { (0, (1 << n) - 1) }
}

#[test]
fn between_integers() {
    let mut forms = Vec::new();
    for from in INTEGERS {
        for to in INTEGERS {
            forms.push(Form::new(
                format!("cvt.{}.{}", to.name(), from.name()),
                to,
                &[from],
                move |x| Some(wrapped(to, value(from, x[0]))),
            ));
            forms.push(Form::new(
                format!("cvt.sat.{}.{}", to.name(), from.name()),
                to,
                &[from],
                move |x| {
                    let (low, high) = range(to);
                    Some(wrapped(to, value(from, x[0]).clamp(low, high)))
                },
            ));
        }
    }
    // Bytes live in wider registers.
    for (name, signed) in [("u8", false), ("s8", true)] {
        let byte = move |bits: u64| {
            let byte = i128::from(bits & 255);
            if signed && byte > 127 { byte - 256 } else { byte }
        };
        for to in [U16, S16, U32, S32, S64] {
            forms.push(Form::new(format!("cvt.{}.{name}", to.name()), to, &[U32], move |x| {
                Some(wrapped(to, byte(x[0])))
            }));
        }
        forms.push(Form::new(format!("cvt.{name}.u32"), U32, &[U32], move |x| {
            Some(wrapped(U32, byte(x[0])))
        }));
        forms.push(Form::new(format!("cvt.sat.{name}.s32"), U32, &[S32], move |x| {
            let (low, high) = if signed { (-128, 127) } else { (0, 255) };
            Some(wrapped(U32, value(S32, x[0]).clamp(low, high)))
        }));
    }
    check(&forms);
}

#[test]
fn from_floating_point_to_integers() {
    let mut forms = Vec::new();
    for from in [F32, F64, F16, Bf16] {
        for to in INTEGERS {
            for mode in ["rni", "rzi", "rmi", "rpi"] {
                forms.push(Form::new(
                    format!("cvt.{mode}.{}.{}", to.name(), from.name()),
                    to,
                    &[from],
                    move |x| {
                        let v = number(from, x[0]);
                        let (low, high) = range(to);
                        if v.is_nan() {
                            let zero = from != F64 && to.bits() < 64;
                            return Some(if zero { 0 } else { 1 << (to.bits() - 1) });
                        }
                        if v.abs() >= 2f64.powi(100) {
                            return Some(wrapped(to, if v > 0.0 { high } else { low }));
                        }
                        // Twice the value tells halves from the rest.
                        let whole = v as i128;
                        let rest = v - whole as f64;
                        let up = match mode {
                            "rpi" => rest > 0.0,
                            "rni" => rest > 0.5 || (rest == 0.5 && whole % 2 != 0),
                            _ => false,
                        };
                        let down = match mode {
                            "rmi" => rest < 0.0,
                            "rni" => rest < -0.5 || (rest == -0.5 && whole % 2 != 0),
                            _ => false,
                        };
                        let integer = whole + i128::from(up) - i128::from(down);
                        Some(wrapped(to, integer.clamp(low, high)))
                    },
                ));
            }
        }
    }
    check(&forms);
}

#[test]
fn from_integers_to_floating_point() {
    let mut forms = Vec::new();
    for from in INTEGERS {
        for to in [F32, F64, F16, Bf16] {
            for mode in ['n', 'z', 'm', 'p'] {
                if matches!(to, F16 | Bf16) && mode != 'n' {
                    continue;
                }
                forms.push(Form::new(
                    format!("cvt.r{mode}.{}.{}", to.name(), from.name()),
                    to,
                    &[from],
                    move |x| {
                        let integer = value(from, x[0]);
                        let code = rounded(integer, 0, mode, to, 0);
                        // Beyond the range of binary16 there is only infinity when rounding to nearest.
                        Some(code)
                    },
                ));
            }
        }
    }
    check(&forms);
}

/// A finite binary64 value as a multiple of 2^-s, and s.
fn exact(v: f64) -> (i128, i32) {
    let bits = v.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32;
    let fraction = (bits & ((1 << 52) - 1)) as i128;
    let (significand, power) =
        if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    (if v < 0.0 { -significand } else { significand }, -power)
}

#[test]
fn between_floating_point_formats() {
    let mut forms = Vec::new();
    let types = [F32, F64, F16, Bf16];
    for from in types {
        for to in types {
            if from == to || (matches!(from, F16) && to == Bf16) || (from == Bf16 && to == F16) {
                continue;
            }
            let widening = to.bits() > from.bits();
            for mode in ['n', 'z', 'm', 'p'] {
                if (widening || to == Bf16 || to == F16 || from == Bf16) && mode != 'n' {
                    continue;
                }
                let modifier = if widening { String::new() } else { format!(".r{mode}") };
                forms.push(Form::new(
                    format!("cvt{modifier}.{}.{}", to.name(), from.name()),
                    to,
                    &[from],
                    move |x| {
                        let v = number(from, x[0]);
                        if v.is_nan() {
                            return match to {
                                F64 => None,
                                F32 => Some(0x7fff_ffff),
                                _ => Some(0x7fff),
                            };
                        }
                        let sign = u64::from(v.is_sign_negative()) << (to.bits() - 1);
                        let infinity = rounded(1i128 << 100, -1000, 'n', to, 0);
                        if v.is_infinite() {
                            return Some(sign | if to == F64 { 0x7ff0 << 48 } else { infinity });
                        }
                        let (integer, scale) = exact(v);
                        let code = rounded(integer, scale, mode, to, sign);
                        // Overflow rounds to the largest finite value where infinity is away.
                        let towards_zero =
                            mode == 'z' || (mode == 'm' && v > 0.0) || (mode == 'p' && v < 0.0);
                        Some(if code == sign | infinity && towards_zero { code - 1 } else { code })
                    },
                ));
            }
        }
    }
    let mut form = Form::new("cvt.rna.tf32.f32", U32, &[F32], |x| {
        let v = number(F32, x[0]);
        // Half a unit of the tenth fraction bit, added to the magnitude.
        v.is_finite()
            .then(|| (x[0] + 0x1000) & !0x1fff)
            .filter(|&code| code & 0x7f80_0000 != 0x7f80_0000)
    });
    form.body = Some("cvt.rna.tf32.f32 %o, %a;\n".to_owned());
    forms.push(form);
    for (mode, f) in [
        ("rni", f32::round_ties_even as fn(f32) -> f32),
        ("rzi", f32::trunc),
        ("rmi", f32::floor),
        ("rpi", f32::ceil),
    ] {
        forms.push(Form::new(format!("cvt.{mode}.f32.f32"), F32, &[F32], move |x| {
            let v = f(f32::from_bits(x[0] as u32));
            Some(if v.is_nan() { 0x7fff_ffff } else { u64::from(v.to_bits()) })
        }));
    }
    forms.push(Form::new("cvt.sat.f32.f32", F32, &[F32], |x| {
        let v = f32::from_bits(x[0] as u32);
        Some(u64::from(
            (if v > 1.0 {
                1.0
            } else if v > 0.0 {
                v
            } else {
                0.0
            })
            .to_bits(),
        ))
    }));
    check(&forms);
}

/// Codes of runs: `tests/data/small_floats.txt` lists, for every 16-bit input in order, the
/// result of the `ml_dtypes` package as runs of equal codes (see `small_floats.py` beside it).
fn golden(name: &str) -> Vec<u64> {
    let text = include_str!("../data/small_floats.txt");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
    let mut codes = Vec::new();
    for run in line.split(' ') {
        let (code, count) = run.split_once('x').unwrap();
        let code = u64::from_str_radix(code, 16).unwrap();
        codes.extend(std::iter::repeat_n(code, count.parse().unwrap()));
    }
    codes
}

#[test]
fn small_formats_agree_with_ml_dtypes_on_every_input() {
    let all: Vec<u64> = (0..65536).collect();
    let mut forms = Vec::new();
    for (name, bits) in [("e4m3x2", 8), ("e5m2x2", 8), ("e2m1x2", 4)] {
        // From binary32: all values with 16 significant leading bits, in the upper half.
        let table = golden(&format!("{name} from the upper half of f32"));
        let mut form = Form::new(format!("cvt.rn.satfinite.{name}.f32"), U32, &[U32], move |x| {
            Some(table[x[0] as usize] << bits)
        });
        form.body = Some(if bits == 8 {
            format!(
                "shl.b32 %r0, %a, 16; cvt.rn.satfinite.{name}.f32 %h0, %r0, 0f00000000; cvt.u32.u16 %o, %h0;\n"
            )
        } else {
            format!(
                "{{ .reg .b8 %n; shl.b32 %r0, %a, 16; cvt.rn.satfinite.{name}.f32 %n, %r0, 0f00000000; cvt.u32.u8 %o, %n; }}\n"
            )
        });
        form.edges = Some(all.clone());
        forms.push(form);
        if bits == 8 {
            let table = golden(&format!("{name} from f16"));
            let mut form =
                Form::new(format!("cvt.rn.satfinite.{name}.f16x2"), U32, &[U16], move |x| {
                    Some(table[x[0] as usize] << 8 | table[0x3c00])
                });
            form.body = Some(format!(
                "mov.b16 %h1, 0x3c00; mov.b32 %r0, {{%h1, %a}}; cvt.rn.satfinite.{name}.f16x2 %h0, %r0; cvt.u32.u16 %o, %h0;\n"
            ));
            form.edges = Some(all.clone());
            forms.push(form);
        }
        let table = golden(&format!("f16 from {name}"));
        let mask = (1u64 << bits) - 1;
        let mut form = Form::new(format!("cvt.rn.f16x2.{name}"), U32, &[U16], move |x| {
            let [low, high] = [x[0] & mask, x[0] >> bits & mask].map(|code| table[code as usize]);
            Some(high << 16 | low)
        });
        form.body = Some(if bits == 8 {
            format!("cvt.rn.f16x2.{name} %o, %a;\n")
        } else {
            format!(
                "{{ .reg .b8 %n; cvt.u32.u16 %r0, %a; cvt.u8.u32 %n, %r0; cvt.rn.f16x2.{name} %o, %n; }}\n"
            )
        });
        form.edges = Some(all.clone());
        forms.push(form);
    }
    check(&forms);
}

#[test]
fn packed_pairs_keep_their_order() {
    let mut forms = Vec::new();
    for (name, ty) in [("f16x2", F16), ("bf16x2", Bf16)] {
        let mut form = Form::new(format!("cvt.rn.{name}.f32"), U32, &[F32, F32], move |x| {
            let code = |bits: u64| {
                let v = number(F32, bits);
                if v.is_nan() {
                    return 0x7fff;
                }
                let sign = u64::from(v.is_sign_negative()) << 15;
                let infinity = if ty == F16 { 0x7c00 } else { 0x7f80 };
                if v.is_infinite() {
                    return sign | infinity;
                }
                let (integer, scale) = exact(v);
                rounded(integer, scale, 'n', ty, sign)
            };
            Some(code(x[0]) << 16 | code(x[1]))
        });
        form.body = Some(format!("cvt.rn.{name}.f32 %o, %a, %b;\n"));
        forms.push(form);
    }
    // Scales: a power of two rounded up or towards zero; the code is its exponent.
    for (mode, up) in [("rz", false), ("rp", true)] {
        let mut form =
            Form::new(format!("cvt.{mode}.satfinite.ue8m0x2.f32"), U32, &[F32], move |x| {
                let v = number(F32, x[0]).abs();
                if v.is_nan() {
                    return Some(255);
                }
                let fits = |code: i32| {
                    if up { 2f64.powi(code - 127) >= v } else { 2f64.powi(code - 127) <= v }
                };
                let mut codes = 0..255;
                let code =
                    if up { codes.find(|&c| fits(c)) } else { codes.rev().find(|&c| fits(c)) };
                Some(code.unwrap_or(if up { 254 } else { 0 }) as u64)
            });
        form.body = Some(format!(
            "cvt.{mode}.satfinite.ue8m0x2.f32 %h0, 0f00000000, %a; cvt.u32.u16 %o, %h0; and.b32 %o, %o, 255;\n"
        ));
        forms.push(form);
    }
    let mut form = Form::new("cvt.rn.bf16x2.ue8m0x2", U32, &[U16], |x| {
        let decode = |code: u64| {
            if code == 255 { 0x7fff } else { rounded(1, 127 - code as i32, 'n', Bf16, 0) }
        };
        Some(decode(x[0] >> 8) << 16 | decode(x[0] & 255))
    });
    form.body = Some("cvt.rn.bf16x2.ue8m0x2 %o, %a;\n".to_owned());
    forms.push(form);
    check(&forms);
}

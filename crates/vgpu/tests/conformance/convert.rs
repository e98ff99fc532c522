//! Conversions: the exact value of the source, rounded to the destination.

use crate::exact::{Finish, Value, decode, encode, flushed, integer};
use crate::float::mode;
use crate::harness::Ty::{self, Bf16, F16, F32, F64, Tf32, U16, U32};
use crate::harness::{Form, check};
use crate::integer::{range, value, wrapped};
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &["cvt"];

/// Formats of 8 and 4 bits, with the bits of a code.
const SMALL: [(&str, u32); 3] = [("e4m3x2", 8), ("e5m2x2", 8), ("e2m1x2", 4)];

/// The mode of rounding to an integer.
fn integral(opcode: &Opcode) -> Option<char> {
    let found = opcode.one_of(&["rni", "rzi", "rmi", "rpi"]);
    found.map(|word| word.chars().nth(1).unwrap())
}

fn form(opcode: &Opcode) -> Form {
    let [to, from] = opcode.types()[..] else { panic!("{}", opcode.text) };
    let small = |kind: &str| SMALL.into_iter().find(|(name, _)| *name == kind);
    match (to, from) {
        ("ue8m0x2", _) | (_, "ue8m0x2") => scales(opcode, to, from),
        ("f16x2", _) if from != "f32" => from_small(opcode, small(from).unwrap()),
        ("f16x2" | "bf16x2", _) => pair(opcode, to),
        ("tf32", _) => tensor(opcode),
        _ if small(to).is_some() => to_small(opcode, small(to).unwrap(), from),
        _ => scalar(opcode, Ty::of(to), Ty::of(from)),
    }
}

/// Bytes live in wider registers.
fn register(ty: Ty) -> Ty {
    if ty.bits() == 8 { U32 } else { ty }
}

fn scalar(opcode: &Opcode, to: Ty, from: Ty) -> Form {
    let (whole, saturates, flush) = (integral(opcode), opcode.has("sat"), opcode.has("ftz"));
    let finish = Finish {
        mode: mode(opcode),
        flush: flush && to == F32,
        saturate: saturates,
        relu: opcode.has("relu"),
        finite: opcode.has("satfinite"),
    };
    let source = move |bits: u64| -> Value {
        if !from.is_float() {
            return integer(value(from, bits));
        }
        let value = decode(from, bits);
        if flush && from == F32 { flushed(from, value) } else { value }
    };
    Form::new(&opcode.text, register(to), &[register(from)], move |x| {
        let value = source(x[0]);
        if to.is_float() {
            let value = whole.map_or(value.clone(), |mode| value.to_integral(mode));
            return encode(to, &value, finish);
        }
        if !from.is_float() {
            let limits = range(to);
            let exact = value.as_integer()?;
            let kept = if saturates { exact.clamp(limits.0, limits.1) } else { exact };
            return Some(extended(to, kept));
        }
        let Some(exact) = value.to_integral(whole.unwrap_or('z')).as_integer() else {
            return of_nan(to, from);
        };
        let (low, high) = range(to);
        Some(extended(to, exact.clamp(low, high)))
    })
}

/// The bits of an integer type in its register.
fn extended(to: Ty, exact: i128) -> u64 {
    let inside = value(to, wrapped(to, exact));
    wrapped(register(to), inside)
}

/// What a NaN becomes; open for integers of fewer than 32 bits.
fn of_nan(to: Ty, from: Ty) -> Option<u64> {
    match (to.bits(), from) {
        (32, F64) => Some(1 << 31),
        (32, _) => Some(0),
        (64, _) => Some(1 << 63),
        _ => None,
    }
}

fn pair(opcode: &Opcode, to: &str) -> Form {
    let ty = if to == "f16x2" { F16 } else { Bf16 };
    let (relu, finite) = (opcode.has("relu"), opcode.has("satfinite"));
    let finish = Finish { mode: mode(opcode), relu, finite, ..Finish::NEAREST };
    Form::new(&opcode.text, U32, &[F32, F32], move |x| {
        let [high, low] = [0, 1].map(|i| encode(ty, &decode(F32, x[i]), finish));
        Some(high? << 16 | low?)
    })
}

fn tensor(opcode: &Opcode) -> Form {
    let away = opcode.has("rna");
    let mode = if away { 'a' } else { mode(opcode) };
    let (relu, finite) = (opcode.has("relu"), opcode.has("satfinite"));
    let finish = Finish { mode, relu, finite, ..Finish::NEAREST };
    Form::new(&opcode.text, U32, &[F32], move |x| {
        encode(Tf32, &decode(F32, x[0]), finish).map(|code| code << 13)
    })
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

/// With `.relu`, negative numbers become zero; what becomes of -0 is open.
fn clamped(relu: bool, source: &Value, code: u64) -> Option<u64> {
    let zero = source.order(&integer(0)).is_some_and(std::cmp::Ordering::is_eq);
    match (relu && *source != Value::Nan && source.is_negative(), zero) {
        (true, true) => None,
        (true, false) => Some(0),
        (false, _) => Some(code),
    }
}

/// To 8 and 4 bits: every binary16 value, and of binary32 all with 16 significant leading bits.
fn to_small(opcode: &Opcode, (name, bits): (&'static str, u32), from: &str) -> Form {
    opcode.ignore(&["rn", "satfinite"]);
    let (text, relu) = (&opcode.text, opcode.has("relu"));
    let all: Vec<u64> = (0..65536).collect();
    if from == "f16x2" {
        let table = golden(&format!("{name} from f16"));
        let form = Form::new(text, U32, &[U16], move |x| {
            let code = clamped(relu, &decode(F16, x[0]), table[x[0] as usize])?;
            Some(code << 8 | table[0x3c00])
        });
        return form.with_edges(&all).with_body(format!(
            "mov.b16 %h1, 0x3c00; mov.b32 %r0, {{%h1, %a}}; {text} %h0, %r0; cvt.u32.u16 %o, %h0;\n"
        ));
    }
    let table = golden(&format!("{name} from the upper half of f32"));
    let form = Form::new(text, U32, &[U32], move |x| {
        let code = clamped(relu, &decode(F32, x[0] << 16), table[x[0] as usize])?;
        Some(code << bits | table[0x3f80])
    });
    // The value goes to the upper half, 1 to the lower.
    let convert = if bits == 8 {
        format!("{text} %h0, %r0, 0f3F800000; cvt.u32.u16 %o, %h0;\n")
    } else {
        format!("{{ .reg .b8 %n; {text} %n, %r0, 0f3F800000; cvt.u32.u8 %o, %n; }}\n")
    };
    form.with_edges(&all).with_body(format!("shl.b32 %r0, %a, 16; {convert}"))
}

fn from_small(opcode: &Opcode, (name, bits): (&'static str, u32)) -> Form {
    opcode.ignore(&["rn"]);
    let (text, relu) = (&opcode.text, opcode.has("relu"));
    let table = golden(&format!("f16 from {name}"));
    let mask = (1u64 << bits) - 1;
    let form = Form::new(text, U32, &[U16], move |x| {
        let [low, high] = [x[0] & mask, x[0] >> bits & mask].map(|code| {
            let code = table[code as usize];
            clamped(relu, &decode(F16, code), code)
        });
        Some(high? << 16 | low?)
    });
    let body = if bits == 8 {
        format!("{text} %o, %a;\n")
    } else {
        format!("{{ .reg .b8 %n; cvt.u32.u16 %r0, %a; cvt.u8.u32 %n, %r0; {text} %o, %n; }}\n")
    };
    form.with_edges(&(0..65536).collect::<Vec<_>>()).with_body(body)
}

/// The code of a scale: the exponent of a power of two, rounded up or towards zero; 255 is NaN.
fn scale(up: bool, finite: bool, value: &Value) -> Option<u64> {
    if *value == Value::Nan {
        return Some(255);
    }
    let magnitude = value.clone().magnitude();
    if matches!(value, Value::Infinity(_)) {
        return finite.then_some(254);
    }
    let power = |code: u64| power_of_two(code).over(power_of_two(127));
    let fits = |code: &u64| {
        let order = power(*code).order_exact(&magnitude);
        if up { order.is_ge() } else { order.is_le() }
    };
    let mut codes = 0..255;
    let code = if up { codes.find(fits) } else { codes.rev().find(fits) };
    match code {
        Some(code) => Some(code),
        // Too small for the least power: that one.
        None if !up => Some(0),
        // Too large for the greatest.
        None => finite.then_some(254),
    }
}

fn power_of_two(exponent: u64) -> Value {
    let half = integer(1i128 << (exponent / 2));
    half.clone().times(half).times(integer(1i128 << (exponent % 2)))
}

fn scales(opcode: &Opcode, to: &str, from: &str) -> Form {
    let text = &opcode.text;
    if to == "bf16x2" {
        opcode.ignore(&["rn"]);
        return Form::new(text, U32, &[U16], |x| {
            let value = |code: u64| {
                if code == 255 {
                    return Value::Nan;
                }
                // 2^(code - 127) as a quotient of powers.
                power_of_two(code).over(power_of_two(127))
            };
            let [low, high] =
                [x[0] & 255, x[0] >> 8].map(|code| encode(Bf16, &value(code), Finish::NEAREST));
            Some(high? << 16 | low?)
        });
    }
    let (up, finite) = (opcode.has("rp"), opcode.has("satfinite"));
    opcode.ignore(&["rz"]);
    if from == "bf16x2" {
        let form = Form::new(text, U32, &[Bf16, Bf16], move |x| {
            let [low, high] = [0, 1].map(|i| scale(up, finite, &decode(Bf16, x[i])));
            Some(high? << 8 | low?)
        });
        return form.with_body(format!(
            "mov.b32 %r0, {{%a, %b}}; {text} %h0, %r0; cvt.u32.u16 %o, %h0;\n"
        ));
    }
    let form = Form::new(text, U32, &[F32, F32], move |x| {
        let [high, low] = [0, 1].map(|i| scale(up, finite, &decode(F32, x[i])));
        Some(high? << 8 | low?)
    });
    form.with_body(format!("{text} %h0, %a, %b; cvt.u32.u16 %o, %h0;\n"))
}

#[test]
fn every_form_of_conversion() {
    let forms: Vec<Form> = listed(NAMES)
        .into_iter()
        .map(|opcode| {
            let form = form(&opcode);
            opcode.assert_all_seen();
            form
        })
        .collect();
    check(&forms);
}

//! Approximate functions: within the error that the ISA documents, and exact where it is.

use crate::exact::{Value, decode, flushed, nan};
use crate::harness::Ty::{self, Bf16, F16, F32, F64, U32};
use crate::harness::{Form, check};
use crate::listed::{Opcode, listed};

/// Instructions that are approximate only; `rcp`, `sqrt` and `div` have exact forms besides.
pub(crate) const NAMES: &[&str] = &["rsqrt", "ex2", "lg2", "sin", "cos", "tanh"];

fn is_approximate(opcode: &Opcode) -> bool {
    opcode.has("approx") || opcode.has("full")
}

/// The value of a code in binary64.
fn number(ty: Ty, bits: u64) -> f64 {
    match ty {
        F16 => half::f16::from_bits(bits as u16).to_f64(),
        Bf16 => half::bf16::from_bits(bits as u16).to_f64(),
        F32 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(bits),
    }
}

fn function(name: &str) -> fn(f64, f64) -> f64 {
    match name {
        "rcp" => |x, _| 1.0 / x,
        "sqrt" => |x, _| x.sqrt(),
        "rsqrt" => |x, _| 1.0 / x.sqrt(),
        "ex2" => |x, _| x.exp2(),
        "lg2" => |x, _| x.log2(),
        "sin" => |x, _| x.sin(),
        "cos" => |x, _| x.cos(),
        "tanh" => |x, _| x.tanh(),
        "div" => |x, y| x / y,
        _ => panic!("no reference for {name}"),
    }
}

/// Largest error relative to the result, and absolute (PTX ISA, the tables of each instruction).
fn limits(name: &str, ty: Ty) -> (f64, f64) {
    let power = |exponent: f64| exponent.exp2();
    match (name, ty) {
        ("rcp" | "rsqrt", F64) => (power(-19.0), 0.0),
        ("rcp" | "sqrt", _) => (power(-23.0), 0.0),
        ("rsqrt", _) => (power(-22.9), 0.0),
        ("ex2", F16) => (power(-9.9), 0.0),
        ("ex2", Bf16) => (power(-7.0), 0.0),
        ("div" | "ex2", _) => (power(-22.0), 0.0),
        ("lg2", _) => (power(-22.0), power(-22.0)),
        ("sin" | "cos", _) => (0.0, power(-20.5)),
        ("tanh", F16) => (0.0, power(-10.987)),
        ("tanh", Bf16) => (0.0, power(-8.0)),
        _ => (power(-11.0), 0.0),
    }
}

/// Whether a result is near enough to the function's value.
fn accepts(name: &str, ty: Ty, flush: bool, x: &[u64], result: u64) -> bool {
    let of = |bits: u64| {
        let value = number(ty, bits);
        let small = flushed(ty, decode(ty, bits)) != decode(ty, bits);
        if flush && small { 0f64.copysign(value) } else { value }
    };
    let (a, b) = (of(x[0]), x.get(1).map_or(0.0, |&bits| of(bits)));
    let exact = function(name)(a, b);
    let found = number(ty, result);
    if exact.is_nan() {
        return decode(ty, result) == Value::Nan && nan(ty).is_none_or(|nan| nan == result);
    }
    // Above 2^126, quotients may be zero.
    if name == "div" && b.is_finite() && b.abs() > 126f64.exp2() && found == 0.0 {
        return true;
    }
    let smallest = match ty {
        F16 => (-14f64).exp2(),
        F64 => f64::MIN_POSITIVE,
        _ => (-126f64).exp2(),
    };
    if flush && exact.abs() < smallest {
        return found == 0.0 && found.is_sign_negative() == exact.is_sign_negative();
    }
    let largest = match ty {
        F16 => 65504.0,
        F64 => f64::MAX,
        Bf16 => f64::from(half::bf16::MAX),
        _ => f64::from(f32::MAX),
    };
    if exact.abs() > largest {
        return found.is_infinite() && (found > 0.0) == (exact > 0.0);
    }
    if matches!(name, "sin" | "cos") && a.abs() > 100.0 {
        // The ISA bounds no error there.
        return found.abs() <= 1.0;
    }
    let (relative, absolute) = limits(name, ty);
    // A subnormal result has fewer bits.
    let last =
        if ty == F64 { 0.0 } else { smallest * (if ty == F16 { -10f64 } else { -7.0 }).exp2() };
    let last = if ty == F32 { (-149f64).exp2() } else { last };
    (found - exact).abs() <= relative * exact.abs() + absolute + last
}

fn form(opcode: &Opcode) -> Form {
    let (name, flush) = (opcode.name().to_owned(), opcode.has("ftz"));
    let kind = opcode.last_type();
    let ty = Ty::of(kind.strip_suffix("x2").unwrap_or(kind));
    let more = [0.1, 0.3, 0.5, 1.5, 2.75, 3.0, -0.7, 20.5, -30.25];
    let code = |v: f64| match ty {
        F16 => u64::from(half::f16::from_f64(v).to_bits()),
        Bf16 => u64::from(half::bf16::from_f64(v).to_bits()),
        F32 => u64::from((v as f32).to_bits()),
        _ => v.to_bits(),
    };
    let mut edges = ty.edges();
    edges.extend(more.map(code));
    if kind.ends_with("x2") {
        let form = Form::near(&opcode.text, U32, &[ty, ty], move |x, result| {
            let [low, high] = [result & 0xffff, result >> 16];
            accepts(&name, ty, flush, &x[..1], low) && accepts(&name, ty, flush, &x[1..], high)
        });
        let body = format!("mov.b32 %r0, {{%a, %b}}; {} %o, %r0;\n", opcode.text);
        return form.with_edges(&edges).with_body(body);
    }
    let sources = if name == "div" { 2 } else { 1 };
    let near = move |x: &[u64], result| accepts(&name, ty, flush, x, result);
    Form::near(&opcode.text, ty, &vec![ty; sources], near).with_edges(&edges)
}

#[test]
fn every_form_of_approximation() {
    let exact_too = ["rcp", "sqrt", "div"];
    let forms: Vec<Form> = listed(&[NAMES, &exact_too].concat())
        .into_iter()
        .filter(is_approximate)
        .map(|opcode| {
            let form = form(&opcode);
            is_approximate(&opcode);
            opcode.assert_all_seen();
            form
        })
        .collect();
    check(&forms);
}

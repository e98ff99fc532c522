//! Integer arithmetic over mathematical integers, reduced to the type at the end.

use crate::harness::Ty::{self, S32, U16, U32, U64};
use crate::harness::{Form, check};
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &[
    "add", "sub", "mul", "mad", "mul24", "mad24", "sad", "div", "rem", "abs", "neg", "min", "max",
    "dp4a", "dp2a",
];

/// Chains that carry, which have tests of their own.
pub(crate) const CARRIES: &[&str] = &["addc", "subc", "madc"];

/// The integer that the bits of a type mean.
pub(crate) fn value(ty: Ty, bits: u64) -> i128 {
    let width = ty.bits();
    let unsigned = i128::from(bits & (u64::MAX >> (64 - width)));
    if ty.signed() && unsigned >= 1 << (width - 1) { unsigned - (1 << width) } else { unsigned }
}

/// The bits of a type that an integer has modulo its width.
pub(crate) fn wrapped(ty: Ty, integer: i128) -> u64 {
    integer.rem_euclid(1 << ty.bits()) as u64
}

/// Smallest and largest value of a type.
pub(crate) fn range(ty: Ty) -> (i128, i128) {
    let n = ty.bits();
    if ty.signed() { (-(1 << (n - 1)), (1 << (n - 1)) - 1) } else { (0, (1 << n) - 1) }
}

/// Whether an opcode computes with integers.
fn is_integer(opcode: &Opcode) -> bool {
    let kind = opcode.last_type();
    !kind.contains('f') && !opcode.has("cc")
}

/// The upper half of a product: of 64-bit unsigned values it needs 128 bits without sign.
fn high(ty: Ty, a: i128, b: i128) -> i128 {
    if ty == U64 { ((a as u128 * b as u128) >> 64) as i128 } else { (a * b) >> ty.bits() }
}

/// The low 24 bits as a number.
fn low24(ty: Ty, bits: i128) -> i128 {
    let part = bits & 0xff_ffff;
    if ty.signed() && part >= 1 << 23 { part - (1 << 24) } else { part }
}

type Function = Box<dyn Fn(i128, i128, i128) -> Option<i128>>;

/// What an instruction of one type computes, and how many sources it has.
fn function(opcode: &Opcode, ty: Ty) -> (Function, usize) {
    let limits = range(ty);
    let part = opcode.one_of(&["lo", "hi", "wide"]);
    let (saturates, relu) = (opcode.has("sat"), opcode.has("relu"));
    let limit = move |v: i128| if saturates { v.clamp(limits.0, limits.1) } else { v };
    let floor = move |v: i128| if relu { v.max(0) } else { v };
    let product = move |a: i128, b: i128| match part {
        Some("hi") => high(ty, a, b),
        _ => a.wrapping_mul(b),
    };
    match opcode.name() {
        "add" => (Box::new(move |a, b, _| Some(limit(a + b))), 2),
        "sub" => (Box::new(move |a, b, _| Some(limit(a - b))), 2),
        "mul" => (Box::new(move |a, b, _| Some(product(a, b))), 2),
        "mad" => (Box::new(move |a, b, c| Some(product(a, b).wrapping_add(c))), 3),
        "mul24" if part == Some("hi") => {
            (Box::new(move |a, b, _| Some((low24(ty, a) * low24(ty, b)) >> 16)), 2)
        }
        "mul24" => (Box::new(move |a, b, _| Some(low24(ty, a) * low24(ty, b))), 2),
        "mad24" => (Box::new(move |a, b, c| Some(low24(ty, a) * low24(ty, b) + c)), 3),
        "sad" => (Box::new(|a, b, c| Some((a - b).abs() + c)), 3),
        "div" => (Box::new(|a, b, _| (b != 0).then(|| a / b)), 2),
        "rem" => (Box::new(|a, b, _| (b != 0).then(|| a - a / b * b)), 2),
        "abs" => (Box::new(|a, _, _| Some(a.abs())), 1),
        "neg" => (Box::new(|a, _, _| Some(-a)), 1),
        "min" => (Box::new(move |a, b, _| Some(floor(if a < b { a } else { b }))), 2),
        "max" => (Box::new(move |a, b, _| Some(floor(if a > b { a } else { b }))), 2),
        name => panic!("no reference for {name}"),
    }
}

fn form(opcode: &Opcode) -> Form {
    if opcode.name().starts_with("dp") {
        return dot_product(opcode);
    }
    let kind = opcode.last_type();
    if let Some(half) = kind.strip_suffix("x2") {
        return pair(opcode, Ty::of(half));
    }
    let ty = Ty::of(kind);
    let (f, sources) = function(opcode, ty);
    let wide = opcode.has("wide");
    let double = match ty {
        _ if !wide => ty,
        Ty::U16 => Ty::U32,
        Ty::S16 => Ty::S32,
        Ty::U32 => Ty::U64,
        _ => Ty::S64,
    };
    let kinds = [ty, ty, double];
    Form::new(&opcode.text, double, &kinds[..sources], move |x| {
        let of = |i: usize| x.get(i).map_or(0, |&bits| value(kinds[i], bits));
        f(of(0), of(1), of(2)).map(|result| wrapped(double, result))
    })
}

/// Both halves at once.
fn pair(opcode: &Opcode, half: Ty) -> Form {
    let (f, sources) = function(opcode, half);
    assert_eq!(sources, 2, "{}", opcode.text);
    Form::new(&opcode.text, U32, &[U32, U32], move |x| {
        let part = |word: u64, i: u32| value(half, word >> (16 * i));
        let low = wrapped(half, f(part(x[0], 0), part(x[1], 0), 0)?);
        let high = wrapped(half, f(part(x[0], 1), part(x[1], 1), 0)?);
        Some(high << 16 | low)
    })
}

fn dot_product(opcode: &Opcode) -> Form {
    let [a, b] = opcode.types()[..] else { panic!("{}", opcode.text) };
    let (a, b) = (Ty::of(a), Ty::of(b));
    let part = |ty: Ty, word: u64, i: u32, width: u32| {
        let bits = i128::from(word >> (i * width) & ((1 << width) - 1));
        if ty == S32 && bits >= 1 << (width - 1) { bits - (1 << width) } else { bits }
    };
    let count = if opcode.name() == "dp4a" { 4 } else { 2 };
    let first = if opcode.one_of(&["lo", "hi"]) == Some("hi") { 2 } else { 0 };
    Form::new(&opcode.text, U32, &[U32, U32, U32], move |x| {
        let width = 32 / count;
        let sum: i128 =
            (0..count).map(|i| part(a, x[0], i, width) * part(b, x[1], i + first, 8)).sum();
        Some(wrapped(U32, sum + i128::from(x[2])))
    })
}

#[test]
fn every_form_of_integer_arithmetic() {
    let opcodes = listed(NAMES).into_iter().filter(is_integer);
    let forms: Vec<Form> = opcodes
        .map(|opcode| {
            let form = form(&opcode);
            opcode.assert_all_seen();
            form
        })
        .collect();
    check(&forms);
}

/// A form that reads the flag, sets it, or both, between others that make and read it: the sum,
/// difference or product with the flag, and the flag behind it.
fn carry(opcode: &Opcode) -> Form {
    let ty = Ty::of(opcode.last_type());
    let (name, sets) = (opcode.name().to_owned(), opcode.has("cc"));
    let reads = name.ends_with('c');
    let part = opcode.one_of(&["lo", "hi"]);
    let subtracts = name.starts_with("sub");
    let product = name.starts_with("mad");
    // Before it, the flag is set where the last operand is odd; behind it, its state becomes the
    // result's top bit, in which the difference to the other half shows.
    let n = ty.bits();
    let operands = if product { "%a, %b, %c" } else { "%a, %b" };
    let unsigned = if n == 32 { U32 } else { U64 };
    let last = if product { "%c" } else { "%b" };
    let text = format!(
        "and.b{n} %x, {last}, 1; sub.u{n} %x, 0, %x; add.cc.u{n} %x, %x, 1;\n\
         {} %y, {operands};\naddc.u32 %flag, 0, 0;\n",
        opcode.text
    );
    let fold = if n == 32 {
        "cvt.u64.u32 %d0, %y; cvt.u64.u32 %d1, %flag; shl.b64 %d1, %d1, 40; or.b64 %o, %d0, %d1;\n"
    } else {
        "cvt.u64.u32 %d1, %flag; xor.b64 %o, %y, %d1;\n"
    };
    let body = format!("{{ .reg .b{n} %x, %y; .reg .b32 %flag;\n{text}{fold}}}\n");
    let sources = if product { vec![ty; 3] } else { vec![ty; 2] };
    let form = Form::new(&opcode.text, U64, &sources, move |x| {
        let odd = x[x.len() - 1] & 1 == 1;
        let of = |i: usize| value(if product { ty } else { unsigned }, x[i]);
        let before = i128::from(reads && odd);
        let modulus = 1i128 << n;
        let (exact, borrows) = if product {
            let factor = match part {
                Some("hi") => high(ty, of(0), of(1)),
                _ => of(0).wrapping_mul(of(1)),
            };
            // The addends as words, as an adder sees them.
            let sum = wrapped(unsigned, factor) as i128 + x[2] as i128 + before;
            (sum, sum >= modulus)
        } else if subtracts {
            // The flag is that of a borrow.
            let difference = of(0) - of(1) - before;
            (difference, difference < 0)
        } else {
            let sum = of(0) + of(1) + before;
            (sum, sum >= modulus)
        };
        let flag = if sets { borrows } else { odd };
        let result = wrapped(unsigned, exact);
        Some(if n == 32 { result | u64::from(flag) << 40 } else { result ^ u64::from(flag) })
    });
    form.with_body(body)
}

#[test]
fn every_form_that_carries() {
    let opcodes = listed(NAMES).into_iter().filter(|opcode| opcode.has("cc"));
    let forms: Vec<Form> = opcodes
        .chain(listed(CARRIES))
        .map(|opcode| {
            let form = carry(&opcode);
            opcode.assert_all_seen();
            form
        })
        .collect();
    check(&forms);
}

#[test]
fn carries_run_through_chains() {
    let mut forms = Vec::new();
    // 64-bit sums by halves of 32 bits, and the last carry as a bit.
    let halves = "mov.b64 {%r0, %r1}, %a; mov.b64 {%r2, %r3}, %b;\n";
    for (first, second, sign) in [("add.cc", "addc", 1), ("sub.cc", "subc", -1)] {
        let form = Form::new(format!("{first} {second}"), U64, &[U64, U64], move |x| {
            Some(wrapped(U64, value(U64, x[0]) + sign * value(U64, x[1])))
        });
        forms.push(form.with_body(format!(
            "{halves}{first}.u32 %r4, %r0, %r2; {second}.u32 %r5, %r1, %r3; mov.b64 %o, {{%r4, %r5}};\n"
        )));
    }
    // The high word of a product of 64 bits by words, as compilers build it.
    let form = Form::new("mad.cc madc", U64, &[U64, U64], |x| {
        Some(((u128::from(x[0]) * u128::from(x[1])) >> 64) as u64)
    });
    forms.push(form.with_body(format!(
        "{halves}{{ .reg .b32 %m0, %m1, %m2, %m3;\n\
         mul.hi.u32 %m0, %r0, %r2;\n\
         mad.lo.cc.u32 %m0, %r0, %r3, %m0; madc.hi.u32 %m1, %r0, %r3, 0;\n\
         mad.lo.cc.u32 %m0, %r1, %r2, %m0; madc.hi.cc.u32 %m1, %r1, %r2, %m1; addc.u32 %m2, 0, 0;\n\
         mad.lo.cc.u32 %m1, %r1, %r3, %m1; madc.hi.u32 %m2, %r1, %r3, %m2;\n\
         mov.b64 %o, {{%m1, %m2}}; }}\n"
    )));
    check(&forms);
}

#[test]
fn sixteen_bits_are_taken_from_registers_that_hold_more() {
    // The upper half of a 32-bit register does not leak into 16-bit arithmetic.
    let form = Form::new("add.u16", U16, &[U32, U32], |x| {
        Some(wrapped(U16, value(U16, x[0]) + value(U16, x[1])))
    });
    check(&[form.with_body("cvt.u16.u32 %h0, %a; cvt.u16.u32 %h1, %b; add.u16 %o, %h0, %h1;\n")]);
}

//! Comparison and selection: what holds by the order of two values.

use std::cmp::Ordering;

use crate::bits::logic;
use crate::exact::{decode, flushed};
use crate::harness::Ty::{self, F32, S32, U32};
use crate::harness::{Form, check};
use crate::integer::value;
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &["setp", "set", "selp", "slct"];

type Test = fn(Option<Ordering>) -> bool;

/// What each comparison asks of an order, which there is none of where a NaN is compared.
const TESTS: [(&str, Test); 18] = [
    ("eq", |o| o.is_some_and(Ordering::is_eq)),
    ("ne", |o| o.is_some_and(Ordering::is_ne)),
    ("lt", |o| o.is_some_and(Ordering::is_lt)),
    ("le", |o| o.is_some_and(Ordering::is_le)),
    ("gt", |o| o.is_some_and(Ordering::is_gt)),
    ("ge", |o| o.is_some_and(Ordering::is_ge)),
    ("lo", |o| o.is_some_and(Ordering::is_lt)),
    ("ls", |o| o.is_some_and(Ordering::is_le)),
    ("hi", |o| o.is_some_and(Ordering::is_gt)),
    ("hs", |o| o.is_some_and(Ordering::is_ge)),
    ("equ", |o| o.is_none_or(Ordering::is_eq)),
    ("neu", |o| o.is_none_or(Ordering::is_ne)),
    ("ltu", |o| o.is_none_or(Ordering::is_lt)),
    ("leu", |o| o.is_none_or(Ordering::is_le)),
    ("gtu", |o| o.is_none_or(Ordering::is_gt)),
    ("geu", |o| o.is_none_or(Ordering::is_ge)),
    ("num", |o| o.is_some()),
    ("nan", |o| o.is_none()),
];

fn order(ty: Ty, flush: bool, a: u64, b: u64) -> Option<Ordering> {
    if !ty.is_float() {
        return Some(value(ty, a).cmp(&value(ty, b)));
    }
    let of = |bits| if flush { flushed(ty, decode(ty, bits)) } else { decode(ty, bits) };
    of(a).order(&of(b))
}

/// What a comparison says of two values and of a third that may be combined with it.
fn holds(opcode: &Opcode, ty: Ty) -> impl Fn(&[u64], bool) -> bool + 'static {
    let test = TESTS.into_iter().find(|(name, _)| opcode.has(name)).unwrap().1;
    let combined = opcode.one_of(&["and", "or", "xor"]).map(logic);
    let flush = opcode.has("ftz");
    move |x, other| {
        let first = test(order(ty, flush, x[0], x[1]));
        combined.map_or(first, |f| f(u64::from(first), u64::from(other)) == 1)
    }
}

/// Fewer operands where forms are many: the edges of each type, and a NaN.
fn edges(ty: Ty) -> Vec<u64> {
    let all = ty.edges();
    if ty.is_float() { all } else { all.into_iter().step_by(2).collect() }
}

/// `setp` with both results, combined with whether the first value is even or not so.
fn predicate(opcode: &Opcode) -> Form {
    let ty = Ty::of(opcode.last_type());
    let n = ty.bits();
    let holds = holds(opcode, ty);
    let combined = ["and", "or", "xor"].iter().any(|word| opcode.has(word));
    // The second result is the negated comparison, combined in the same way.
    let negated = {
        let plain = Opcode::uncombined(opcode);
        let plain = self::holds(&plain, ty);
        let f = opcode.one_of(&["and", "or", "xor"]).map(logic);
        move |x: &[u64], other: bool| {
            let second = !plain(x, other);
            f.map_or(second, |f| f(u64::from(second), u64::from(other)) == 1)
        }
    };
    // Of 16-bit values, packed comparisons alone have two results.
    let two = !matches!(ty, Ty::F16 | Ty::Bf16);
    let form = Form::new(&opcode.text, U32, &[ty, ty], move |x| {
        let even = x[0] % 2 == 0;
        Some(u64::from(holds(x, even)) + 2 * u64::from(two && negated(x, even)))
    });
    let third = if combined { ", !%z" } else { "" };
    let results = if two { "%p|%q" } else { "%p" };
    form.with_edges(&edges(ty)).with_body(format!(
        "{{ .reg .pred %z; .reg .b{n} %x; and.b{n} %x, %a, 1; setp.eq.b{n} %z, %x, 1;\n\
         setp.ne.u32 %q, 0, 0; {} {results}, %a, %b{third}; selp.u32 %o, 1, 0, %p; selp.u32 %r0, 2, 0, %q;\n\
         add.u32 %o, %o, %r0; }}\n",
        opcode.text
    ))
}

/// `set`: all ones, or one as a floating-point value.
fn number(opcode: &Opcode) -> Form {
    let [result, source] = opcode.types()[..] else { panic!("{}", opcode.text) };
    let (to, ty) = (Ty::of(result), Ty::of(source));
    let one = match result {
        "f32" => 0x3f80_0000,
        "f16" => 0x3c00,
        "bf16" => 0x3f80,
        _ => u64::MAX >> (64 - to.bits()),
    };
    let holds = holds(opcode, ty);
    let combined = ["and", "or", "xor"].iter().any(|word| opcode.has(word));
    let form = Form::new(&opcode.text, to, &[ty, ty], move |x| {
        Some(if holds(x, x[1] % 2 == 1) { one } else { 0 })
    });
    let n = ty.bits();
    let third = if combined { ", %z" } else { "" };
    form.with_edges(&edges(ty)).with_body(format!(
        "{{ .reg .pred %z; .reg .b{n} %x; and.b{n} %x, %b, 1; setp.eq.b{n} %z, %x, 1;\n\
         {} %o, %a, %b{third}; }}\n",
        opcode.text
    ))
}

fn selection(opcode: &Opcode) -> Form {
    let types = opcode.types();
    let ty = Ty::of(types[0]);
    if opcode.name() == "selp" {
        let form = Form::new(&opcode.text, ty, &[ty, ty, U32], |x| Some(x[usize::from(x[2] != 3)]));
        let body = format!("setp.eq.u32 %p, %c, 3; {} %o, %a, %b, %p;\n", opcode.text);
        return form.with_body(body);
    }
    let flush = opcode.has("ftz");
    if types[1] == "s32" {
        return Form::new(&opcode.text, ty, &[ty, ty, S32], |x| {
            Some(x[usize::from(value(S32, x[2]) < 0)])
        });
    }
    Form::new(&opcode.text, ty, &[ty, ty, F32], move |x| {
        let first = order(F32, flush, x[2], 0).is_some_and(Ordering::is_ge);
        Some(x[usize::from(!first)])
    })
}

#[test]
fn every_form_of_comparison_and_selection() {
    let forms: Vec<Form> = listed(NAMES)
        .into_iter()
        .map(|opcode| {
            let form = match opcode.name() {
                "setp" => predicate(&opcode),
                "set" => number(&opcode),
                _ => selection(&opcode),
            };
            opcode.assert_all_seen();
            form
        })
        .collect();
    check(&forms);
}

//! Atomic operations: what is in memory afterwards, and what was there before.

use crate::exact::{Finish, decode, encode, nan};
use crate::harness::Ty::{self, U64};
use crate::harness::{Form, check};
use crate::integer::{value, wrapped};
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &["atom", "red"];

/// Words that change no result of one thread.
const NEUTRAL: &[&str] = &[
    "relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys", "global", "noftz",
];

type Update = Box<dyn Fn(u64, u64, u64) -> Option<u64>>;

/// The new value from the old one, the operand and that of a comparison.
fn update(opcode: &Opcode, ty: Ty) -> Update {
    let names = ["add", "min", "max", "inc", "dec", "and", "or", "xor", "exch", "cas"];
    let name = opcode.one_of(&names).unwrap();
    if ty.is_float() {
        return Box::new(move |old, new, _| {
            let (a, b) = (decode(ty, old), decode(ty, new));
            if name == "add" {
                return encode(ty, &a.plus(b, 'n'), Finish::NEAREST);
            }
            let Some(order) = a.order(&b) else {
                // A number is chosen before a NaN.
                let numbers =
                    [(a, old), (b, new)].into_iter().filter(|(v, _)| v.order(v).is_some());
                return numbers.map(|(_, bits)| bits).next().or(nan(ty));
            };
            // +0 is greater than -0.
            let greater = order.is_gt() || order.is_eq() && !a.is_negative();
            Some(if greater == (name == "max") { old } else { new })
        });
    }
    let of = move |bits| value(ty, bits);
    let word = move |integer| wrapped(ty, integer);
    match name {
        "add" => Box::new(move |a, b, _| Some(word(of(a) + of(b)))),
        "min" => Box::new(move |a, b, _| Some(word(of(a).min(of(b))))),
        "max" => Box::new(move |a, b, _| Some(word(of(a).max(of(b))))),
        "inc" => Box::new(|a, b, _| Some(if a >= b { 0 } else { a + 1 })),
        "dec" => Box::new(|a, b, _| Some(if a == 0 || a > b { b } else { a - 1 })),
        "and" => Box::new(|a, b, _| Some(a & b)),
        "or" => Box::new(|a, b, _| Some(a | b)),
        "xor" => Box::new(|a, b, _| Some(a ^ b)),
        "exch" => Box::new(|_, b, _| Some(b)),
        _ => Box::new(|a, b, c| Some(if a == c { b } else { a })),
    }
}

/// Old and new contents of a place, as numbers that tell one from the other.
fn form(opcode: &Opcode) -> Form {
    opcode.ignore(NEUTRAL);
    let kind = opcode.last_type();
    let ty = Ty::of(kind.strip_suffix("x2").unwrap_or(kind));
    // Elements of a word, and words.
    let packed = if kind.ends_with("x2") { 2 } else { 1 };
    let words = match opcode.one_of(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    };
    let (n, bits) = (ty.bits(), ty.bits() * packed);
    let update = update(opcode, ty);
    let compares = opcode.has("cas");
    let returns = opcode.name() == "atom";
    let elements = (words * packed) as usize;
    // Element i of memory and of the operand: %a and %b in turns.
    let form = Form::new(&opcode.text, U64, &[ty, ty, ty], move |x| {
        let mut sum = 0u64;
        for i in 0..elements {
            let (old, new) = if i % 2 == 0 { (x[0], x[1]) } else { (x[1], x[0]) };
            let result = update(old, new, x[2])?;
            let old = if returns { old } else { 0 };
            sum = sum.wrapping_mul(31).wrapping_add(old.wrapping_mul(7).wrapping_add(result));
        }
        Some(sum)
    });
    let swapped = |i: u32| if i.is_multiple_of(2) { ("%a", "%b") } else { ("%b", "%a") };
    let (space, setup, at) = if opcode.one_of(&["shared", "shared::cta"]).is_some() {
        let setup =
            ".shared .align 16 .b8 pad[8192]; mov.u32 %r9, pad; mad.lo.u32 %r9, %t, 64, %r9;\n";
        (".shared", setup, "%r9")
    } else {
        (".global", "", "%room")
    };
    let mut body =
        format!("{{ {setup}.reg .b{bits} %old<8>, %new<8>; .reg .b{n} %one; mov.u64 %o, 0;\n");
    if opcode.has("L2::cache_hint") {
        body += "createpolicy.fractional.L2::evict_last.b64 %d7;\n";
    }
    for i in 0..elements as u32 {
        let (old, _) = swapped(i);
        body += &format!("st{space}.b{n} [{at}+{}], {old};\n", i * n / 8);
    }
    for i in 0..words {
        body += &if packed == 2 {
            // Both halves, of which the first is even.
            format!("mov.b{bits} %new{i}, {{%b, %a}};\n")
        } else {
            format!("mov.b{bits} %new{i}, {};\n", swapped(i).1)
        };
    }
    let list = |name: &str| {
        let names: Vec<String> = (0..words).map(|i| format!("%{name}{i}")).collect();
        if words == 1 { names[0].clone() } else { format!("{{{}}}", names.join(", ")) }
    };
    let result = if returns { format!("{}, ", list("old")) } else { String::new() };
    let compared = if compares { "%c, " } else { "" };
    let hint = if opcode.has("L2::cache_hint") { ", %d7" } else { "" };
    body += &format!("{} {result}[{at}], {compared}{}{hint};\n", opcode.text, list("new"));
    for i in 0..elements as u32 {
        let widen = |register: &str, wide: &str| {
            if n == 64 {
                format!("mov.b64 {wide}, {register};")
            } else {
                format!("cvt.u64.u{n} {wide}, {register};")
            }
        };
        body += "mov.u64 %d1, 0; ";
        if returns && packed == 2 {
            let (half, other) = if i % 2 == 0 { ("%one, _", "") } else { ("_, %one", "") };
            body += &format!("mov.b{bits} {{{half}}}, %old{}{other}; ", i / 2);
            body += &widen("%one", "%d1");
        } else if returns {
            body += &widen(&format!("%old{i}"), "%d1");
        }
        body += &format!("ld{space}.b{n} %one, [{at}+{}]; {}\n", i * n / 8, widen("%one", "%d2"));
        body += "mad.lo.u64 %d2, %d1, 7, %d2; mad.lo.u64 %o, %o, 31, %d2;\n";
    }
    let edges: Vec<u64> = ty.edges().into_iter().step_by(if compares { 2 } else { 1 }).collect();
    form.with_edges(&edges).with_body(body + "}\n")
}

#[test]
fn every_form_of_atomic_operations() {
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

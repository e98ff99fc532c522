//! Logic, shifts and fields, bit by bit.

use crate::harness::Ty::{self, Amount, U32};
use crate::harness::{Form, check};
use crate::integer::{value, wrapped};
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &[
    "and", "or", "xor", "not", "cnot", "shl", "shr", "shf", "popc", "clz", "brev", "bfind", "bfe",
    "bfi", "bmsk", "szext", "lop3", "prmt",
];

fn bit(x: u64, i: u32) -> u64 {
    if i < 64 { x >> i & 1 } else { 0 }
}

/// A word from its bits.
fn from_bits(width: u32, f: impl Fn(u32) -> u64) -> u64 {
    (0..width).fold(0, |word, i| word | f(i) << i)
}

/// Logic of two bits.
pub(crate) fn logic(name: &str) -> fn(u64, u64) -> u64 {
    match name {
        "and" => |a, b| a * b,
        "or" => |a, b| (a + b).min(1),
        "xor" => |a, b| (a + b) % 2,
        _ => panic!("no logic {name}"),
    }
}

fn forms(opcode: &Opcode) -> Vec<Form> {
    if opcode.has("pred") {
        return vec![of_predicates(opcode)];
    }
    if opcode.name() == "lop3" {
        opcode.types();
        return truth_tables(opcode);
    }
    let ty = Ty::of(opcode.last_type());
    let n = ty.bits();
    let unary = |result: Ty, f: Box<dyn Fn(u64) -> u64>| {
        Form::new(&opcode.text, result, &[ty], move |x| Some(f(x[0])))
    };
    vec![match opcode.name() {
        name @ ("and" | "or" | "xor") => {
            let f = logic(name);
            Form::new(&opcode.text, ty, &[ty, ty], move |x| {
                Some(from_bits(n, |i| f(bit(x[0], i), bit(x[1], i))))
            })
        }
        "not" => unary(ty, Box::new(move |x| from_bits(n, |i| 1 - bit(x, i)))),
        "cnot" => unary(ty, Box::new(|x| u64::from(x == 0))),
        "popc" => unary(U32, Box::new(move |x| (0..n).map(|i| bit(x, i)).sum())),
        "clz" => {
            let zeros = move |x| (0..n).rev().take_while(|&i| bit(x, i) == 0).count() as u64;
            unary(U32, Box::new(zeros))
        }
        "brev" => unary(ty, Box::new(move |x| from_bits(n, |i| bit(x, n - 1 - i)))),
        "bfind" => {
            let shift = opcode.has("shiftamt");
            let find = move |x| {
                let sign = if ty.signed() { bit(x, n - 1) } else { 0 };
                let found = (0..n).rev().find(|&i| bit(x, i) != sign);
                let answer = |i| u64::from(if shift { n - 1 - i } else { i });
                found.map_or(0xffff_ffff, answer)
            };
            unary(U32, Box::new(find))
        }
        "shl" => Form::new(&opcode.text, ty, &[ty, Amount], move |x| {
            Some(if x[1] >= u64::from(n) { 0 } else { wrapped(ty, i128::from(x[0]) << x[1]) })
        }),
        "shr" => Form::new(&opcode.text, ty, &[ty, Amount], move |x| {
            // Division by a power of two, rounded down.
            let amount = x[1].min(u64::from(n));
            Some(wrapped(ty, value(ty, x[0]).div_euclid(1 << amount)))
        }),
        "shf" => funnel(opcode),
        "bfe" => field(opcode, ty),
        "bfi" => insertion(opcode, ty),
        "bmsk" => mask(opcode),
        "szext" => extension(opcode, ty),
        "prmt" => permutation(opcode),
        name => panic!("no reference for {name}"),
    }]
}

fn of_predicates(opcode: &Opcode) -> Form {
    let (text, name) = (&opcode.text, opcode.name());
    let read = "setp.eq.u32 %p, %a, 3; setp.eq.u32 %q, %b, 3; .reg .pred %z;\n";
    let write = "selp.u32 %o, 1, 0, %z;\n";
    if name == "not" {
        let form = Form::new(text, U32, &[U32, U32], |x| Some(u64::from(x[0] != 3)));
        return form.with_body(format!("{read}{text} %z, %p; {write}"));
    }
    let f = logic(name);
    let form = Form::new(text, U32, &[U32, U32], move |x| {
        Some(f(u64::from(x[0] == 3), u64::from(x[1] == 3)))
    });
    form.with_body(format!("{read}{text} %z, %p, %q; {write}"))
}

/// `lop3` with truth tables of every number of ones, and each with a single one.
fn truth_tables(opcode: &Opcode) -> Vec<Form> {
    let tables = [0x00, 0xff, 0x80, 0xe8, 0x96, 0xca, 0xea, 0x2d, 1, 2, 4, 8, 16, 32, 64];
    tables
        .into_iter()
        .map(|table| {
            let mut form = Form::new(&opcode.text, U32, &[U32, U32, U32], move |x| {
                let place = |i| bit(x[0], i) << 2 | bit(x[1], i) << 1 | bit(x[2], i);
                Some(from_bits(32, |i| bit(table, place(i) as u32)))
            });
            form.tail = format!(", {table}");
            form
        })
        .collect()
}

fn funnel(opcode: &Opcode) -> Form {
    let (left, wraps) = (opcode.has("l"), opcode.has("wrap"));
    opcode.ignore(&["r", "clamp"]);
    Form::new(&opcode.text, U32, &[U32, U32, Amount], move |x| {
        let amount = if wraps { x[2] % 32 } else { x[2].min(32) };
        let pair = u128::from(x[1]) << 32 | u128::from(x[0]);
        let moved = if left { pair << amount >> 32 } else { pair >> amount };
        Some(moved as u64 & 0xffff_ffff)
    })
}

fn field(opcode: &Opcode, ty: Ty) -> Form {
    let n = ty.bits();
    Form::new(&opcode.text, ty, &[ty, Amount, Amount], move |x| {
        let (position, length) = ((x[1] & 255) as u32, (x[2] & 255) as u32);
        let msb = n - 1;
        let sign = if !ty.signed() || length == 0 {
            0
        } else {
            bit(x[0], (position + length - 1).min(msb))
        };
        Some(from_bits(n, |i| {
            if i < length && position + i <= msb { bit(x[0], position + i) } else { sign }
        }))
    })
}

fn insertion(opcode: &Opcode, ty: Ty) -> Form {
    let n = ty.bits();
    Form::new(&opcode.text, ty, &[ty, ty, Amount, Amount], move |x| {
        let (position, length) = ((x[2] & 255) as u32, (x[3] & 255) as u32);
        Some(from_bits(n, |i| {
            let inside = i >= position && i < position + length;
            if inside { bit(x[0], i - position) } else { bit(x[1], i) }
        }))
    })
}

/// `bmsk`: ones from a position on.
fn mask(opcode: &Opcode) -> Form {
    let wraps = opcode.has("wrap");
    opcode.ignore(&["clamp"]);
    Form::new(&opcode.text, U32, &[Amount, Amount], move |x| {
        let limit = |v: u64| if wraps { v % 32 } else { v.min(32) };
        let (position, width) = (limit(x[0]), limit(x[1]));
        Some(from_bits(32, |i| u64::from((position..position + width).contains(&u64::from(i)))))
    })
}

/// `szext`: the low bits of a value, extended.
fn extension(opcode: &Opcode, ty: Ty) -> Form {
    let wraps = opcode.has("wrap");
    opcode.ignore(&["clamp"]);
    Form::new(&opcode.text, ty, &[ty, Amount], move |x| {
        let width = (if wraps { x[1] % 32 } else { x[1].min(32) }) as u32;
        let sign = if ty.signed() && width > 0 { bit(x[0], width - 1) } else { 0 };
        Some(from_bits(32, |i| if i < width { bit(x[0], i) } else { sign }))
    })
}

fn permutation(opcode: &Opcode) -> Form {
    let byte =
        |x: &[u64], i: u64| (if i < 4 { x[0] >> (8 * i) } else { x[1] >> (8 * (i - 4)) }) & 255;
    // The ISA's table: source bytes for selectors 0 to 3, highest first.
    let modes: [(&str, [[u64; 4]; 4]); 6] = [
        ("f4e", [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        ("b4e", [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        ("rc8", [[0; 4], [1; 4], [2; 4], [3; 4]]),
        ("ecl", [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        ("rc16", [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ];
    let sources = [U32, U32, U32];
    if let Some((_, table)) = modes.into_iter().find(|(mode, _)| opcode.has(mode)) {
        return Form::new(&opcode.text, U32, &sources, move |x| {
            let row = table[(x[2] & 3) as usize];
            Some((0..4).fold(0, |word, i| word | byte(x, row[3 - i]) << (8 * i)))
        });
    }
    Form::new(&opcode.text, U32, &sources, move |x| {
        Some((0..4).fold(0, |word, i| {
            let selector = x[2] >> (4 * i) & 15;
            let chosen = byte(x, selector & 7);
            let chosen = if selector >= 8 { if chosen >= 128 { 255 } else { 0 } } else { chosen };
            word | chosen << (8 * i)
        }))
    })
}

#[test]
fn every_form_of_logic_shifts_and_fields() {
    let of = |opcode: Opcode| {
        let forms = forms(&opcode);
        opcode.assert_all_seen();
        forms
    };
    check(&listed(NAMES).into_iter().flat_map(of).collect::<Vec<Form>>());
}

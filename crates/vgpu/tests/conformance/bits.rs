//! Logic, shifts and fields, bit by bit.

use crate::harness::Ty::{self, Amount, S16, S32, S64, U16, U32, U64};
use crate::harness::{Form, check};
use crate::integer::{value, wrapped};

fn bit(x: u64, i: u32) -> u64 {
    if i < 64 { x >> i & 1 } else { 0 }
}

/// A word from its bits.
fn from_bits(width: u32, f: impl Fn(u32) -> u64) -> u64 {
    (0..width).fold(0, |word, i| word | f(i) << i)
}

#[test]
fn logic_and_counts() {
    let mut forms = Vec::new();
    for ty in [U16, U32, U64] {
        let n = ty.bits();
        for (name, f) in [
            ("and", (|a, b| a * b) as fn(u64, u64) -> u64),
            ("or", |a, b| (a + b).min(1)),
            ("xor", |a, b| (a + b) % 2),
        ] {
            forms.push(Form::new(format!("{name}.b{n}"), ty, &[ty, ty], move |x| {
                Some(from_bits(n, |i| f(bit(x[0], i), bit(x[1], i))))
            }));
        }
        forms.push(Form::new(format!("not.b{n}"), ty, &[ty], move |x| {
            Some(from_bits(n, |i| 1 - bit(x[0], i)))
        }));
        forms.push(Form::new(format!("cnot.b{n}"), ty, &[ty], |x| Some(u64::from(x[0] == 0))));
    }
    for ty in [U32, U64] {
        let n = ty.bits();
        forms.push(Form::new(format!("popc.b{n}"), U32, &[ty], move |x| {
            Some((0..n).map(|i| bit(x[0], i)).sum())
        }));
        forms.push(Form::new(format!("clz.b{n}"), U32, &[ty], move |x| {
            Some((0..n).rev().take_while(|&i| bit(x[0], i) == 0).count() as u64)
        }));
        forms.push(Form::new(format!("brev.b{n}"), ty, &[ty], move |x| {
            Some(from_bits(n, |i| bit(x[0], n - 1 - i)))
        }));
        forms.push(Form::new(format!("bfind.u{n}"), U32, &[ty], move |x| {
            Some((0..n).rev().find(|&i| bit(x[0], i) == 1).map_or(0xffff_ffff, u64::from))
        }));
    }
    forms.push(Form::new("bfind.s32", U32, &[S32], |x| {
        let sign = bit(x[0], 31);
        Some((0..32).rev().find(|&i| bit(x[0], i) != sign).map_or(0xffff_ffff, u64::from))
    }));
    for table in [0x00, 0xff, 0x80, 0xe8, 0x96, 0xca, 0xea, 0x2d] {
        let mut form = Form::new("lop3.b32", U32, &[U32, U32, U32], move |x| {
            Some(from_bits(32, |i| {
                bit(table, (bit(x[0], i) << 2 | bit(x[1], i) << 1 | bit(x[2], i)) as u32)
            }))
        });
        form.tail = format!(", {table}");
        forms.push(form);
    }
    check(&forms);
}

#[test]
fn shifts() {
    let mut forms = Vec::new();
    for ty in [U16, U32, U64] {
        let n = ty.bits();
        forms.push(Form::new(format!("shl.b{n}"), ty, &[ty, Amount], move |x| {
            Some(if x[1] >= u64::from(n) { 0 } else { wrapped(ty, i128::from(x[0]) << x[1]) })
        }));
    }
    for ty in [U16, U32, U64, S16, S32, S64] {
        forms.push(Form::new(format!("shr.{}", ty.name()), ty, &[ty, Amount], move |x| {
            // Division by a power of two, rounded down.
            let amount = x[1].min(u64::from(ty.bits()));
            Some(wrapped(ty, value(ty, x[0]).div_euclid(1 << amount)))
        }));
    }
    for (mode, limit) in [("wrap", 31), ("clamp", 32)] {
        let amount = move |n: u64| if limit == 31 { n & 31 } else { n.min(32) };
        let pair = |x: &[u64]| u128::from(x[1]) << 32 | u128::from(x[0]);
        forms.push(Form::new(format!("shf.l.{mode}.b32"), U32, &[U32, U32, Amount], move |x| {
            Some((pair(x) << amount(x[2]) >> 32) as u64 & 0xffff_ffff)
        }));
        forms.push(Form::new(format!("shf.r.{mode}.b32"), U32, &[U32, U32, Amount], move |x| {
            Some((pair(x) >> amount(x[2])) as u64 & 0xffff_ffff)
        }));
    }
    check(&forms);
}

#[test]
fn fields_and_permutations() {
    let mut forms = Vec::new();
    for ty in [U32, S32, U64, S64] {
        let n = ty.bits();
        forms.push(Form::new(format!("bfe.{}", ty.name()), ty, &[ty, Amount, Amount], move |x| {
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
        }));
    }
    for ty in [U32, U64] {
        let n = ty.bits();
        let mut form = Form::new(format!("bfi.b{n}"), ty, &[ty, ty, Amount, Amount], move |x| {
            let (position, length) = ((x[2] & 255) as u32, (x[3] & 255) as u32);
            Some(from_bits(n, |i| {
                if i >= position && i < position + length {
                    bit(x[0], i - position)
                } else {
                    bit(x[1], i)
                }
            }))
        });
        form.body = Some(format!("bfi.b{n} %o, %a, %b, %c, %e;\n"));
        forms.push(form);
    }
    let byte =
        |x: &[u64], i: u64| (if i < 4 { x[0] >> (8 * i) } else { x[1] >> (8 * (i - 4)) }) & 255;
    forms.push(Form::new("prmt.b32", U32, &[U32, U32, U32], move |x| {
        Some((0..4).fold(0, |word, i| {
            let selector = x[2] >> (4 * i) & 15;
            let chosen = byte(x, selector & 7);
            let chosen = if selector >= 8 { if chosen >= 128 { 255 } else { 0 } } else { chosen };
            word | chosen << (8 * i)
        }))
    }));
    // The ISA's table of the other modes: source bytes for selectors 0 to 3, highest first.
    let modes: [(&str, [[u64; 4]; 4]); 6] = [
        ("f4e", [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        ("b4e", [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        ("rc8", [[0; 4], [1; 4], [2; 4], [3; 4]]),
        ("ecl", [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        ("rc16", [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ];
    for (mode, table) in modes {
        forms.push(Form::new(format!("prmt.b32.{mode}"), U32, &[U32, U32, U32], move |x| {
            let row = table[(x[2] & 3) as usize];
            Some((0..4).fold(0, |word, i| word | byte(x, row[3 - i]) << (8 * i)))
        }));
    }
    check(&forms);
}

#[test]
fn dot_products() {
    let mut forms = Vec::new();
    let part = |ty: Ty, word: u64, i: u32, width: u32| {
        let bits = word >> (i * width) & ((1 << width) - 1);
        let bits = i128::from(bits);
        if ty == S32 && bits >= 1 << (width - 1) { bits - (1 << width) } else { bits }
    };
    for a in [U32, S32] {
        for b in [U32, S32] {
            let names = format!("{}.{}", a.name(), b.name());
            forms.push(Form::new(format!("dp4a.{names}"), U32, &[U32, U32, U32], move |x| {
                let sum: i128 = (0..4).map(|i| part(a, x[0], i, 8) * part(b, x[1], i, 8)).sum();
                Some(wrapped(U32, sum + i128::from(x[2])))
            }));
            for (mode, first) in [("lo", 0), ("hi", 2)] {
                forms.push(Form::new(
                    format!("dp2a.{mode}.{names}"),
                    U32,
                    &[U32, U32, U32],
                    move |x| {
                        let sum: i128 = (0..2)
                            .map(|i| part(a, x[0], i, 16) * part(b, x[1], i + first, 8))
                            .sum();
                        Some(wrapped(U32, sum + i128::from(x[2])))
                    },
                ));
            }
        }
    }
    check(&forms);
}

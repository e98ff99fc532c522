//! Integer arithmetic over mathematical integers, reduced to the type at the end.

use crate::harness::Ty::{self, F32, F64, S16, S32, S64, U16, U32, U64};
use crate::harness::{Form, check};

const TYPES: [Ty; 6] = [U16, S16, U32, S32, U64, S64];

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

fn two(name: &str, ty: Ty, f: fn(i128, i128) -> Option<i128>) -> Form {
    Form::new(format!("{name}.{}", ty.name()), ty, &[ty, ty], move |x| {
        f(value(ty, x[0]), value(ty, x[1])).map(|result| wrapped(ty, result))
    })
}

#[test]
fn sums_products_and_quotients() {
    let mut forms = Vec::new();
    for ty in TYPES {
        forms.push(two("add", ty, |a, b| Some(a + b)));
        forms.push(two("sub", ty, |a, b| Some(a - b)));
        forms.push(two("mul.lo", ty, |a, b| Some(a.wrapping_mul(b))));
        forms.push(two("min", ty, |a, b| Some(if a < b { a } else { b })));
        forms.push(two("max", ty, |a, b| Some(if a > b { a } else { b })));
        forms.push(two("div", ty, |a, b| (b != 0).then(|| a / b)));
        forms.push(two("rem", ty, |a, b| (b != 0).then(|| a - a / b * b)));
        let name = ty.name();
        forms.push(Form::new(format!("mul.hi.{name}"), ty, &[ty, ty], move |x| {
            // Of 64-bit unsigned values the product needs 128 bits without sign.
            let (a, b) = (value(ty, x[0]), value(ty, x[1]));
            let high = if ty == U64 {
                ((a as u128 * b as u128) >> 64) as i128
            } else {
                (a * b) >> ty.bits()
            };
            Some(wrapped(ty, high))
        }));
        forms.push(Form::new(format!("mad.lo.{name}"), ty, &[ty, ty, ty], move |x| {
            let [a, b, c] = [0, 1, 2].map(|i| value(ty, x[i]));
            Some(wrapped(ty, a.wrapping_mul(b).wrapping_add(c)))
        }));
        forms.push(Form::new(format!("mad.hi.{name}"), ty, &[ty, ty, ty], move |x| {
            let [a, b, c] = [0, 1, 2].map(|i| value(ty, x[i]));
            let high = if ty == U64 {
                ((a as u128 * b as u128) >> 64) as i128
            } else {
                (a * b) >> ty.bits()
            };
            Some(wrapped(ty, high + c))
        }));
        if ty.signed() {
            forms.push(Form::new(format!("neg.{name}"), ty, &[ty], move |x| {
                Some(wrapped(ty, -value(ty, x[0])))
            }));
            forms.push(Form::new(format!("abs.{name}"), ty, &[ty], move |x| {
                Some(wrapped(ty, value(ty, x[0]).abs()))
            }));
        }
    }
    for (ty, double) in [(U16, U32), (S16, S32), (U32, U64), (S32, S64)] {
        forms.push(Form::new(format!("mul.wide.{}", ty.name()), double, &[ty, ty], move |x| {
            Some(wrapped(double, value(ty, x[0]) * value(ty, x[1])))
        }));
        forms.push(Form::new(
            format!("mad.wide.{}", ty.name()),
            double,
            &[ty, ty, double],
            move |x| Some(wrapped(double, value(ty, x[0]) * value(ty, x[1]) + value(double, x[2]))),
        ));
    }
    let limit = |x: i128| x.clamp(i128::from(i32::MIN), i128::from(i32::MAX));
    for (name, sign) in [("add.sat.s32", 1), ("sub.sat.s32", -1)] {
        forms.push(Form::new(name, S32, &[S32, S32], move |x| {
            Some(wrapped(S32, limit(value(S32, x[0]) + sign * value(S32, x[1]))))
        }));
    }
    for ty in [U32, S32] {
        forms.push(Form::new(format!("sad.{}", ty.name()), ty, &[ty, ty, U32], move |x| {
            Some(wrapped(ty, (value(ty, x[0]) - value(ty, x[1])).abs() + value(U32, x[2])))
        }));
        let low = move |bits: u64| {
            let part = i128::from(bits & 0xff_ffff);
            if ty.signed() && part >= 1 << 23 { part - (1 << 24) } else { part }
        };
        forms.push(Form::new(format!("mul24.lo.{}", ty.name()), ty, &[ty, ty], move |x| {
            Some(wrapped(ty, low(x[0]) * low(x[1])))
        }));
        forms.push(Form::new(format!("mad24.lo.{}", ty.name()), ty, &[ty, ty, ty], move |x| {
            Some(wrapped(ty, low(x[0]) * low(x[1]) + value(ty, x[2])))
        }));
    }
    check(&forms);
}

#[test]
fn carries_run_through_chains() {
    let mut forms = Vec::new();
    // 64-bit sums by halves of 32 bits, and the last carry as a bit.
    let halves = "mov.b64 {%r0, %r1}, %a; mov.b64 {%r2, %r3}, %b;\n";
    for (first, second, sign) in [("add.cc", "addc", 1), ("sub.cc", "subc", -1)] {
        let mut form = Form::new(format!("{first} {second}"), U64, &[U64, U64], move |x| {
            Some(wrapped(U64, value(U64, x[0]) + sign * value(U64, x[1])))
        });
        form.body = Some(format!(
            "{halves}{first}.u32 %r4, %r0, %r2; {second}.u32 %r5, %r1, %r3; mov.b64 %o, {{%r4, %r5}};\n"
        ));
        forms.push(form);
        let mut form = Form::new(format!("{first} flag"), U32, &[U64, U64], move |x| {
            let exact = value(U64, x[0]) + sign * value(U64, x[1]);
            Some(wrapped(U32, if (0..1 << 64).contains(&exact) { 0 } else { sign }))
        });
        form.body = Some(format!("{first}.u64 %d0, %a, %b; {second}.u32 %o, 0, 0;\n"));
        forms.push(form);
    }
    // The high word of a product of 64 bits by words, as compilers build it.
    let mut form = Form::new("mad.cc madc", U64, &[U64, U64], |x| {
        Some(((u128::from(x[0]) * u128::from(x[1])) >> 64) as u64)
    });
    form.body = Some(format!(
        "{halves}.reg .b32 %m0, %m1, %m2, %m3;\n\
         mul.hi.u32 %m0, %r0, %r2;\n\
         mad.lo.cc.u32 %m0, %r0, %r3, %m0; madc.hi.u32 %m1, %r0, %r3, 0;\n\
         mad.lo.cc.u32 %m0, %r1, %r2, %m0; madc.hi.cc.u32 %m1, %r1, %r2, %m1; addc.u32 %m2, 0, 0;\n\
         mad.lo.cc.u32 %m1, %r1, %r3, %m1; madc.hi.u32 %m2, %r1, %r3, %m2;\n\
         mov.b64 %o, {{%m1, %m2}};\n"
    ));
    forms.push(form);
    check(&forms);
}

#[test]
fn comparisons_and_selections() {
    type Order = fn(std::cmp::Ordering) -> bool;
    let orders: [(&str, Order); 6] = [
        ("eq", |o| o.is_eq()),
        ("ne", |o| o.is_ne()),
        ("lt", |o| o.is_lt()),
        ("le", |o| o.is_le()),
        ("gt", |o| o.is_gt()),
        ("ge", |o| o.is_ge()),
    ];
    let mut forms = Vec::new();
    for ty in TYPES {
        for (name, holds) in orders {
            let mut form =
                Form::new(format!("setp.{name}.{}", ty.name()), U32, &[ty, ty], move |x| {
                    let order = value(ty, x[0]).cmp(&value(ty, x[1]));
                    Some(if holds(order) { 1 } else { 2 })
                });
            form.body = Some(format!(
                "setp.{name}.{} %p|%q, %a, %b; selp.u32 %o, 1, 0, %p; selp.u32 %t, 2, 0, %q; add.u32 %o, %o, %t;\n",
                ty.name()
            ));
            forms.push(form);
        }
    }
    for (alias, name) in [("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")] {
        let holds = orders.iter().find(|order| order.0 == name).unwrap().1;
        let mut form = Form::new(format!("setp.{alias}.u32"), U32, &[U32, U32], move |x| {
            Some(u64::from(holds(x[0].cmp(&x[1]))))
        });
        form.body = Some(format!("setp.{alias}.u32 %p, %a, %b; selp.u32 %o, 1, 0, %p;\n"));
        forms.push(form);
        let mut form = Form::new(format!("set.{alias}.u32.u32"), U32, &[U32, U32], move |x| {
            Some(if holds(x[0].cmp(&x[1])) { 0xffff_ffff } else { 0 })
        });
        form.body = Some(format!("set.{alias}.u32.u32 %o, %a, %b;\n"));
        forms.push(form);
    }
    for (logic, f) in [
        ("and", (|a, b| a && b) as fn(bool, bool) -> bool),
        ("or", |a, b| a || b),
        ("xor", |a, b| a != b),
    ] {
        for negated in [false, true] {
            let mut form = Form::new(format!("setp.lt.{logic}.s32"), U32, &[S32, S32], move |x| {
                let (a, b) = (value(S32, x[0]), value(S32, x[1]));
                let other = (a == 0) != negated;
                Some(u64::from(f(a < b, other)) + 2 * u64::from(f(a >= b, other)))
            });
            let bang = if negated { "!" } else { "" };
            form.body = Some(format!(
                ".reg .pred %z; setp.eq.s32 %z, %a, 0; setp.lt.{logic}.s32 %p|%q, %a, %b, {bang}%z;\n\
                 selp.u32 %o, 1, 0, %p; selp.u32 %t, 2, 0, %q; add.u32 %o, %o, %t;\n"
            ));
            forms.push(form);
        }
    }
    forms.push(Form::new("slct.u32.s32", U32, &[U32, U32, S32], |x| {
        Some(if value(S32, x[2]) >= 0 { x[0] } else { x[1] })
    }));
    forms.push(Form::new("slct.u64.s32", U64, &[U64, U64, S32], |x| {
        Some(if value(S32, x[2]) >= 0 { x[0] } else { x[1] })
    }));
    forms.push(Form::new("slct.u32.f32", U32, &[U32, U32, F32], |x| {
        Some(if f32::from_bits(x[2] as u32) >= 0.0 { x[0] } else { x[1] })
    }));
    check(&forms);
}

#[test]
fn float_comparisons() {
    type Test = fn(Option<std::cmp::Ordering>) -> bool;
    let tests: [(&str, Test); 14] = [
        ("eq", |o| o.is_some_and(|o| o.is_eq())),
        ("ne", |o| o.is_some_and(|o| o.is_ne())),
        ("lt", |o| o.is_some_and(|o| o.is_lt())),
        ("le", |o| o.is_some_and(|o| o.is_le())),
        ("gt", |o| o.is_some_and(|o| o.is_gt())),
        ("ge", |o| o.is_some_and(|o| o.is_ge())),
        ("equ", |o| o.is_none_or(|o| o.is_eq())),
        ("neu", |o| o.is_none_or(|o| o.is_ne())),
        ("ltu", |o| o.is_none_or(|o| o.is_lt())),
        ("leu", |o| o.is_none_or(|o| o.is_le())),
        ("gtu", |o| o.is_none_or(|o| o.is_gt())),
        ("geu", |o| o.is_none_or(|o| o.is_ge())),
        ("num", |o| o.is_some()),
        ("nan", |o| o.is_none()),
    ];
    let mut forms = Vec::new();
    for ty in [F32, F64, Ty::F16, Ty::Bf16] {
        for (name, holds) in tests {
            let mut form =
                Form::new(format!("setp.{name}.{}", ty.name()), U32, &[ty, ty], move |x| {
                    let [a, b] = [0, 1].map(|i| crate::float::number(ty, x[i]));
                    Some(u64::from(holds(a.partial_cmp(&b))))
                });
            form.body =
                Some(format!("setp.{name}.{} %p, %a, %b; selp.u32 %o, 1, 0, %p;\n", ty.name()));
            forms.push(form);
        }
    }
    // `set` yields 1.0 or all ones.
    for (result, one) in [("u32", 0xffff_ffff), ("f32", 0x3f80_0000)] {
        let mut form = Form::new(format!("set.gt.{result}.f32"), U32, &[F32, F32], move |x| {
            let [a, b] = [0, 1].map(|i| f32::from_bits(x[i] as u32));
            Some(if a > b { one } else { 0 })
        });
        form.body = Some(format!("set.gt.{result}.f32 %o, %a, %b;\n"));
        forms.push(form);
    }
    check(&forms);
}

//! Loads, stores and atomics of every type and space.

use crate::harness::Ty::{self, F16, F32, F64, S16, S32, S64, U16, U32, U64};
use crate::harness::{Form, check};
use crate::integer::{value, wrapped};

#[test]
fn what_is_stored_is_loaded_in_every_space() {
    let mut forms = Vec::new();
    for (space, declare) in [
        ("shared", ".shared .align 16 .b8 buffer[8192];"),
        ("local", ".local .align 16 .b8 buffer[64];"),
    ] {
        for ty in [U16, U32, U64] {
            let n = ty.bits();
            let mut form =
                Form::new(format!("st.{space}.b{n} ld.{space}.b{n}"), ty, &[ty], |x| Some(x[0]));
            // Each thread of the block has 64 bytes of shared memory of its own.
            let index = if space == "shared" { "mad.lo.u32 %r0, %t, 64, %r0;" } else { "" };
            form.body = Some(format!(
                "{{ {declare} mov.u32 %r0, buffer; {index} st.{space}.b{n} [%r0 + 16], %a; ld.{space}.b{n} %o, [%r0 + 16]; }}\n"
            ));
            forms.push(form);
            // The same through generic addresses.
            let mut form = Form::new(format!("cvta.{space} st.b{n}"), ty, &[ty], |x| Some(x[0]));
            form.body = Some(format!(
                "{{ {declare} mov.u32 %r0, buffer; {index} cvt.u64.u32 %d0, %r0; cvta.{space}.u64 %d1, %d0;\n\
                 st.b{n} [%d1 + 8], %a; cvta.to.{space}.u64 %d2, %d1; ld.{space}.b{n} %o, [%d2 + 8]; }}\n"
            ));
            forms.push(form);
        }
    }
    // Bytes and halves are extended as their type says.
    for (name, bits, signed, to) in [
        ("u8", 8, false, U32),
        ("s8", 8, true, S32),
        ("u16", 16, false, U32),
        ("s16", 16, true, S32),
        ("s32", 32, true, S64),
        ("u32", 32, false, U64),
        ("s8", 8, true, S64),
        ("s8", 8, true, S16),
    ] {
        let mut form =
            Form::new(format!("ld.local.{name} to {}", to.name()), to, &[U64], move |x| {
                let part = i128::from(x[0] & ((1 << bits) - 1));
                Some(wrapped(
                    to,
                    if signed && part >= 1 << (bits - 1) { part - (1 << bits) } else { part },
                ))
            });
        form.body = Some(format!(
            "{{ .local .align 8 .b8 buffer[8]; st.local.b64 [buffer], %a; ld.local.{name} %o, [buffer]; }}\n"
        ));
        forms.push(form);
    }
    // Vectors keep their order.
    let mut form =
        Form::new("st.local.v4.b16 ld.local.v2.b32", U64, &[U64], |x| Some(x[0].rotate_left(32)));
    form.body = Some("{ .local .align 8 .b8 buffer[8]; mov.b64 {%h0, %h1, %h2, %h3}, %a; st.local.v4.b16 [buffer], {%h0, %h1, %h2, %h3};\n\
                      ld.local.v2.b32 {%r0, %r1}, [buffer]; mov.b64 %o, {%r1, %r0}; }\n".to_owned());
    forms.push(form);
    check(&forms);
}

/// An update of a word in the thread's own shared memory; the result is old value and new mixed.
fn update(operation: &str, ty: Ty, f: impl Fn(u64, u64) -> u64 + 'static) -> Form {
    let n = ty.bits();
    let mut form = Form::new(format!("atom.shared.{operation}"), U64, &[ty, ty], move |x| {
        let new = f(x[0], x[1]) & (u64::MAX >> (64 - n));
        Some(x[0].wrapping_mul(3) ^ new)
    });
    let widen = |register: &str, wide: &str| {
        if n == 64 {
            format!("mov.b64 {wide}, {register};")
        } else {
            format!("cvt.u64.u{n} {wide}, {register};")
        }
    };
    form.body = Some(format!(
        "{{ .shared .align 8 .b8 buffer[1024]; .reg .b{n} %old, %new; mov.u32 %r0, buffer; mad.lo.u32 %r0, %t, 8, %r0;\n\
         st.shared.b{n} [%r0], %a; atom.shared.{operation} %old, [%r0], %b; ld.shared.b{n} %new, [%r0];\n\
         {} {} mul.lo.u64 %d0, %d0, 3; xor.b64 %o, %d0, %d1; }}\n",
        widen("%old", "%d0"),
        widen("%new", "%d1")
    ));
    form
}

#[test]
fn atomics() {
    let mut forms = Vec::new();
    for ty in [U32, S32, U64] {
        let name = ty.name();
        forms.push(update(&format!("add.{name}"), ty, move |a, b| {
            wrapped(ty, value(ty, a) + value(ty, b))
        }));
        forms.push(update(&format!("min.{name}"), ty, move |a, b| {
            wrapped(ty, value(ty, a).min(value(ty, b)))
        }));
        forms.push(update(&format!("max.{name}"), ty, move |a, b| {
            wrapped(ty, value(ty, a).max(value(ty, b)))
        }));
    }
    for ty in [U32, U64] {
        let n = ty.bits();
        forms.push(update(&format!("and.b{n}"), ty, |a, b| a & b));
        forms.push(update(&format!("or.b{n}"), ty, |a, b| a | b));
        forms.push(update(&format!("xor.b{n}"), ty, |a, b| a ^ b));
        forms.push(update(&format!("exch.b{n}"), ty, |_, b| b));
        let mut form = Form::new(format!("atom.shared.cas.b{n}"), ty, &[ty, ty, ty], |x| {
            Some(if x[0] == x[1] { x[2] } else { x[0] })
        });
        form.body = Some(format!(
            "{{ .shared .align 8 .b8 buffer[1024]; .reg .b{n} %old; mov.u32 %r0, buffer; mad.lo.u32 %r0, %t, 8, %r0;\n\
             st.shared.b{n} [%r0], %a; atom.shared.cas.b{n} %old, [%r0], %b, %c; ld.shared.b{n} %o, [%r0]; }}\n"
        ));
        forms.push(form);
    }
    forms.push(update("inc.u32", U32, |a, b| if a >= b { 0 } else { a + 1 }));
    forms.push(update("dec.u32", U32, |a, b| if a == 0 || a > b { b } else { a - 1 }));
    forms.push(update("add.f32", F32, |a, b| {
        let sum = f32::from_bits(a as u32) + f32::from_bits(b as u32);
        if sum.is_nan() { 0x7fff_ffff } else { u64::from(sum.to_bits()) }
    }));
    let mut form = update("add.f64", F64, |a, b| (f64::from_bits(a) + f64::from_bits(b)).to_bits());
    form.edges = Some([0.0, 1.5, -2.25, 1e300, 3e-310].map(f64::to_bits).to_vec());
    forms.push(form);
    let mut form = update("add.noftz.f16", F16, |a, b| {
        let [a, b] = [a, b].map(|v| half::f16::from_bits(v as u16).to_f64());
        u64::from(half::f16::from_f64(a + b).to_bits())
    });
    form.edges = Some(
        [0.0f32, 1.5, -2.25, 60000.0, 1e-7]
            .map(|v| u64::from(half::f16::from_f32(v).to_bits()))
            .to_vec(),
    );
    forms.push(form);
    check(&forms);
}

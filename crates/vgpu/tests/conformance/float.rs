//! Floating point: exact values, rounded once.

use crate::exact::{Finish, Value, decode, encode, flushed, nan};
use crate::harness::Ty::{self, Bf16, F16, F32, U32, U64};
use crate::harness::{Form, check};
use crate::listed::{Opcode, listed};

/// The instructions of this file, besides integer forms of the same names and approximate ones.
pub(crate) const NAMES: &[&str] = &[
    "add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt", "abs", "neg", "min", "max", "copysign",
];

fn is_exact_float(opcode: &Opcode) -> bool {
    opcode.last_type().contains('f') && !opcode.has("approx") && !opcode.has("full")
}

/// The format of a type's elements.
fn element(kind: &str) -> Ty {
    match kind {
        "f16" | "f16x2" => F16,
        "bf16" | "bf16x2" => Bf16,
        "f32" | "f32x2" => F32,
        _ => Ty::F64,
    }
}

/// The rounding mode that an opcode names.
pub(crate) fn mode(opcode: &Opcode) -> char {
    let found = opcode.one_of(&["rn", "rz", "rm", "rp"]);
    found.map_or('n', |word| word.chars().nth(1).unwrap())
}

/// What one element of the result is, from codes of sources.
type Element = Box<dyn Fn(&[u64]) -> Option<u64>>;

/// Sources of the formats given, as many as the operation has.
fn arithmetic(opcode: &Opcode, formats: [Ty; 3], result: Ty) -> (Element, usize) {
    let name = opcode.name().to_owned();
    let finish = Finish {
        mode: mode(opcode),
        flush: opcode.has("ftz"),
        saturate: opcode.has("sat"),
        relu: opcode.has("relu"),
        finite: false,
    };
    let sources = match name.as_str() {
        "fma" | "mad" => 3,
        "rcp" | "sqrt" => 1,
        _ => 2,
    };
    let element = move |x: &[u64]| {
        let of = |i: usize| {
            let value = decode(formats[i], x[i]);
            if finish.flush { flushed(formats[i], value) } else { value }
        };
        let value = match name.as_str() {
            "add" => of(0).plus(of(1), finish.mode),
            "sub" => of(0).plus(of(1).negated(), finish.mode),
            "mul" => of(0).times(of(1)),
            "fma" | "mad" => of(0).times(of(1)).plus(of(2), finish.mode),
            "div" => of(0).over(of(1)),
            "rcp" => crate::exact::integer(1).over(of(0)),
            "sqrt" => of(0).root(),
            name => panic!("no reference for {name}"),
        };
        encode(result, &value, finish)
    };
    (Box::new(element), sources)
}

/// Results that are one of the sources, with another sign perhaps.
fn choice(opcode: &Opcode, ty: Ty) -> (Element, usize) {
    let sign = 1u64 << (ty.bits() - 1);
    let flush = opcode.has("ftz");
    let code = move |bits: u64| {
        let value = decode(ty, bits);
        if flush { encode(ty, &flushed(ty, value), Finish::NEAREST).unwrap_or(bits) } else { bits }
    };
    let number = move |bits: u64| (decode(ty, bits) != Value::Nan).then_some(bits);
    match opcode.name() {
        // The sign of a NaN is open.
        "neg" => (Box::new(move |x| number(x[0]).map(|bits| code(bits) ^ sign)), 1),
        "abs" => (Box::new(move |x| number(x[0]).map(|bits| code(bits) & !sign)), 1),
        "copysign" => (Box::new(move |x| Some(x[0] & sign | x[1] & !sign)), 2),
        name => {
            let (greatest, strict) = (name == "max", opcode.has("NaN"));
            let element = move |x: &[u64]| match (number(x[0]), number(x[1])) {
                (None, None) => nan(ty),
                (Some(one), None) | (None, Some(one)) => {
                    if strict {
                        nan(ty)
                    } else {
                        Some(code(one))
                    }
                }
                (Some(_), Some(_)) => {
                    let (a, b) = (code(x[0]), code(x[1]));
                    let order = decode(ty, a).order(&decode(ty, b)).unwrap();
                    // +0 is greater than -0.
                    let first_greater = order.is_gt() || order.is_eq() && a & sign == 0;
                    Some(if first_greater == greatest { a } else { b })
                }
            };
            (Box::new(element), 2)
        }
    }
}

fn form(opcode: &Opcode) -> Form {
    let types = opcode.types();
    let ty = element(types[0]);
    let chosen = matches!(opcode.name(), "neg" | "abs" | "copysign" | "min" | "max");
    if let [_, small] = types[..] {
        // A 16-bit source is widened; the last is of the result's type.
        let small = element(small);
        let kinds = if opcode.name() == "fma" { [small, small, ty] } else { [small, ty, ty] };
        let (element, sources) = arithmetic(opcode, kinds, ty);
        return Form::new(&opcode.text, ty, &kinds[..sources], element);
    }
    let (element, sources) =
        if chosen { choice(opcode, ty) } else { arithmetic(opcode, [ty; 3], ty) };
    if types[0].ends_with("x2") {
        return packed(opcode, ty, element, sources);
    }
    Form::new(&opcode.text, ty, &vec![ty; sources], element)
}

/// Two elements at once: the second has the sources in another order.
fn packed(opcode: &Opcode, ty: Ty, element: Element, sources: usize) -> Form {
    let width = ty.bits();
    let kinds = vec![ty; sources.max(2)];
    let count = kinds.len();
    let result = if width == 16 { U32 } else { U64 };
    let registers = if width == 16 { "%r" } else { "%d" };
    let names = ["%a", "%b", "%c"];
    let mut body = String::new();
    for i in 0..sources {
        let (low, high) = (names[i], names[(i + 1) % count]);
        body += &format!("mov.b{} {registers}{i}, {{{low}, {high}}}; ", 2 * width);
    }
    let list: Vec<String> = (0..sources).map(|i| format!("{registers}{i}")).collect();
    body += &format!("{} %o, {};\n", opcode.text, list.join(", "));
    let form = Form::new(&opcode.text, result, &kinds, move |x| {
        let low = element(&x[..sources])?;
        let turned: Vec<u64> = (0..sources).map(|i| x[(i + 1) % count]).collect();
        Some(element(&turned)? << width | low)
    });
    form.with_body(body)
}

#[test]
fn every_form_of_exact_floating_point() {
    let forms: Vec<Form> = listed(NAMES)
        .into_iter()
        .filter(is_exact_float)
        .map(|opcode| {
            let form = form(&opcode);
            opcode.assert_all_seen();
            form
        })
        .collect();
    check(&forms);
}

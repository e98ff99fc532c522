//! Loads and stores of every type, width and space: bytes go where they belong, in order.

use crate::harness::Ty::{self, U32, U64};
use crate::harness::{Form, check, given};
use crate::integer::{value, wrapped};
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &["ld", "ldu", "st", "mov", "cvta", "isspacep"];

/// Words that change no result of one thread.
const NEUTRAL: &[&str] = &[
    "weak",
    "volatile",
    "relaxed",
    "acquire",
    "release",
    "mmio",
    "cta",
    "cluster",
    "gpu",
    "sys",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "nc",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::evict_normal",
    "L2::evict_first",
    "L2::evict_last",
    "L2::cache_hint",
    "L2::64B",
    "L2::128B",
    "L2::256B",
];

/// Where a form's 32 bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Global,
    Shared,
    Local,
    /// A constant with fixed contents.
    Table,
    /// A kernel's parameter with fixed contents.
    Blob,
    /// The argument of a call, which comes back as its result.
    Argument,
}

/// The places that an opcode can name; three for generic addresses.
fn places(opcode: &Opcode) -> Vec<Place> {
    let spaces = ["global", "shared", "shared::cta", "local", "const", "param", "param::entry"];
    match opcode.one_of(&spaces) {
        Some("global") => vec![Place::Global],
        Some("shared" | "shared::cta") => vec![Place::Shared],
        Some("local") => vec![Place::Local],
        Some("const") => vec![Place::Table],
        Some("param") if opcode.name() == "ld" => vec![Place::Blob, Place::Argument],
        Some("param::entry") => vec![Place::Blob],
        Some(_) => vec![Place::Argument],
        None if opcode.has("param::func") => vec![Place::Argument],
        None if matches!(opcode.name(), "ldu") || opcode.has("mmio") => vec![Place::Global],
        None => vec![Place::Global, Place::Shared, Place::Local],
    }
}

/// Declares the place and puts its address into a register, generic if asked for; gives the text
/// and how an access writes the address.
fn declared(place: Place, generic: bool) -> (&'static str, String, String) {
    let to_generic = |space: &str| {
        if generic {
            format!("cvt.u64.u32 %d9, %r9; cvta.{space}.u64 %d9, %d9;\n")
        } else {
            String::new()
        }
    };
    let register = if generic { "%d9" } else { "%r9" };
    match place {
        Place::Global => ("global", String::new(), "%room".to_owned()),
        Place::Shared => (
            "shared",
            format!(
                ".shared .align 64 .b8 pad[8192]; mov.u32 %r9, pad; mad.lo.u32 %r9, %t, 64, %r9;\n{}",
                to_generic("shared")
            ),
            register.to_owned(),
        ),
        Place::Local => (
            "local",
            format!(".local .align 64 .b8 frame[64]; mov.u32 %r9, frame;\n{}", to_generic("local")),
            register.to_owned(),
        ),
        Place::Table => ("const", String::new(), "table".to_owned()),
        Place::Blob => ("param", String::new(), "blob".to_owned()),
        Place::Argument => (
            "param",
            ".param .align 32 .b8 argument[32]; .param .align 32 .b8 back[32];\n".to_owned(),
            "argument".to_owned(),
        ),
    }
}

/// Words `%a` to `%e` at a place.
fn fill(space: &str, at: &str) -> String {
    let put = |(i, name): (usize, &str)| format!("st.{space}.b64 [{at}+{}], {name};\n", 8 * i);
    ["%a", "%b", "%c", "%e"].into_iter().enumerate().map(put).collect()
}

/// Adds registers to the result, each so that its place counts.
fn fold(registers: impl Iterator<Item = String>, wide: bool) -> String {
    registers
        .map(|register| {
            let widened =
                if wide { String::new() } else { format!("cvt.u64.u32 %d8, {register};") };
            let term = if wide { register } else { "%d8".to_owned() };
            format!("{widened} mul.lo.u64 %o, %o, 31; add.u64 %o, %o, {term};\n")
        })
        .collect()
}

fn folded(start: u64, terms: impl Iterator<Item = u64>) -> u64 {
    terms.fold(start, |sum, term| sum.wrapping_mul(31).wrapping_add(term))
}

/// The count of elements.
fn count(opcode: &Opcode) -> usize {
    match opcode.one_of(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    }
}

/// A list of registers of an instruction.
fn list(registers: &[String]) -> String {
    if let [only] = registers { only.clone() } else { format!("{{{}}}", registers.join(", ")) }
}

/// Elements of a type among bytes, extended to 32 bits or 64.
fn elements(ty: Ty, count: usize, bytes: &[u8; 32]) -> Vec<u64> {
    let size = ty.bits() as usize / 8;
    (0..count)
        .map(|i| {
            let mut word = [0; 8];
            word[..size].copy_from_slice(&bytes[i * size..(i + 1) * size]);
            let register = if size == 8 { U64 } else { U32 };
            wrapped(register, value(ty, u64::from_le_bytes(word)))
        })
        .collect()
}

fn bytes_of(words: &[u64]) -> [u8; 32] {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.try_into().unwrap()
}

/// The policy that a hint names is an operand.
fn policy(opcode: &Opcode) -> (&'static str, &'static str) {
    if opcode.has("L2::cache_hint") {
        ("createpolicy.fractional.L2::evict_last.b64 %d7;\n", ", %d7")
    } else {
        ("", "")
    }
}

fn load(opcode: &Opcode) -> Form {
    let (count, ty) = (count(opcode), Ty::of(opcode.last_type()));
    let generic = !["global", "shared", "shared::cta", "local"].iter().any(|s| opcode.has(s));
    let places = places(opcode);
    let wide = ty.bits() == 64;
    let n = if wide { 64 } else { 32 };
    let names: Vec<String> = (0..count).map(|i| format!("%v{i}")).collect();
    let (make, hint) = policy(opcode);
    let mut body = format!("{{ .reg .b{n} %v<8>; mov.u64 %o, 0;\n{make}");
    for &place in &places {
        let (space, declare, at) = declared(place, generic);
        body += &format!("{{ {declare}");
        let from = match place {
            Place::Table | Place::Blob => at,
            Place::Argument => {
                body += &fill("param", &at);
                body += "call (back), same, (argument);\n";
                "back".to_owned()
            }
            _ => {
                // What a non-coherent load reads was there before the kernel.
                body += &fill(if generic { "" } else { space }, &at).replace("st..", "st.");
                at
            }
        };
        body += &format!("{} {}, [{from}]{hint}; }}\n", opcode.text, list(&names));
        body += &fold(names.iter().cloned(), wide);
    }
    body += "}\n";
    let form = Form::new(&opcode.text, U64, &[U64; 4], move |x| {
        let stored = bytes_of(x);
        Some(places.iter().fold(0, |sum, place| {
            let bytes = if matches!(place, Place::Table | Place::Blob) { given() } else { stored };
            folded(sum, elements(ty, count, &bytes).into_iter())
        }))
    });
    form.with_edges(&EDGES).with_body(body)
}

/// Few values, for every byte of which all bits are somewhere set and clear.
const EDGES: [u64; 3] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x80ff_7f00_ff80_007f];

fn store(opcode: &Opcode) -> Form {
    let (count, ty) = (count(opcode), Ty::of(opcode.last_type()));
    let generic = !["global", "shared", "shared::cta", "local"].iter().any(|s| opcode.has(s));
    let places = places(opcode);
    let wide = ty.bits() == 64;
    let n = if wide { 64 } else { 32 };
    let names: Vec<String> = (0..count).map(|i| format!("%v{i}")).collect();
    let (make, hint) = policy(opcode);
    let mut body = format!("{{ .reg .b{n} %v<8>; mov.u64 %o, 0;\n{make}");
    for i in 0..count {
        // Each element another mixture of two sources.
        body += &format!("shr.u64 %d0, %a, {i}; xor.b64 %d0, %d0, %b;\n");
        let narrow = if wide { "mov.b64" } else { "cvt.u32.u64" };
        body += &format!("{narrow} %v{i}, %d0;\n");
    }
    for &place in &places {
        let (space, declare, at) = declared(place, generic);
        let plain =
            if generic && place != Place::Argument { String::new() } else { format!(".{space}") };
        body += &format!("{{ {declare}");
        body += &fill(&plain, &at).replace("st..", "st.");
        body += &format!("{} [{at}], {}{hint};\n", opcode.text, list(&names));
        let from = if place == Place::Argument {
            body += "call (back), same, (argument);\n";
            "back"
        } else {
            &at
        };
        for i in 0..4 {
            body += &format!("ld{plain}.b64 %d{i}, [{from}+{}];\n", 8 * i);
        }
        body += "}\n";
        body += &fold((0..4).map(|i| format!("%d{i}")), true);
    }
    body += "}\n";
    let form = Form::new(&opcode.text, U64, &[U64; 4], move |x| {
        let mut bytes = bytes_of(x);
        let size = ty.bits() as usize / 8;
        for i in 0..count {
            let element = (x[0] >> i ^ x[1]).to_le_bytes();
            bytes[i * size..(i + 1) * size].copy_from_slice(&element[..size]);
        }
        let words =
            || bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        Some(places.iter().fold(0, |sum, _| folded(sum, words())))
    });
    form.with_edges(&EDGES).with_body(body)
}

/// Addresses of a space to generic ones and back.
fn window(opcode: &Opcode) -> Form {
    let space = opcode.one_of(&WINDOWS).unwrap();
    opcode.types();
    let text = opcode.text.clone();
    let (inside, setup, address) = inside(space);
    let other =
        if opcode.has("to") { format!("cvta.{space}.u64") } else { format!("cvta.to.{space}.u64") };
    // There and back again is the same address.
    let body = format!(
        "{{ {setup}{text} %d1, {address}; {other} %d2, %d1; sub.u64 %o, %d2, {address}; }}\n"
    );
    assert!(inside);
    Form::new(&opcode.text, U64, &[U64], |_| Some(0)).with_body(body)
}

const WINDOWS: [&str; 7] =
    ["const", "global", "local", "shared", "shared::cta", "param", "param::entry"];

/// An address inside of a space, as a 64-bit register.
fn inside(space: &str) -> (bool, String, &'static str) {
    let local = ".local .align 8 .b8 frame[8]; mov.u64 %d0, frame;\n";
    let shared = ".shared .align 8 .b8 pad[8]; mov.u64 %d0, pad;\n";
    let setup = match space {
        "const" => "mov.u64 %d0, table;\n",
        "global" => "mov.u64 %d0, %room;\n",
        "local" => local,
        "shared" | "shared::cta" => shared,
        _ => "mov.b64 %d0, blob;\n",
    };
    (true, setup.to_owned(), "%d0")
}

/// Whether generic addresses of each space lie in the one that is asked for.
fn membership(opcode: &Opcode) -> Form {
    let space = opcode.one_of(&WINDOWS).unwrap();
    let kinds = ["global", "local", "shared", "param"];
    let mut body = "mov.u64 %o, 0;\n".to_owned();
    for (i, kind) in kinds.iter().enumerate() {
        let (_, setup, address) = inside(kind);
        body += &format!(
            "{{ {setup}cvta.{kind}.u64 %d1, {address}; {} %p, %d1; selp.u64 %d2, {}, 0, %p; }}\n\
             or.b64 %o, %o, %d2;\n",
            opcode.text,
            1 << i
        );
    }
    let wanted = match space {
        "shared::cta" => "shared",
        "param::entry" => "param",
        other => other,
    };
    let expected = kinds.iter().position(|kind| *kind == wanted).map_or(0, |i| 1 << i);
    // Constants of modules lie in global memory here, so that only the others are asked about.
    let mask = if space == "const" { !1 } else { !0 };
    Form::new(&opcode.text, U64, &[U64], move |_| Some(expected & mask))
        .with_body(body + &format!("and.b64 %o, %o, {};\n", mask & 15))
}

fn moved(opcode: &Opcode) -> Form {
    if opcode.has("pred") {
        let body =
            format!("setp.eq.u32 %q, %a, 3; {} %p, %q; selp.u32 %o, 1, 0, %p;\n", opcode.text);
        return Form::new(&opcode.text, U32, &[U32], |x| Some(u64::from(x[0] == 3)))
            .with_body(body);
    }
    let ty = Ty::of(opcode.last_type());
    Form::new(&opcode.text, ty, &[ty], |x| Some(x[0]))
}

#[test]
fn every_form_of_loads_stores_and_moves() {
    let forms: Vec<Form> = listed(NAMES)
        .into_iter()
        .map(|opcode| {
            opcode.ignore(NEUTRAL);
            let form = match opcode.name() {
                "ld" | "ldu" => load(&opcode),
                "st" => store(&opcode),
                "cvta" => window(&opcode),
                "isspacep" => membership(&opcode),
                _ => moved(&opcode),
            };
            opcode.assert_all_seen();
            form
        })
        .collect();
    check(&forms);
}

#[test]
fn registers_are_packed_and_unpacked_lowest_first() {
    let form = |result: Ty, body: &str, f: fn(u64) -> u64| {
        Form::new(body, result, &[U64], move |x| Some(f(x[0]))).with_body(body)
    };
    check(&[
        form(U64, "mov.b64 {%r0, %r1}, %a; mov.b64 %o, {%r1, %r0};\n", |x| x.rotate_left(32)),
        form(U64, "mov.b64 {%h0, %h1, %h2, %h3}, %a; mov.b64 %o, {%h1, %h2, %h3, %h0};\n", |x| {
            x.rotate_right(16)
        }),
        form(U64, "mov.b64 {%r0, _}, %a; cvt.u64.u32 %o, %r0;\n", |x| x & 0xffff_ffff),
        form(U32, "cvt.u32.u64 %r0, %a; mov.b32 {%h0, %h1}, %r0; mov.b32 %o, {%h1, %h0};\n", |x| {
            u64::from((x as u32).rotate_left(16))
        }),
        form(
            U32,
            "{ .reg .b8 %b<4>; cvt.u32.u64 %r0, %a; mov.b32 {%b0, %b1, %b2, %b3}, %r0;\n\
             mov.b32 %o, {%b3, %b2, %b1, %b0}; }\n",
            |x| u64::from((x as u32).swap_bytes()),
        ),
        form(
            U32,
            "{ .reg .b8 %b<2>; cvt.u16.u64 %h0, %a; mov.b16 {%b0, %b1}, %h0;\n\
             mov.b16 %h1, {%b1, %b0}; cvt.u32.u16 %o, %h1; }\n",
            |x| u64::from((x as u16).swap_bytes()),
        ),
    ]);
}

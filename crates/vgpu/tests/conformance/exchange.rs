//! Exchange between lanes, from the ISA's definitions.

use vgpu::{Config, Gpu, Kind, Launch, Module};

use crate::harness::{HEADER, assemble};
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &["shfl", "vote", "match", "redux", "activemask", "elect"];

/// A kernel for one warp: `%x` is the lane's input word, `%o` its result.
fn kernel(body: &str) -> String {
    format!(
        "{HEADER}.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .pred %p, %q; .reg .b32 %x, %o, %r<6>; .reg .b64 %in, %out, %d;\n\
         ld.param.u64 %in, [in]; ld.param.u64 %out, [out];\n\
         mov.u32 %r0, %laneid; mul.wide.u32 %d, %r0, 4;\n\
         add.u64 %in, %in, %d; add.u64 %out, %out, %d; ld.global.u32 %x, [%in];\n\
         {body}\nst.global.u32 [%out], %o;\nexit;\n}}\n"
    )
}

fn warp(body: &str, input: [u32; 32]) -> [u32; 32] {
    let text = kernel(body);
    let gpu = Gpu::new(Config::default()).unwrap();
    let module = gpu.load(&Module::parse(&text).unwrap()).unwrap();
    let memory = gpu.memory();
    let [from, to] = [0, 1].map(|_| memory.alloc(128, 16, Kind::Device).unwrap());
    memory.write(from, bytemuck::cast_slice(&input)).unwrap();
    let kernel = module.kernel("k").unwrap();
    let buffer = [from, to].map(u64::to_le_bytes).concat();
    gpu.launch(&kernel, &Launch::new([1, 1, 1], [32, 1, 1]), &buffer).unwrap();
    let mut output = [0u32; 32];
    memory.read(to, bytemuck::cast_slice_mut(&mut output)).unwrap();
    output
}

fn numbers() -> [u32; 32] {
    std::array::from_fn(|lane| (lane as u32).wrapping_mul(0x9e37_79b9) >> 3)
}

#[test]
fn shuffles_of_every_mode_width_and_distance() {
    let input = numbers();
    for width in [32u32, 16, 8, 4, 2] {
        for distance in 0..32u32 {
            for opcode in listed(&["shfl"]) {
                opcode.ignore(&["sync", "b32"]);
                let mode = opcode.one_of(&["up", "down", "bfly", "idx"]).unwrap();
                opcode.assert_all_seen();
                let segment = 32 - width;
                let clamp = segment << 8 | if mode == "up" { 0 } else { 31 };
                let body = format!(
                    "{} %o|%p, %x, {distance}, {clamp}, -1;\n\
                     selp.u32 %r1, 1, 0, %p; xor.b32 %o, %o, %r1;",
                    opcode.text
                );
                let found = warp(&body, input);
                for lane in 0..32i64 {
                    // Segments of `width` lanes; a source outside is the lane itself.
                    let (d, w) = (i64::from(distance), i64::from(width));
                    let start = lane / w * w;
                    let source = match mode {
                        "up" => lane - d,
                        "down" => lane + d,
                        "bfly" => lane ^ d,
                        _ => start + d % w,
                    };
                    let inside = if mode == "bfly" {
                        // Lower segments can be reached, higher ones cannot.
                        source < start + w
                    } else {
                        (start..start + w).contains(&source)
                    };
                    let value = input[if inside { source as usize } else { lane as usize }];
                    let expected = value ^ u32::from(inside);
                    assert_eq!(
                        found[lane as usize], expected,
                        "{mode} {distance} width {width} lane {lane}"
                    );
                }
            }
        }
    }
}

/// What the lanes of a mask get: each of them the value that `f` says.
type Expected = Box<dyn Fn(&[u32; 32], u32, usize) -> u32>;

/// An instruction between lanes that name the mask `%r5`, and its result in every lane; what it is
/// is found from the definition over the lanes of the mask.
fn together(opcode: &Opcode) -> (String, Expected) {
    opcode.ignore(&["sync"]);
    let text = opcode.text.clone();
    let holds = move |x: &[u32; 32], mask: u32| {
        members(mask).filter(|&lane| x[lane] == 7).fold(0u32, |all, lane| all | 1 << lane)
    };
    match opcode.name() {
        "activemask" => {
            opcode.types();
            (format!("{text} %o;"), Box::new(|_, mask, _| mask))
        }
        "elect" => (
            format!(
                "{text} %r1|%p, %r5; selp.u32 %o, 1, 0, %p; shl.b32 %r1, %r1, 1; or.b32 %o, %o, %r1;"
            ),
            // Which lane is open; here it is the lowest.
            Box::new(|_, mask, lane| {
                let leader = mask.trailing_zeros();
                leader << 1 | u32::from(lane as u32 == leader)
            }),
        ),
        "vote" if opcode.has("ballot") => {
            opcode.types();
            let body = format!(
                "setp.eq.u32 %q, %x, 7; {text} %o, %q, %r5; {text} %r1, !%q, %r5; sub.u32 %o, %o, %r1;"
            );
            let ballot = move |x: &[u32; 32], mask, _| {
                let yes = holds(x, mask);
                yes.wrapping_sub(mask & !yes)
            };
            (body, Box::new(ballot))
        }
        "vote" => {
            opcode.types();
            let kind = opcode.one_of(&["all", "any", "uni"]).unwrap();
            let body = format!("setp.eq.u32 %q, %x, 7; {text} %p, %q, %r5; selp.u32 %o, 1, 0, %p;");
            let answer = move |x: &[u32; 32], mask, _| {
                let yes = holds(x, mask);
                u32::from(match kind {
                    "all" => yes == mask,
                    "any" => yes != 0,
                    _ => yes == 0 || yes == mask,
                })
            };
            (body, Box::new(answer))
        }
        "match" => {
            let wide = opcode.last_type() == "b64";
            // Values of 64 bits that differ in their upper halves only.
            let value =
                if wide { "mov.b64 %d, {%r0, %x}; and.b64 %d, %d, -4294967296;" } else { "" };
            let source = if wide { "%d" } else { "%x" };
            let same = move |x: &[u32; 32], mask: u32, lane: usize| {
                members(mask).filter(|&l| x[l] == x[lane]).fold(0u32, |all, l| all | 1 << l)
            };
            if opcode.has("any") {
                return (format!("{value} {text} %o, {source}, %r5;"), Box::new(same));
            }
            opcode.ignore(&["all"]);
            let body = format!(
                "{value} {text} %o|%p, {source}, %r5; selp.u32 %r1, 1, 0, %p; xor.b32 %o, %o, %r1;"
            );
            let all = move |x: &[u32; 32], mask: u32, lane| {
                if same(x, mask, lane) == mask { mask ^ 1 } else { 0 }
            };
            (body, Box::new(all))
        }
        _ => reduction(opcode),
    }
}

fn members(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |lane| mask >> lane & 1 == 1)
}

fn reduction(opcode: &Opcode) -> (String, Expected) {
    let signed = opcode.last_type() == "s32";
    let names = ["add", "min", "max", "and", "or", "xor"];
    let operation = opcode.one_of(&names).unwrap();
    let f = move |a: u32, b: u32| match (operation, signed) {
        ("add", _) => a.wrapping_add(b),
        ("min", false) => a.min(b),
        ("max", false) => a.max(b),
        ("min", true) => (a as i32).min(b as i32) as u32,
        ("max", true) => (a as i32).max(b as i32) as u32,
        ("and", _) => a & b,
        ("or", _) => a | b,
        _ => a ^ b,
    };
    let reduce = move |x: &[u32; 32], mask, _| members(mask).map(|l| x[l]).reduce(f).unwrap();
    (format!("{} %o, %x, %r5;", opcode.text), Box::new(reduce))
}

#[test]
fn every_form_of_votes_matches_and_reductions_in_whole_and_part_warps() {
    let inputs: [[u32; 32]; 4] = [
        std::array::from_fn(|lane| [7, 7, 9, lane as u32][lane % 4]),
        numbers().map(|v| v.wrapping_mul(0x8000_0001)),
        [7; 32],
        [0xffff_fff0; 32],
    ];
    let names = ["activemask", "elect", "vote", "match", "redux"];
    for opcode in listed(&names) {
        let (body, expected) = together(&opcode);
        opcode.assert_all_seen();
        for input in inputs {
            for mask in [u32::MAX, 0x0f0f_00f1, 1 << 31] {
                let text = format!(
                    "mov.u32 %r5, {mask:#x}; shr.u32 %r4, %r5, %r0; and.b32 %r4, %r4, 1;\n\
                     setp.eq.u32 %p, %r4, 0; mov.u32 %o, 99; @%p bra over;\n{body}\nover:\n"
                );
                let found = warp(&text, input);
                for (lane, &found) in found.iter().enumerate() {
                    let inside = mask >> lane & 1 == 1;
                    let wanted = if inside { expected(&input, mask, lane) } else { 99 };
                    assert_eq!(found, wanted, "{} {mask:#x} lane {lane}", opcode.text);
                }
            }
        }
        assemble(&kernel(&format!("mov.u32 %r5, -1;\n{body}")));
    }
}

#[test]
fn halves_of_a_warp_exchange_on_their_own() {
    // Each half names its own mask, diverged and converged.
    let body = "setp.lt.u32 %p, %r0, 16; selp.b32 %r1, 0xffff, 0xffff0000, %p;\n\
                @%p bra low;\nredux.sync.add.u32 %o, %x, 0xffff0000;\nbra done;\n\
                low: redux.sync.add.u32 %o, %x, 0xffff;\ndone: shfl.sync.bfly.b32 %o, %o, 1, 31, %r1;";
    let input = numbers();
    let found = warp(body, input);
    let sum = |part: &[u32]| part.iter().fold(0u32, |a, &b| a.wrapping_add(b));
    assert_eq!(found[..16], [sum(&input[..16]); 16]);
    assert_eq!(found[16..], [sum(&input[16..]); 16]);
    let elected = warp("elect.sync %r1|%p, -1; selp.u32 %o, 1, 0, %p; add.u32 %o, %o, %r1;", input);
    assert_eq!(elected.iter().sum::<u32>() - 32 * (elected[1]), 1, "one lane, and all know it");
}

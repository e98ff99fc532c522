//! Branches, calls, barriers, fences, and what changes nothing.

use vgpu::{Checks, Config, FaultKind};

use crate::harness::{HEADER, assemble, program};
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &[
    "bra",
    "ret",
    "call",
    "exit",
    "trap",
    "brkpt",
    "bar",
    "barrier",
    "membar",
    "fence",
    "griddepcontrol",
    "nanosleep",
    "pmevent",
    "setmaxnreg",
    "prefetch",
    "prefetchu",
    "applypriority",
    "discard",
    "createpolicy",
];

/// Threads of a block.
const THREADS: u32 = 128;

/// A kernel in which each thread has a word: `%x` its number, `%o` the result.
fn kernel(functions: &str, body: &str) -> String {
    format!(
        "{HEADER}{functions}.visible .entry k(.param .u64 in, .param .u64 out)\n.maxntid {THREADS}\n{{\n\
         .shared .align 16 .b8 pad[512]; .local .align 4 .b8 frame[4];\n\
         .reg .pred %p<4>; .reg .b32 %r<10>, %x, %o, %s; .reg .b64 %in, %out, %d<8>;\n\
         ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; mov.u32 %x, %tid.x;\n\
         mul.wide.u32 %d0, %x, 4; add.u64 %in, %in, %d0; add.u64 %out, %out, %d0;\n\
         shl.b32 %s, %x, 2; mov.u32 %r9, pad; add.u32 %s, %s, %r9; mov.u32 %o, 0;\n\
         {body}\nst.global.u32 [%out], %o;\nexit;\n}}\n"
    )
}

fn run(text: &str) -> Result<Vec<u32>, vgpu::Fault> {
    let checks = Checks { early_exits: false, ..Checks::ALL };
    let input: Vec<u32> = (0..THREADS).map(|i| 3 * i + 1).collect();
    program(Config { checks, ..Config::default() }, text, THREADS, &input, THREADS as usize)
}

/// Fails unless each thread gets what `f` says of its number.
fn expect(opcode: &Opcode, text: &str, f: impl Fn(u32) -> u32) {
    opcode.assert_all_seen();
    assemble(text);
    let found = run(text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
    let expected: Vec<u32> = (0..THREADS).map(f).collect();
    assert_eq!(found, expected, "{}", opcode.text);
}

/// The sum of the numbers below a thread's own, by a loop that each leaves when it must; with
/// `.uni`, by one that all leave at once.
fn branch(opcode: &Opcode) {
    let text = &opcode.text;
    let (end, f): (&str, fn(u32) -> u32) =
        if opcode.has("uni") { ("100", |_| 4950) } else { ("%x", |x| (0..x).sum()) };
    let body = format!(
        "mov.u32 %r0, 0;\nagain: setp.ge.u32 %p0, %r0, {end}; @%p0 {text} over;\n\
         add.u32 %o, %o, %r0; add.u32 %r0, %r0, 1; {text} again;\nover:\n"
    );
    expect(opcode, &kernel("", &body), f);
}

/// Functions that call each other; some lanes only call, and return from two places.
fn call(opcode: &Opcode) {
    let text = &opcode.text;
    let uniform = opcode.has("uni");
    let (call, ret) =
        if opcode.name() == "call" { (text.as_str(), "ret") } else { ("call", text.as_str()) };
    let inner = format!(
        ".func (.param .b32 result) third(.param .b32 value)\n{{ .reg .pred %p; .reg .b32 %a;\n\
         ld.param.b32 %a, [value]; mul.lo.u32 %a, %a, 3; st.param.b32 [result], %a;\n{ret};\n}}\n\
         .func (.param .b32 result) outer(.param .b32 value)\n{{ .reg .pred %p; .reg .b32 %a, %b;\n\
         ld.param.b32 %a, [value]; setp.lt.u32 %p, %a, 40;\n\
         {{ .param .b32 argument; .param .b32 back; st.param.b32 [argument], %a;\n\
         {call} (back), third, (argument); ld.param.b32 %b, [back]; }}\n\
         st.param.b32 [result], %b;\n{}add.u32 %b, %b, 1000; st.param.b32 [result], %b;\nret;\n}}\n",
        // A return that all lanes must take together cannot be one of some.
        if ret == "ret" { "@%p ret;\n" } else { "" }
    );
    let some = if uniform { "" } else { "@%p0 bra over;\n" };
    let body = format!(
        "and.b32 %r0, %x, 1; setp.eq.u32 %p0, %r0, 1; {some}\
         {{ .param .b32 argument; .param .b32 back; st.param.b32 [argument], %x;\n\
         {call} (back), outer, (argument); ld.param.b32 %o, [back]; }}\nover:\n"
    );
    let early = ret == "ret";
    expect(opcode, &kernel(&inner, &body), move |x| {
        if !uniform && x % 2 == 1 { 0 } else { 3 * x + if early && x < 40 { 0 } else { 1000 } }
    });
}

fn ends(opcode: &Opcode) {
    let text = kernel(
        "",
        &format!(
            "mov.u32 %o, 7; st.global.u32 [%out], 5; setp.lt.u32 %p0, %x, 33; @%p0 {};\n",
            opcode.text
        ),
    );
    if opcode.name() == "exit" {
        expect(opcode, &text, |x| if x < 33 { 5 } else { 7 });
        return;
    }
    opcode.assert_all_seen();
    assemble(&text);
    assert_eq!(run(&text).unwrap_err().kind, FaultKind::Trap, "{}", opcode.text);
}

/// Barriers: what one thread wrote before, another reads behind; and votes of all threads.
fn barrier(opcode: &Opcode) {
    opcode.ignore(&["cta", "aligned", "sync"]);
    opcode.types();
    let text = &opcode.text;
    let neighbour = "xor.b32 %s, %s, 508; ld.shared.u32 %o, [%s];\n";
    if opcode.has("warp") {
        // Within the warp, from the next lane.
        let body = format!(
            "st.shared.u32 [%s], %x; {text} -1; xor.b32 %s, %s, 4; ld.shared.u32 %o, [%s];\n"
        );
        expect(opcode, &kernel("", &body), |x| x ^ 1);
    } else if opcode.has("arrive") {
        // The upper half only arrives; the lower reads what it wrote.
        let body = format!(
            "setp.ge.u32 %p0, %x, 64; st.shared.u32 [%s], %x; @%p0 bra upper;\n\
             bar.sync 3, 128;\n{neighbour}bra over;\nupper: {text} 3, 128;\nover:\n"
        );
        expect(opcode, &kernel("", &body), |x| if x < 64 { 127 - x } else { 0 });
    } else if opcode.has("red") {
        let body = |limit: u32, operands: &str| {
            let vote = if opcode.has("popc") {
                format!("{text} %o, {operands}, %p0;\n")
            } else {
                format!("{text} %p1, {operands}, %p0; selp.u32 %o, 1, 0, %p1;\n")
            };
            kernel("", &format!("setp.lt.u32 %p0, %x, {limit}; {vote}"))
        };
        let all = opcode.has("and");
        for limit in [0, 1, 77, 128] {
            for operands in ["2", "2, 128"] {
                let result = match (opcode.has("popc"), all) {
                    (true, _) => limit,
                    (_, true) => u32::from(limit == 128),
                    _ => u32::from(limit > 0),
                };
                opcode.ignore(&["or"]);
                expect(opcode, &body(limit, operands), move |_| result);
            }
        }
    } else {
        for operands in ["0", "5, 128", "%r8"] {
            let body =
                format!("mov.u32 %r8, 15; st.shared.u32 [%s], %x; {text} {operands};\n{neighbour}");
            expect(opcode, &kernel("", &body), |x| 127 - x);
        }
    }
}

/// Instructions after which everything is as before. That fences order what they must is shown by
/// the tests of faults.
fn nothing(opcode: &Opcode) {
    let words = [
        "cta",
        "gl",
        "sys",
        "gpu",
        "cluster",
        "sc",
        "acq_rel",
        "acquire",
        "release",
        "proxy",
        "async",
        "global",
        "shared::cta",
        "mbarrier_init",
        "wait",
        "launch_dependents",
        "mask",
        "inc",
        "dec",
        "sync",
        "aligned",
        "local",
        "L1",
        "L2",
        "L2::evict_last",
        "L2::evict_normal",
        "L2::evict_first",
        "L2::evict_unchanged",
        "fractional",
    ];
    let local = opcode.has("local");
    opcode.ignore(&words);
    opcode.types();
    let text = &opcode.text;
    let line = match opcode.name() {
        "nanosleep" => format!("{text} 100;"),
        "pmevent" => format!("{text} 3;"),
        "setmaxnreg" => format!("{text} 64;"),
        // Whole lines of 128 bytes, by one thread; the data of `discard` is not read again.
        "prefetch" | "prefetchu" if local => format!("mov.u64 %d1, frame; {text} [%d1];"),
        "prefetch" | "prefetchu" => format!("{text} [%in];"),
        "applypriority" | "discard" => format!("setp.eq.u32 %p0, %x, 0; @%p0 {text} [%out], 128;"),
        "createpolicy" => format!("{text} %d1, 0.5; ld.global.L2::cache_hint.u32 %r0, [%in], %d1;"),
        _ => format!("{text};"),
    };
    let body = format!("ld.global.u32 %o, [%in];\n{line}\nadd.u32 %o, %o, %x;\n");
    expect(opcode, &kernel("", &body), |x| 4 * x + 1);
}

#[test]
fn every_form_of_control() {
    for opcode in listed(NAMES) {
        match opcode.name() {
            "bra" => branch(&opcode),
            "call" | "ret" => call(&opcode),
            "exit" | "trap" | "brkpt" => ends(&opcode),
            "bar" | "barrier" => barrier(&opcode),
            _ => nothing(&opcode),
        }
    }
}

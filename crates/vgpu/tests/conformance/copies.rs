//! Asynchronous copies and mbarriers: what has arrived when a wait ends, as early or late as it may.

use vgpu::{Checks, Config, Copies, Schedule};

use crate::harness::{HEADER, assemble, program};
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &["cp", "mbarrier"];

/// A kernel of one warp with a buffer, another, and an mbarrier in shared memory. Addresses:
/// `%s` and `%z` of the lane's 16 bytes in the buffers, `%m` of the mbarrier and `%g` the generic
/// one; `%in` of the lane's 16 bytes, `%out` of its first word, 4 words apart.
fn kernel(body: &str) -> String {
    format!(
        "{HEADER}.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .shared .align 128 .b8 buffer[512]; .shared .align 128 .b8 second[512];\n\
         .shared .align 8 .b8 object[8];\n\
         .reg .pred %p<4>, %zero; .reg .b32 %r<10>, %s, %z, %m, %lane; .reg .b64 %in, %out, %d<8>, %g, %policy;\n\
         ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; mov.u32 %lane, %tid.x;\n\
         mul.wide.u32 %d0, %lane, 16; add.u64 %in, %in, %d0; add.u64 %out, %out, %d0;\n\
         shl.b32 %r0, %lane, 4; mov.u32 %s, buffer; add.u32 %s, %s, %r0;\n\
         mov.u32 %z, second; add.u32 %z, %z, %r0; mov.u32 %m, object;\n\
         cvt.u64.u32 %g, %m; cvta.shared.u64 %g, %g;\n\
         setp.eq.u32 %zero, %lane, 0; createpolicy.fractional.L2::evict_last.b64 %policy;\n\
         st.shared.v4.b32 [%s], {{-1, -1, -1, -1}}; st.shared.v4.b32 [%z], {{-1, -1, -1, -1}};\n\
         bar.sync 0;\n{body}\nexit;\n}}\n"
    )
}

/// Writes the lane's 16 bytes of a buffer.
fn give(address: &str) -> String {
    format!(
        "ld.shared.v4.b32 {{%r1, %r2, %r3, %r4}}, [{address}]; st.global.v4.b32 [%out], {{%r1, %r2, %r3, %r4}};\n"
    )
}

fn input() -> Vec<u32> {
    (0..128).map(|i: u32| i.wrapping_mul(0x9e37_79b9)).collect()
}

/// Runs a body in both extremes of copies, with all checks where it synchronises as it must.
fn both(body: &str, checks: Checks) -> [Vec<u32>; 2] {
    let text = kernel(body);
    assemble(&text);
    [Copies::Early, Copies::Late].map(|copies| {
        let schedule = Schedule { copies, ..Schedule::default() };
        let config = Config { checks, schedule, ..Config::default() };
        program(config, &text, 32, &input(), 128).unwrap_or_else(|fault| panic!("{fault}\n{body}"))
    })
}

/// `cp.async` of every size, with fewer bytes from the source, and with none.
fn small_copy(opcode: &Opcode) {
    opcode.ignore(&["async", "shared", "shared::cta", "global", "L2::64B", "L2::128B", "L2::256B"]);
    let hint = if opcode.has("L2::cache_hint") { ", %policy" } else { "" };
    let sizes: &[usize] =
        if opcode.one_of(&["ca", "cg"]) == Some("cg") { &[16] } else { &[4, 8, 16] };
    for &size in sizes {
        let partial = [0, 1, 3, size - 1, size].map(|bytes| (bytes, format!(", {bytes}")));
        let plain = [(size, String::new())];
        // A predicate that holds says that nothing comes from the source.
        let predicates = [(0, ", %p1".to_owned()), (size, ", %p2".to_owned())];
        for (bytes, operand) in plain.into_iter().chain(partial).chain(predicates) {
            let body = format!(
                "setp.eq.u32 %p1, 0, 0; setp.ne.u32 %p2, 0, 0;\n\
                 {} [%s], [%in], {size}{operand}{hint}; cp.async.commit_group; cp.async.wait_group 0;\n{}",
                opcode.text,
                give("%s")
            );
            let expected: Vec<u8> = bytemuck::cast_slice::<u32, u8>(&input())
                .chunks(16)
                .flat_map(|lane| {
                    (0..16).map(|i| {
                        if i < bytes {
                            lane[i]
                        } else if i < size {
                            0
                        } else {
                            255
                        }
                    })
                })
                .collect();
            for found in both(&body, Checks::ALL) {
                assert_eq!(
                    bytemuck::cast_slice::<u32, u8>(&found),
                    expected,
                    "{} {operand}",
                    opcode.text
                );
            }
        }
    }
}

/// Two groups: the older has landed when one may be pending, and both when none may.
fn groups(opcode: &Opcode) {
    opcode.ignore(&["async", "commit_group", "wait_group", "wait_all"]);
    let copy = |to: &str| format!("cp.async.cg.shared.global [{to}], [%in], 16;\n");
    let (first, second) = (copy("%s"), copy("%z"));
    let wait = if opcode.text.contains("wait_all") { "wait_all" } else { "wait_group 0" };
    let body = format!(
        "{first}cp.async.commit_group;\n{second}cp.async.commit_group;\ncp.async.wait_group 1;\n{}\
         cp.async.{wait};\nld.shared.b32 %r5, [%z + 12]; st.global.b32 [%out + 12], %r5;\n",
        give("%s")
    );
    for found in both(&body, Checks::ALL) {
        assert_eq!(found, input(), "{}", opcode.text);
    }
    // A group of copies that nobody committed is waited for by `wait_all` alone.
    let body = format!("{first}cp.async.wait_group 0;\n{}cp.async.wait_all;\n", give("%s"));
    let [_, late] = both(&body, Checks::NONE);
    assert_eq!(late, vec![u32::MAX; 128]);
    let body = format!("{first}cp.async.wait_all;\n{}", give("%s"));
    for found in both(&body, Checks::ALL) {
        assert_eq!(found, input());
    }
}

/// The address operand: generic without a space.
fn object(opcode: &Opcode) -> &'static str {
    if opcode.one_of(&["shared", "shared::cta"]).is_some() { "[%m]" } else { "[%g]" }
}

/// All lanes copy, arrive when their copies have landed, wait, and read what another copied.
fn arrival_of_copies(opcode: &Opcode) {
    opcode.ignore(&["async", "mbarrier", "arrive"]);
    opcode.types();
    let at = object(opcode);
    // Without `.noinc`, the arrival is one more than what the phase expects.
    let own = if opcode.has("noinc") { "" } else { "mbarrier.arrive.shared.b64 %d1, [%m];\n" };
    let body = format!(
        "@%zero mbarrier.init.shared.b64 [%m], 32;\nbar.sync 0;\n\
         cp.async.ca.shared.global [%s], [%in], 16;\n{} {at};\n{own}\
         again: mbarrier.test_wait.parity.shared.b64 %p1, [%m], 0; @!%p1 bra again;\n\
         xor.b32 %s, %s, 16;\n{}",
        opcode.text,
        give("%s")
    );
    let input = input();
    let swapped: Vec<u32> = (0..128).map(|i| input[i ^ 4]).collect();
    for found in both(&body, Checks::ALL) {
        assert_eq!(found, swapped, "{}", opcode.text);
    }
}

fn bulk(opcode: &Opcode) {
    opcode.ignore(&["async", "bulk", "global", "L2"]);
    let hint = if opcode.has("L2::cache_hint") { ", %policy" } else { "" };
    let text = &opcode.text;
    let fence = "fence.proxy.async;\nbar.sync 0;\n";
    let body = if opcode.has("prefetch") {
        format!(
            "@%zero {text} [%in], 512{hint};\nld.global.v4.b32 {{%r1, %r2, %r3, %r4}}, [%in];\n\
                 st.global.v4.b32 [%out], {{%r1, %r2, %r3, %r4}};\n"
        )
    } else if opcode.has("mbarrier::complete_tx::bytes") {
        opcode.ignore(&["shared::cta", "shared::cluster"]);
        format!(
            "@%zero mbarrier.init.shared.b64 [%m], 1;\n{fence}\
             @%zero mbarrier.arrive.expect_tx.shared.b64 %d1, [%m], 512;\n\
             @%zero {text} [%s], [%in], 512, [%m]{hint};\n\
             again: mbarrier.try_wait.parity.shared.b64 %p1, [%m], 0; @!%p1 bra again;\n{}",
            give("%s")
        )
    } else {
        opcode.ignore(&["shared::cta", "bulk_group", "commit_group"]);
        let copy = if text.contains("bulk_group") {
            text.as_str()
        } else {
            "cp.async.bulk.global.shared::cta.bulk_group"
        };
        let wait =
            if opcode.has("wait_group") { text.as_str() } else { "cp.async.bulk.wait_group" };
        opcode.ignore(&["read"]);
        // Behind the wait, the source may be written again.
        format!(
            "ld.global.v4.b32 {{%r1, %r2, %r3, %r4}}, [%in]; st.shared.v4.b32 [%s], {{%r1, %r2, %r3, %r4}};\n{fence}\
             @%zero {copy} [%out], [%s], 512{hint};\n@%zero cp.async.bulk.commit_group;\n@%zero {wait} 0;\n\
             bar.sync 0;\nst.shared.v4.b32 [%s], {{-1, -1, -1, -1}};\n"
        )
    };
    for found in both(&body, Checks::ALL) {
        assert_eq!(found, input(), "{text}");
    }
}

#[test]
fn every_form_of_asynchronous_copies() {
    for opcode in listed(&["cp"]) {
        let text = opcode.text.clone();
        if text.contains("mbarrier.arrive") {
            arrival_of_copies(&opcode);
        } else if text.contains("bulk") {
            bulk(&opcode);
        } else if text.contains("group") || text.contains("wait_all") {
            groups(&opcode);
        } else {
            small_copy(&opcode);
        }
        opcode.assert_all_seen();
    }
}

/// A question to the mbarrier, whose answer becomes the next bit of the lane's result.
fn ask(question: &str) -> String {
    format!("{question}\nselp.u32 %r6, 1, 0, %p1; shl.b32 %r5, %r5, 1; or.b32 %r5, %r5, %r6;\n")
}

/// What one thread does with an mbarrier by an opcode, and its answers as bits, the first highest.
fn conversation(opcode: &Opcode) -> (String, u32) {
    let neutral = ["release", "relaxed", "acquire", "cta", "cluster"];
    opcode.ignore(&neutral);
    opcode.types();
    let (text, at) = (opcode.text.clone(), object(opcode));
    let init = |count: u32| format!("mbarrier.init.shared.b64 [%m], {count};\n");
    let done =
        |parity: u32| ask(&format!("mbarrier.test_wait.parity.shared.b64 %p1, [%m], {parity};"));
    let arrive = "mbarrier.arrive.shared.b64 %d2, [%m];\n";
    let complete = "mbarrier.complete_tx.relaxed.cta.shared.b64 [%m], 16;\n";
    let verbs = [
        "init",
        "inval",
        "arrive",
        "arrive_drop",
        "test_wait",
        "try_wait",
        "pending_count",
        "complete_tx",
        "expect_tx",
    ];
    // `arrive.expect_tx` has two of them, and what it does first is to arrive.
    match opcode.one_of(&verbs).unwrap() {
        "init" => (format!("{text} {at}, 2;\n{arrive}{}{arrive}{}", done(0), done(0)), 0b01),
        "inval" => (format!("{}{text} {at};\n{}{arrive}{}", init(3), init(1), done(0)), 0b1),
        "expect_tx" => {
            (format!("{}{text} {at}, 16;\n{arrive}{}{complete}{}", init(1), done(0), done(0)), 0b01)
        }
        "complete_tx" => (
            format!(
                "{}mbarrier.expect_tx.relaxed.cta.shared.b64 [%m], 16;\n{arrive}{}{text} {at}, 16;\n{}",
                init(1),
                done(0),
                done(0)
            ),
            0b01,
        ),
        "arrive" if opcode.has("expect_tx") => {
            (format!("{}{text} %d1, {at}, 16;\n{}{complete}{}", init(1), done(0), done(0)), 0b01)
        }
        verb @ ("arrive" | "arrive_drop") => {
            let count = if opcode.has("noComplete") { ", 2" } else { "" };
            let expected = if count.is_empty() { 2 } else { 3 };
            // Who drops out is not waited for in the next phase.
            let (next, last) = if verb == "arrive_drop" {
                (arrive.to_owned(), 0b1)
            } else {
                (arrive.to_owned(), 0b0)
            };
            (
                format!(
                    "{}{text} %d1, {at}{count};\n{}{arrive}{}{next}{}",
                    init(expected),
                    done(0),
                    done(0),
                    done(1)
                ),
                0b010 | last,
            )
        }
        "pending_count" => (format!("{}{arrive}{text} %r6, %d2;\nmov.u32 %r5, %r6;\n", init(5)), 5),
        _ if opcode.has("parity") => {
            let asks = |parity: u32| ask(&format!("{text} %p1, {at}, {parity};"));
            // Of a phase that runs, that of the other parity is over.
            (format!("{}{}{}{arrive}{}{}", init(1), asks(0), asks(1), asks(0), asks(1)), 0b0110)
        }
        _ => {
            let asks = ask(&format!("{text} %p1, {at}, %d3;"));
            let first = "mbarrier.arrive.shared.b64 %d3, [%m];\n";
            (format!("{}{first}{asks}{arrive}{asks}", init(2)), 0b01)
        }
    }
}

#[test]
fn every_form_of_mbarriers() {
    for opcode in listed(&["mbarrier"]) {
        let (talk, expected) = conversation(&opcode);
        opcode.assert_all_seen();
        let body = format!("mov.u32 %r5, 0; @!%zero exit;\n{talk}st.global.b32 [%out], %r5;\n");
        for found in both(&body, Checks { early_exits: false, ..Checks::ALL }) {
            assert_eq!(found[0], expected, "{}: {:#b}", opcode.text, found[0]);
        }
    }
}

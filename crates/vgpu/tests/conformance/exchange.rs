//! Exchange between lanes, from the ISA's definitions.

use vgpu::{Config, Gpu, Kind, Launch, Module};

use crate::harness::HEADER;

/// Runs a body for one warp: `%x` is the lane's input word, `%o` its result.
fn warp(body: &str, input: [u32; 32]) -> [u32; 32] {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .pred %p, %q; .reg .b32 %x, %o, %r<6>; .reg .b64 %in, %out, %d;\n\
         ld.param.u64 %in, [in]; ld.param.u64 %out, [out];\n\
         mov.u32 %r0, %laneid; mul.wide.u32 %d, %r0, 4;\n\
         add.u64 %in, %in, %d; add.u64 %out, %out, %d; ld.global.u32 %x, [%in];\n\
         {body}\nst.global.u32 [%out], %o;\nexit;\n}}\n"
    );
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
            for mode in ["up", "down", "bfly", "idx"] {
                let segment = 32 - width;
                let clamp = segment << 8 | if mode == "up" { 0 } else { 31 };
                let body = format!(
                    "shfl.sync.{mode}.b32 %o|%p, %x, {distance}, {clamp}, -1;\n\
                     selp.u32 %r1, 1, 0, %p; xor.b32 %o, %o, %r1;"
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

#[test]
fn votes_matches_and_reductions() {
    let input: [u32; 32] = std::array::from_fn(|lane| [7, 7, 9, lane as u32][lane % 4]);
    let odd = "setp.eq.u32 %q, %x, 7;\n";
    let seven = (0..32).filter(|&l| input[l] == 7).fold(0u32, |m, l| m | 1 << l);
    let vote = |kind: &str| {
        warp(&format!("{odd}vote.sync.{kind}.pred %p, %q, -1; selp.u32 %o, 1, 0, %p;"), input)[0]
    };
    assert_eq!([vote("all"), vote("any"), vote("uni")], [0, 1, 0]);
    assert_eq!(warp(&format!("{odd}vote.sync.ballot.b32 %o, %q, -1;"), input), [seven; 32]);
    assert_eq!(warp(&format!("{odd}vote.sync.ballot.b32 %o, !%q, -1;"), input), [!seven; 32]);
    let matches = warp("match.any.sync.b32 %o, %x, -1;", input);
    for lane in 0..32 {
        let same = (0..32).filter(|&l| input[l] == input[lane]).fold(0u32, |m, l| m | 1 << l);
        assert_eq!(matches[lane], same);
    }
    let all = "match.all.sync.b32 %o|%p, %r1, -1; selp.u32 %r2, 1, 0, %p; xor.b32 %o, %o, %r2;";
    assert_eq!(warp(&format!("mov.u32 %r1, 5;{all}"), input), [!0 ^ 1; 32]);
    assert_eq!(warp(&format!("mov.u32 %r1, %x;{all}"), input), [0; 32]);
    let input = numbers().map(|v| v.wrapping_mul(0x8000_0001));
    let signed = input.map(|v| v as i32);
    let reduce = |name: &str| {
        let found = warp(&format!("redux.sync.{name} %o, %x, -1;"), input);
        assert!(found.iter().all(|&v| v == found[0]));
        found[0]
    };
    assert_eq!(reduce("add.u32"), input.iter().fold(0u32, |a, &b| a.wrapping_add(b)));
    assert_eq!(reduce("min.u32"), input.into_iter().min().unwrap());
    assert_eq!(reduce("max.u32"), input.into_iter().max().unwrap());
    assert_eq!(reduce("min.s32") as i32, signed.into_iter().min().unwrap());
    assert_eq!(reduce("max.s32") as i32, signed.into_iter().max().unwrap());
    assert_eq!(reduce("and.b32"), input.iter().fold(!0, |a, b| a & b));
    assert_eq!(reduce("or.b32"), input.iter().fold(0, |a, b| a | b));
    assert_eq!(reduce("xor.b32"), input.iter().fold(0, |a, b| a ^ b));
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

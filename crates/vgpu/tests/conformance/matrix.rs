//! Tensor products and matrix moves against plain sums, with fragments placed by the ISA's
//! formulas for each shape.

use vgpu::{Config, Gpu, Kind, Launch, Module, Numeric};

use crate::harness::HEADER;

/// Row and column of element `i` of a lane's fragment of A, as the ISA writes it per shape.
fn place_a(bits: u32, k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    match (bits, k) {
        (32, 4) => (if i == 0 { group } else { group + 8 }, thread),
        (32, _) => (
            if i == 0 || i == 2 { group } else { group + 8 },
            if i < 2 { thread } else { thread + 4 },
        ),
        (16, 8) => (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1)),
        (16, _) => {
            let row = if i < 2 || (4..6).contains(&i) { group } else { group + 8 };
            (row, thread * 2 + (i & 1) + if i >= 4 { 8 } else { 0 })
        }
        (_, 16) => (if i < 4 { group } else { group + 8 }, thread * 4 + (i & 3)),
        _ => {
            let row = if i < 4 || (8..12).contains(&i) { group } else { group + 8 };
            (row, thread * 4 + (i & 3) + if i >= 8 { 16 } else { 0 })
        }
    }
}

/// The same for B.
fn place_b(bits: u32, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    let row = match bits {
        32 => thread + 4 * i,
        16 => thread * 2 + (i & 1) + if i >= 2 { 8 } else { 0 },
        _ => thread * 4 + (i & 3) + if i >= 4 { 16 } else { 0 },
    };
    (row, group)
}

/// Accumulator `i` of a lane.
fn place_c(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + if i < 2 { 0 } else { 8 }, lane % 4 * 2 + i % 2)
}

struct Shape {
    opcode: &'static str,
    k: usize,
    bits: u32,
    /// Code of a small whole number in A's and in B's format.
    encode: [fn(i32) -> u32; 2],
    accumulator: char,
}

fn e4m3(v: i32) -> u32 {
    small(v, 7, 3)
}

fn e5m2(v: i32) -> u32 {
    small(v, 15, 2)
}

/// Codes of -4..=4 in an 8-bit format.
fn small(v: i32, bias: u32, fraction_bits: u32) -> u32 {
    let sign = if v < 0 { 0x80 } else { 0 };
    let exponent = |e: u32, f: u32| (bias + e) << fraction_bits | f << (fraction_bits - 1);
    sign | match v.abs() {
        0 => 0,
        1 => exponent(0, 0),
        2 => exponent(1, 0),
        3 => exponent(1, 1),
        _ => exponent(2, 0),
    }
}

fn f16(v: i32) -> u32 {
    u32::from(half::f16::from_f32(v as f32).to_bits())
}

fn bf16(v: i32) -> u32 {
    u32::from(half::bf16::from_f32(v as f32).to_bits())
}

fn tf32(v: i32) -> u32 {
    (v as f32).to_bits()
}

fn s8(v: i32) -> u32 {
    v as u32 & 255
}

fn u8(v: i32) -> u32 {
    v.unsigned_abs()
}

const SHAPES: [Shape; 16] = [
    Shape {
        opcode: "m16n8k16.row.col.f32.bf16.bf16.f32",
        k: 16,
        bits: 16,
        encode: [bf16, bf16],
        accumulator: 'f',
    },
    Shape {
        opcode: "m16n8k8.row.col.f32.bf16.bf16.f32",
        k: 8,
        bits: 16,
        encode: [bf16, bf16],
        accumulator: 'f',
    },
    Shape {
        opcode: "m16n8k16.row.col.f32.f16.f16.f32",
        k: 16,
        bits: 16,
        encode: [f16, f16],
        accumulator: 'f',
    },
    Shape {
        opcode: "m16n8k8.row.col.f32.f16.f16.f32",
        k: 8,
        bits: 16,
        encode: [f16, f16],
        accumulator: 'f',
    },
    Shape {
        opcode: "m16n8k16.row.col.f16.f16.f16.f16",
        k: 16,
        bits: 16,
        encode: [f16, f16],
        accumulator: 'h',
    },
    Shape {
        opcode: "m16n8k8.row.col.f32.tf32.tf32.f32",
        k: 8,
        bits: 32,
        encode: [tf32, tf32],
        accumulator: 'f',
    },
    Shape {
        opcode: "m16n8k4.row.col.f32.tf32.tf32.f32",
        k: 4,
        bits: 32,
        encode: [tf32, tf32],
        accumulator: 'f',
    },
    Shape {
        opcode: "m16n8k32.row.col.f32.e4m3.e4m3.f32",
        k: 32,
        bits: 8,
        encode: [e4m3, e4m3],
        accumulator: 'f',
    },
    Shape {
        opcode: "m16n8k32.row.col.f32.e5m2.e4m3.f32",
        k: 32,
        bits: 8,
        encode: [e5m2, e4m3],
        accumulator: 'f',
    },
    Shape {
        opcode: "m16n8k16.row.col.f32.e4m3.e5m2.f32",
        k: 16,
        bits: 8,
        encode: [e4m3, e5m2],
        accumulator: 'f',
    },
    Shape {
        opcode: "m16n8k32.row.col.f16.e4m3.e4m3.f16",
        k: 32,
        bits: 8,
        encode: [e4m3, e4m3],
        accumulator: 'h',
    },
    Shape {
        opcode: "m16n8k32.row.col.s32.s8.s8.s32",
        k: 32,
        bits: 8,
        encode: [s8, s8],
        accumulator: 'i',
    },
    Shape {
        opcode: "m16n8k16.row.col.s32.s8.s8.s32",
        k: 16,
        bits: 8,
        encode: [s8, s8],
        accumulator: 'i',
    },
    Shape {
        opcode: "m16n8k32.row.col.s32.u8.s8.s32",
        k: 32,
        bits: 8,
        encode: [u8, s8],
        accumulator: 'i',
    },
    Shape {
        opcode: "m16n8k32.row.col.s32.s8.u8.s32",
        k: 32,
        bits: 8,
        encode: [s8, u8],
        accumulator: 'i',
    },
    Shape {
        opcode: "m16n8k32.row.col.satfinite.s32.u8.u8.s32",
        k: 32,
        bits: 8,
        encode: [u8, u8],
        accumulator: 'i',
    },
];

fn run(numeric: Numeric, text: &str, input: &[u32], words_out: usize) -> Vec<u32> {
    let gpu = Gpu::new(Config { numeric, ..Config::default() }).unwrap();
    let module = gpu.load(&Module::parse(text).unwrap()).unwrap();
    let memory = gpu.memory();
    let from = memory.alloc(4 * input.len() as u64, 16, Kind::Device).unwrap();
    let to = memory.alloc(4 * words_out as u64, 16, Kind::Device).unwrap();
    memory.write(from, bytemuck::cast_slice(input)).unwrap();
    let buffer = [from, to].map(u64::to_le_bytes).concat();
    gpu.launch(&module.kernel("k").unwrap(), &Launch::new([1, 1, 1], [32, 1, 1]), &buffer).unwrap();
    let mut output = vec![0u32; words_out];
    memory.read(to, bytemuck::cast_slice_mut(&mut output)).unwrap();
    output
}

const PROLOGUE: &str = ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n\
    .reg .b32 %a<4>, %b<2>, %c<4>, %r<8>; .reg .b64 %in, %out, %d;\n\
    ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; mov.u32 %r0, %laneid;\n";

/// Small whole numbers, so that every order of additions is exact in every format.
fn element(seed: usize, row: usize, column: usize) -> i32 {
    ((row * 7 + column * 5 + seed * 3) % 9) as i32 - 4
}

#[test]
fn products_of_every_shape() {
    for shape in &SHAPES {
        let per_word = (32 / shape.bits) as usize;
        let (words_a, words_b) = (16 * shape.k / 32 / per_word, 8 * shape.k / 32 / per_word);
        let words_c = if shape.accumulator == 'h' { 2 } else { 4 };
        let words = words_a + words_b + words_c;
        let mut input = vec![0u32; 32 * words];
        let magnitude = |f: fn(i32) -> u32, v: i32| if f(-1) == 1 { v.abs() } else { v };
        for lane in 0..32 {
            let target = &mut input[lane * words..(lane + 1) * words];
            for i in 0..words_a * per_word {
                let (row, column) = place_a(shape.bits, shape.k, lane, i);
                target[i / per_word] |= (shape.encode[0])(element(0, row, column))
                    << (i % per_word * shape.bits as usize);
            }
            for i in 0..words_b * per_word {
                let (row, column) = place_b(shape.bits, lane, i);
                target[words_a + i / per_word] |= (shape.encode[1])(element(1, row, column))
                    << (i % per_word * shape.bits as usize);
            }
            for i in 0..4 {
                let (row, column) = place_c(lane, i);
                let value = element(2, row, column);
                match shape.accumulator {
                    'h' => target[words_a + words_b + i / 2] |= f16(value) << (16 * (i % 2)),
                    'i' => target[words_a + words_b + i] = value as u32,
                    _ => target[words_a + words_b + i] = (value as f32).to_bits(),
                }
            }
        }
        let list = |name: &str, n: usize| {
            (0..n).map(|i| format!("%{name}{i}")).collect::<Vec<_>>().join(", ")
        };
        let mut text = format!(
            "{HEADER}{PROLOGUE}mul.wide.u32 %d, %r0, {}; add.u64 %in, %in, %d;\n",
            4 * words
        );
        for (i, name) in (0..words_a)
            .map(|i| format!("%a{i}"))
            .chain((0..words_b).map(|i| format!("%b{i}")))
            .chain((0..words_c).map(|i| format!("%c{i}")))
            .enumerate()
        {
            text += &format!("ld.global.b32 {name}, [%in + {}];\n", 4 * i);
        }
        let (a, b, c) = (list("a", words_a), list("b", words_b), list("c", words_c));
        text += &format!("mma.sync.aligned.{} {{{c}}}, {{{a}}}, {{{b}}}, {{{c}}};\n", shape.opcode);
        text += &format!("mul.wide.u32 %d, %r0, {}; add.u64 %out, %out, %d;\n", 4 * words_c);
        for i in 0..words_c {
            text += &format!("st.global.b32 [%out + {}], %c{i};\n", 4 * i);
        }
        text += "exit;\n}\n";
        for numeric in [Numeric::Plain, Numeric::Perturbed(3)] {
            let output = run(numeric, &text, &input, 32 * words_c);
            for lane in 0..32 {
                for i in 0..4 {
                    let (row, column) = place_c(lane, i);
                    let sum: i32 = (0..shape.k)
                        .map(|j| {
                            magnitude(shape.encode[0], element(0, row, j))
                                * magnitude(shape.encode[1], element(1, j, column))
                        })
                        .sum::<i32>()
                        + element(2, row, column);
                    let word =
                        output[lane * words_c + if shape.accumulator == 'h' { i / 2 } else { i }];
                    let found = match shape.accumulator {
                        'h' => {
                            half::f16::from_bits((word >> (16 * (i % 2))) as u16).to_f32() as i32
                        }
                        'i' => word as i32,
                        _ => f32::from_bits(word) as i32,
                    };
                    assert_eq!(found, sum, "{} row {row} column {column}", shape.opcode);
                }
            }
        }
    }
}

#[test]
fn matrices_move_both_ways() {
    for count in [1usize, 2, 4] {
        for trans in ["", ".trans"] {
            let registers = (0..count).map(|i| format!("%a{i}")).collect::<Vec<_>>().join(", ");
            // Shared memory holds the numbers of its 16-bit elements; rows lie 16 bytes apart.
            let fill = "mul.wide.u32 %d, %r0, 16; add.u64 %in, %in, %d; shl.b32 %r1, %r0, 4; mov.u32 %r2, tile; add.u32 %r1, %r1, %r2;\n\
                        ld.global.v4.b32 {%r4, %r5, %r6, %r7}, [%in]; st.shared.v4.b32 [%r1], {%r4, %r5, %r6, %r7}; bar.sync 0;\n";
            let declare = "{ .shared .align 16 .b8 tile[512];\n";
            let mut text = format!(
                "{HEADER}{PROLOGUE}{declare}{fill}ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{registers}}}, [%r1];\nmul.wide.u32 %d, %r0, {}; add.u64 %out, %out, %d;\n",
                4 * count
            );
            for i in 0..count {
                text += &format!("st.global.b32 [%out + {}], %a{i};\n", 4 * i);
            }
            text += "exit;\n}}\n";
            let input: Vec<u32> = (0..128).map(|i| (2 * i) | ((2 * i + 1) << 16)).collect();
            let output = run(Numeric::Plain, &text, &input, 32 * count);
            for lane in 0..32u32 {
                for i in 0..count as u32 {
                    let element = |half: u32| {
                        let (row, column) = if trans.is_empty() {
                            (lane / 4, lane % 4 * 2 + half)
                        } else {
                            (lane % 4 * 2 + half, lane / 4)
                        };
                        64 * i + 8 * row + column
                    };
                    assert_eq!(
                        output[(lane as usize) * count + i as usize],
                        element(0) | element(1) << 16,
                        "x{count}{trans} lane {lane}"
                    );
                }
            }
            // A store is the inverse: what was loaded lands where it came from.
            let back = format!(
                "{HEADER}{PROLOGUE}{declare}.shared .align 16 .b8 copy[512];\n{fill}mov.u32 %r2, copy; shl.b32 %r3, %r0, 4; add.u32 %r2, %r2, %r3;\n\
                 ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{registers}}}, [%r1];\n\
                 stmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 [%r2], {{{registers}}};\nbar.sync 0;\n\
                 add.u64 %out, %out, %d; ld.shared.v4.b32 {{%r4, %r5, %r6, %r7}}, [%r2]; st.global.v4.b32 [%out], {{%r4, %r5, %r6, %r7}};\nexit;\n}}}}\n"
            );
            let output = run(Numeric::Plain, &back, &input, 128);
            assert_eq!(output[..32 * count], input[..32 * count], "x{count}{trans}");
        }
    }
}

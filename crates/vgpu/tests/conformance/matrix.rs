//! Tensor products and matrix moves against plain sums, with fragments placed by the ISA's
//! formulas for each shape.

use vgpu::{Config, Gpu, Kind, Launch, Module, Numeric};

use crate::harness::{HEADER, assemble};
use crate::listed::{Opcode, listed};

/// The instructions of this file.
pub(crate) const NAMES: &[&str] = &["mma", "ldmatrix", "stmatrix"];

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
    opcode: String,
    k: usize,
    bits: u32,
    /// Code of a small whole number in A's and in B's format.
    encode: [fn(i32) -> u32; 2],
    accumulator: char,
    saturates: bool,
}

impl Shape {
    fn of(opcode: &Opcode) -> Self {
        opcode.ignore(&["sync", "aligned", "row", "col"]);
        let [d, a, b, c] = opcode.types()[..] else { panic!("{}", opcode.text) };
        assert_eq!(d, c, "{}", opcode.text);
        let shapes = ["m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"];
        let k = opcode.one_of(&shapes).unwrap().rsplit_once('k').unwrap().1.parse().unwrap();
        let encode = [a, b].map(|kind| match kind {
            "f16" => f16 as fn(i32) -> u32,
            "bf16" => bf16,
            "tf32" => tf32,
            "e4m3" => e4m3,
            "e5m2" => e5m2,
            "s8" => s8,
            _ => u8,
        });
        let bits = match a {
            "f16" | "bf16" => 16,
            "tf32" => 32,
            _ => 8,
        };
        let accumulator = match d {
            "f16" => 'h',
            "s32" => 'i',
            _ => 'f',
        };
        let saturates = opcode.has("satfinite");
        opcode.assert_all_seen();
        Self { opcode: opcode.text.clone(), k, bits, encode, accumulator, saturates }
    }

    /// What is added to: of integers, values from which sums leave the range, too.
    fn start(&self, row: usize, column: usize) -> i32 {
        match ((row + column) % 3, self.accumulator) {
            (0, 'i') => i32::MAX - 2,
            (1, 'i') => i32::MIN + 2,
            _ => element(2, row, column),
        }
    }
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

impl Shape {
    /// Registers of A, of B, and of C.
    fn words(&self) -> [usize; 3] {
        let per_word = 32 / self.bits as usize;
        let accumulators = if self.accumulator == 'h' { 2 } else { 4 };
        [16 * self.k / 32 / per_word, 8 * self.k / 32 / per_word, accumulators]
    }

    /// All lanes' registers.
    fn input(&self) -> Vec<u32> {
        let [words_a, words_b, words_c] = self.words();
        let per_word = 32 / self.bits as usize;
        let shift = |i: usize| i % per_word * self.bits as usize;
        let words = words_a + words_b + words_c;
        let mut input = vec![0u32; 32 * words];
        for (lane, target) in input.chunks_exact_mut(words).enumerate() {
            for i in 0..words_a * per_word {
                let (row, column) = place_a(self.bits, self.k, lane, i);
                target[i / per_word] |= (self.encode[0])(element(0, row, column)) << shift(i);
            }
            for i in 0..words_b * per_word {
                let (row, column) = place_b(self.bits, lane, i);
                let code = (self.encode[1])(element(1, row, column));
                target[words_a + i / per_word] |= code << shift(i);
            }
            let c = &mut target[words_a + words_b..];
            for i in 0..4 {
                let (row, column) = place_c(lane, i);
                let value = self.start(row, column);
                match self.accumulator {
                    'h' => c[i / 2] |= f16(value) << (16 * (i % 2)),
                    'i' => c[i] = value as u32,
                    _ => c[i] = (value as f32).to_bits(),
                }
            }
        }
        input
    }

    /// Loads the registers, multiplies, and stores C's.
    fn text(&self) -> String {
        let words = self.words();
        let names = |index: usize| -> Vec<String> {
            (0..words[index]).map(|i| format!("%{}{i}", ["a", "b", "c"][index])).collect()
        };
        let all = [0, 1, 2].map(names);
        let mut text = format!(
            "{HEADER}{PROLOGUE}mul.wide.u32 %d, %r0, {}; add.u64 %in, %in, %d;\n",
            4 * words.iter().sum::<usize>()
        );
        for (i, name) in all.iter().flatten().enumerate() {
            text += &format!("ld.global.b32 {name}, [%in + {}];\n", 4 * i);
        }
        let [a, b, c] = all.map(|names| names.join(", "));
        text += &format!("{} {{{c}}}, {{{a}}}, {{{b}}}, {{{c}}};\n", self.opcode);
        text += &format!("mul.wide.u32 %d, %r0, {}; add.u64 %out, %out, %d;\n", 4 * words[2]);
        for i in 0..words[2] {
            text += &format!("st.global.b32 [%out + {}], %c{i};\n", 4 * i);
        }
        text + "exit;\n}\n"
    }

    /// An element of the result, which every order of additions gives.
    fn sum(&self, row: usize, column: usize) -> i32 {
        // An unsigned format holds magnitudes.
        let held = |index: usize, v: i32| if (self.encode[index])(-1) == 1 { v.abs() } else { v };
        let product =
            |j: usize| i64::from(held(0, element(0, row, j)) * held(1, element(1, j, column)));
        let exact = (0..self.k).map(product).sum::<i64>() + i64::from(self.start(row, column));
        let limits = (i64::from(i32::MIN), i64::from(i32::MAX));
        (if self.saturates { exact.clamp(limits.0, limits.1) } else { exact }) as i32
    }
}

#[test]
fn products_of_every_shape() {
    for opcode in listed(&["mma"]) {
        let shape = Shape::of(&opcode);
        let (text, words) = (shape.text(), shape.words()[2]);
        for numeric in [Numeric::Plain, Numeric::Perturbed(3)] {
            let output = run(numeric, &text, &shape.input(), 32 * words);
            for (lane, c) in output.chunks_exact(words).enumerate() {
                for i in 0..4 {
                    let (row, column) = place_c(lane, i);
                    let half = |word: u32| half::f16::from_bits((word >> (16 * (i % 2))) as u16);
                    let found = match shape.accumulator {
                        'h' => half(c[i / 2]).to_f32() as i32,
                        'i' => c[i] as i32,
                        _ => f32::from_bits(c[i]) as i32,
                    };
                    let place = format!("{} row {row} column {column}", shape.opcode);
                    assert_eq!(found, shape.sum(row, column), "{place}");
                }
            }
        }
        assemble(&text);
    }
}

/// The registers, the space and the order of elements that an opcode names.
fn moves(opcode: &Opcode) -> (usize, bool, bool) {
    opcode.ignore(&["sync", "aligned", "m8n8"]);
    opcode.types();
    let count = opcode.one_of(&["x1", "x2", "x4"]).unwrap()[1..].parse().unwrap();
    let generic = opcode.one_of(&["shared", "shared::cta"]).is_none();
    let transposed = opcode.has("trans");
    opcode.assert_all_seen();
    (count, transposed, generic)
}

/// Shared memory that holds the numbers of its 16-bit elements, rows 16 bytes apart, and the
/// address of each lane's row: `%r1`, or `%row` as a generic one.
const TILE: &str = "{ .shared .align 16 .b8 tile[512]; .shared .align 16 .b8 copy[512];\n\
    .reg .b64 %row, %back;\n\
    mul.wide.u32 %d, %r0, 16; add.u64 %in, %in, %d;\n\
    shl.b32 %r1, %r0, 4; mov.u32 %r2, tile; mov.u32 %r3, copy; add.u32 %r3, %r3, %r1;\n\
    add.u32 %r1, %r1, %r2;\n\
    cvt.u64.u32 %row, %r1; cvta.shared.u64 %row, %row;\n\
    cvt.u64.u32 %back, %r3; cvta.shared.u64 %back, %back;\n\
    ld.global.v4.b32 {%r4, %r5, %r6, %r7}, [%in];\n\
    st.shared.v4.b32 [%r1], {%r4, %r5, %r6, %r7}; bar.sync 0;\n";

fn tile() -> Vec<u32> {
    (0..128).map(|i| (2 * i) | ((2 * i + 1) << 16)).collect()
}

fn registers(count: usize) -> String {
    (0..count).map(|i| format!("%a{i}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn every_form_of_matrix_loads() {
    for opcode in listed(&["ldmatrix"]) {
        let (count, transposed, generic) = moves(&opcode);
        let at = if generic { "%row" } else { "%r1" };
        let mut text = format!(
            "{HEADER}{PROLOGUE}{TILE}{} {{{}}}, [{at}];\n\
             mul.wide.u32 %d, %r0, {}; add.u64 %out, %out, %d;\n",
            opcode.text,
            registers(count),
            4 * count
        );
        for i in 0..count {
            text += &format!("st.global.b32 [%out + {}], %a{i};\n", 4 * i);
        }
        text += "exit;\n}}\n";
        let output = run(Numeric::Plain, &text, &tile(), 32 * count);
        for lane in 0..32u32 {
            for i in 0..count as u32 {
                let element = |half: u32| {
                    let (row, column) = if transposed {
                        (lane % 4 * 2 + half, lane / 4)
                    } else {
                        (lane / 4, lane % 4 * 2 + half)
                    };
                    64 * i + 8 * row + column
                };
                assert_eq!(
                    output[(lane as usize) * count + i as usize],
                    element(0) | element(1) << 16,
                    "{} lane {lane}",
                    opcode.text
                );
            }
        }
        assemble(&text);
    }
}

#[test]
fn every_form_of_matrix_stores_undoes_the_load() {
    for opcode in listed(&["stmatrix"]) {
        let (count, transposed, generic) = moves(&opcode);
        let trans = if transposed { ".trans" } else { "" };
        let at = if generic { "%back" } else { "%r3" };
        let registers = registers(count);
        let text = format!(
            "{HEADER}{PROLOGUE}{TILE}\
             ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{registers}}}, [%r1];\n\
             {} [{at}], {{{registers}}};\nbar.sync 0;\n\
             add.u64 %out, %out, %d; ld.shared.v4.b32 {{%r4, %r5, %r6, %r7}}, [%r3];\n\
             st.global.v4.b32 [%out], {{%r4, %r5, %r6, %r7}};\nexit;\n}}}}\n",
            opcode.text
        );
        let output = run(Numeric::Plain, &text, &tile(), 128);
        assert_eq!(output[..32 * count], tile()[..32 * count], "{}", opcode.text);
        assemble(&text);
    }
}

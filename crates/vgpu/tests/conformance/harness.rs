//! Runs one instruction on many operands and compares, and asks NVIDIA's assembler whether it exists.

use vgpu::{Config, Gpu, Kind, Launch, Module};

/// A register width with the meaning of its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F16,
    Bf16,
    F32,
    F64,
    /// The upper 19 bits of binary32, as a value only.
    Tf32,
    /// Shift amounts and positions.
    Amount,
}

impl Ty {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::U8 | Self::S8 => 8,
            Self::U16 | Self::S16 | Self::F16 | Self::Bf16 => 16,
            Self::U32 | Self::S32 | Self::F32 | Self::Amount => 32,
            Self::U64 | Self::S64 | Self::F64 => 64,
            Self::Tf32 => 19,
        }
    }

    /// The type of a suffix; bits without meaning count as unsigned.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "b8" | "u8" => Self::U8,
            "s8" => Self::S8,
            "b16" | "u16" => Self::U16,
            "s16" => Self::S16,
            "b32" | "u32" => Self::U32,
            "s32" => Self::S32,
            "b64" | "u64" => Self::U64,
            "s64" => Self::S64,
            "f16" => Self::F16,
            "bf16" => Self::Bf16,
            "f32" => Self::F32,
            "f64" => Self::F64,
            _ => panic!("no type {name}"),
        }
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    pub(crate) fn signed(self) -> bool {
        matches!(self, Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// Values at the edges of the type and some between.
    pub(crate) fn edges(self) -> Vec<u64> {
        let mask = u64::MAX >> (64 - self.bits());
        match self {
            Self::Amount => {
                vec![0, 1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, u64::from(u32::MAX)]
            }
            Self::F32 => F32_EDGES.iter().map(|&bits| u64::from(bits)).collect(),
            Self::F64 => F64_EDGES.to_vec(),
            Self::F16 => F16_EDGES.iter().map(|&bits| u64::from(bits)).collect(),
            Self::Bf16 => F32_EDGES.iter().map(|&bits| u64::from(bits >> 16)).collect(),
            _ => {
                let top = 1u64 << (self.bits() - 1);
                [
                    0,
                    1,
                    2,
                    3,
                    7,
                    100,
                    0x5a5a_1234_8001_7fff,
                    0x0123_4567_89ab_cdef,
                    top - 1,
                    top,
                    top + 1,
                    mask - 1,
                    mask,
                ]
                .map(|value| value & mask)
                .to_vec()
            }
        }
    }
}

const F32_EDGES: [u32; 22] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x3f80_0001,
    0x3f7f_ffff,
    0x4000_0000,
    0x4049_0fdb,
    0xc2f6_e979,
    0x3eaa_aaab,
    0x4b80_0001,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x7fa5_0001,
    0x477f_f000,
];

const F64_EDGES: [u64; 16] = [
    0,
    1 << 63,
    1,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0001,
    0x4009_21fb_5444_2d18,
    0x3fd5_5555_5555_5555,
    0xc1e0_0000_0020_0000,
    0x7fef_ffff_ffff_ffff,
    0xffef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0000,
    0x43e0_0000_0000_0000,
];

const F16_EDGES: [u16; 18] = [
    0, 0x8000, 1, 0x8001, 0x03ff, 0x0400, 0x3c00, 0xbc00, 0x3c01, 0x3bff, 0x4000, 0x5640, 0xd640,
    0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00,
];

/// A result from the sources.
type Exact = Box<dyn Fn(&[u64]) -> Option<u64>>;

/// Whether a result is right for the sources.
type Near = Box<dyn Fn(&[u64], u64) -> bool>;

/// What is known of a result.
pub(crate) enum Reference {
    /// The value that the ISA fixes, or nothing where it leaves the result open.
    Exact(Exact),
    /// Whether a result is as near as the ISA says.
    Near(Near),
}

/// One form of an instruction.
pub(crate) struct Form {
    pub(crate) opcode: String,
    pub(crate) result: Ty,
    pub(crate) sources: Vec<Ty>,
    /// Text behind the operands, such as an immediate.
    pub(crate) tail: String,
    /// A body in place of the plain instruction, over `%a`, `%b`, `%c`, `%e` and the result `%o`.
    pub(crate) body: Option<String>,
    /// Values in place of the types' edges.
    pub(crate) edges: Option<Vec<u64>>,
    pub(crate) reference: Reference,
}

impl Form {
    pub(crate) fn new(
        opcode: impl Into<String>,
        result: Ty,
        sources: &[Ty],
        reference: impl Fn(&[u64]) -> Option<u64> + 'static,
    ) -> Self {
        Self {
            opcode: opcode.into(),
            result,
            sources: sources.to_vec(),
            tail: String::new(),
            body: None,
            edges: None,
            reference: Reference::Exact(Box::new(reference)),
        }
    }

    /// A form whose result is judged.
    pub(crate) fn near(
        opcode: impl Into<String>,
        result: Ty,
        sources: &[Ty],
        accepts: impl Fn(&[u64], u64) -> bool + 'static,
    ) -> Self {
        let plain = Self::new(opcode, result, sources, |_| None);
        Self { reference: Reference::Near(Box::new(accepts)), ..plain }
    }

    pub(crate) fn with_body(self, body: impl Into<String>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    pub(crate) fn with_edges(self, edges: &[u64]) -> Self {
        Self { edges: Some(edges.to_vec()), ..self }
    }

    fn kernel(&self, number: usize) -> String {
        let mut text = format!(
            ".visible .entry k{number}(.param .u64 in, .param .u64 out, .param .u32 n, \
             .param .u64 room, .param .align 32 .b8 blob[32])\n{{\n\
             .reg .pred %p, %q; .reg .b16 %h<10>; .reg .b32 %r<10>; .reg .b64 %d<10>;\n\
             .reg .b64 %in, %out, %offset, %room; .reg .b32 %i, %n, %t;\n\
             .reg .b{} %o;\n",
            self.result.bits()
        );
        for (name, ty) in ["%a", "%b", "%c", "%e"].iter().zip(&self.sources) {
            text += &format!(".reg .b{} {name};\n", ty.bits());
        }
        text += "ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; ld.param.u32 %n, [n];\n\
                 mov.u32 %i, %ctaid.x; mov.u32 %t, %tid.x; mad.lo.u32 %i, %i, 128, %t;\n\
                 setp.ge.u32 %p, %i, %n; @%p exit;\n\
                 mul.wide.u32 %offset, %i, 32; add.u64 %in, %in, %offset;\n\
                 mul.wide.u32 %offset, %i, 8; add.u64 %out, %out, %offset;\n\
                 ld.param.u64 %room, [room]; mul.wide.u32 %offset, %i, 64; \
                 add.u64 %room, %room, %offset;\n";
        for (index, (name, ty)) in ["%a", "%b", "%c", "%e"].iter().zip(&self.sources).enumerate() {
            text += &format!("ld.global.b{} {name}, [%in + {}];\n", ty.bits(), 8 * index);
        }
        if let Some(body) = &self.body {
            text += body;
        } else {
            let names = ["%a", "%b", "%c", "%e"][..self.sources.len()].join(", ");
            text += &format!("{} %o, {names}{};\n", self.opcode, self.tail);
        }
        text += &format!("st.global.b{} [%out], %o;\nexit;\n}}\n", self.result.bits());
        text
    }

    /// All combinations of the sources' edges.
    fn operands(&self) -> Vec<[u64; 4]> {
        let mut list = vec![[0; 4]];
        for (index, ty) in self.sources.iter().enumerate() {
            let edges = self.edges.clone().unwrap_or_else(|| ty.edges());
            list = list
                .into_iter()
                .flat_map(|operands| {
                    edges.iter().map(move |&edge| {
                        let mut next = operands;
                        next[index] = edge;
                        next
                    })
                })
                .collect();
        }
        list
    }
}

pub(crate) const HEADER: &str = ".version 9.0\n.target sm_110a\n.address_size 64\n";

/// Bytes of the constant `table` and of the parameter `blob`, which every form can read.
pub(crate) fn given() -> [u8; 32] {
    std::array::from_fn(|i| (i * 37 + 0x85) as u8)
}

/// Besides the constant, a function that gives its argument back.
fn prologue() -> String {
    let bytes = given().map(|byte| byte.to_string()).join(", ");
    let words = |from: &str, to: &str| -> String {
        (0..4)
            .map(|i| {
                format!("ld.param.b64 %d, [{from}+{}]; st.param.b64 [{to}+{}], %d;\n", 8 * i, 8 * i)
            })
            .collect()
    };
    format!(
        "{HEADER}.const .align 32 .b8 table[32] = {{{bytes}}};\n\
         .func (.param .align 32 .b8 result[32]) same(.param .align 32 .b8 value[32])\n\
         {{ .reg .b64 %d;\n{}ret;\n}}\n",
        words("value", "result")
    )
}

/// The PTX of forms, one kernel each.
fn text(forms: &[Form]) -> String {
    let kernels = forms.iter().enumerate().map(|(number, form)| form.kernel(number));
    prologue() + &kernels.collect::<String>()
}

/// Runs every form on all combinations of edges and fails with a list of what differs.
pub(crate) fn check(forms: &[Form]) {
    let gpu = Gpu::new(Config { threads: 1, ..Config::default() }).unwrap();
    let module = gpu.load(&Module::parse(&text(forms)).unwrap()).unwrap();
    let mut failures = Vec::new();
    let mut compared = 0;
    for (number, form) in forms.iter().enumerate() {
        match outcomes(&gpu, &module, number, form) {
            Ok((judged, wrong)) => {
                compared += judged;
                failures.extend(wrong.into_iter().take(3));
                if judged == 0 {
                    failures.push(format!("{}: nothing was compared", form.opcode));
                }
            }
            Err(error) => failures.push(format!("{}: {error}", form.opcode)),
        }
    }
    println!("{} forms, {compared} results", forms.len());
    let count = failures.len();
    failures.truncate(40);
    assert!(failures.is_empty(), "{count} failures:\n{}", failures.join("\n"));
    assemble(&text(forms));
}

/// How many results were compared, and those that are wrong.
fn outcomes(
    gpu: &Gpu,
    module: &vgpu::LoadedModule,
    number: usize,
    form: &Form,
) -> Result<(usize, Vec<String>), String> {
    let kernel = module.kernel(&format!("k{number}")).map_err(|error| error.to_string())?;
    let operands = form.operands();
    let bytes = operands.len() as u64;
    let places = [32, 8, 64].map(|n| gpu.memory().alloc(n * bytes, 32, Kind::Device).unwrap());
    let [input, output, room] = places;
    gpu.memory().write(input, bytemuck::cast_slice(&operands)).unwrap();
    let mut buffer = [input, output].map(u64::to_le_bytes).concat();
    buffer.extend(u64::from(operands.len() as u32).to_le_bytes());
    buffer.extend(room.to_le_bytes());
    buffer.resize(buffer.len().next_multiple_of(32), 0);
    buffer.extend(given());
    let launch = Launch::new([(operands.len() as u32).div_ceil(128), 1, 1], [128, 1, 1]);
    gpu.launch(&kernel, &launch, &buffer).map_err(|fault| fault.to_string())?;
    let mut results = vec![0u64; operands.len()];
    gpu.memory().read(output, bytemuck::cast_slice_mut(&mut results)).unwrap();
    for place in places {
        gpu.memory().free(place).unwrap();
    }
    let (mut compared, mut wrong) = (0, Vec::new());
    for (operands, result) in operands.iter().zip(results) {
        let operands = &operands[..form.sources.len()];
        let result = result & (u64::MAX >> (64 - form.result.bits()));
        let (right, expected) = match &form.reference {
            Reference::Exact(value) => {
                let Some(expected) = value(operands) else { continue };
                (result == expected, format!("{expected:#x}"))
            }
            Reference::Near(accepts) => (accepts(operands, result), "another value".to_owned()),
        };
        compared += 1;
        if !right {
            let (opcode, tail) = (&form.opcode, &form.tail);
            wrong.push(format!(
                "{opcode}{tail} {operands:x?}: {expected} expected, not {result:#x}"
            ));
        }
    }
    Ok((compared, wrong))
}

/// Fails unless NVIDIA's assembler takes the PTX, if it is there.
pub(crate) fn assemble(ptx: &str) {
    let Some(nvcc) = crate::support::nvcc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forms.ptx");
    std::fs::write(&file, ptx).unwrap();
    let output = std::process::Command::new(nvcc.with_file_name("ptxas"))
        .args(["-arch=sm_110a", "-O0", "-o", "/dev/null"])
        .arg(&file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = ptx.lines().collect();
    let with_line = |error: &str| {
        let number = error.split("line ").nth(1)?.split(';').next()?.parse::<usize>().ok()?;
        Some(format!("{error}\n    {}", lines.get(number - 1)?))
    };
    let listed: Vec<String> = errors
        .lines()
        .filter(|line| line.contains("error"))
        .map(|line| with_line(line).unwrap_or_else(|| line.to_owned()))
        .collect();
    assert!(output.status.success(), "not taken by ptxas:\n{}", listed.join("\n"));
}

/// Runs the kernel `k(in, out)` of a text with one block, on the words given, after the assembler
/// has taken it; gives the words that it leaves.
pub(crate) fn program(
    config: Config,
    text: &str,
    threads: u32,
    input: &[u32],
    words: usize,
) -> Result<Vec<u32>, vgpu::Fault> {
    let gpu = Gpu::new(Config { threads: 1, instruction_limit: 100_000, ..config }).unwrap();
    let module = gpu.load(&Module::parse(text).unwrap()).unwrap();
    let kernel = module.kernel("k").unwrap_or_else(|error| panic!("{error}\n{text}"));
    let memory = gpu.memory();
    let [from, to] =
        [input.len(), words].map(|n| memory.alloc(4 * n.max(1) as u64, 128, Kind::Device).unwrap());
    memory.write(from, bytemuck::cast_slice(input)).unwrap();
    let buffer = [from, to].map(u64::to_le_bytes).concat();
    gpu.launch(&kernel, &Launch::new([1, 1, 1], [threads, 1, 1]), &buffer)?;
    let mut output = vec![0u32; words];
    memory.read(to, bytemuck::cast_slice_mut(&mut output)).unwrap();
    Ok(output)
}

//! Runs one instruction on many operands and compares.

use vgpu::{Config, Gpu, Kind, Launch, Module};

/// A register width with the meaning of its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
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
    /// Shift amounts and positions.
    Amount,
}

impl Ty {
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::U16 | Self::S16 | Self::F16 | Self::Bf16 => 16,
            Self::U32 | Self::S32 | Self::F32 | Self::Amount => 32,
            Self::U64 | Self::S64 | Self::F64 => 64,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::U16 => "u16",
            Self::S16 => "s16",
            Self::U32 | Self::Amount => "u32",
            Self::S32 => "s32",
            Self::U64 => "u64",
            Self::S64 => "s64",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    pub(crate) fn signed(self) -> bool {
        matches!(self, Self::S16 | Self::S32 | Self::S64)
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

/// A value that the ISA fixes, or nothing where it leaves the result open.
pub(crate) type Reference = Box<dyn Fn(&[u64]) -> Option<u64>>;

/// One form of an instruction.
pub(crate) struct Form {
    pub(crate) opcode: String,
    pub(crate) result: Ty,
    pub(crate) sources: Vec<Ty>,
    /// Text behind the operands, such as an immediate.
    pub(crate) tail: String,
    /// A body in place of the plain instruction, over `%a`, `%b`, `%c` and the result `%o`.
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
            reference: Box::new(reference),
        }
    }

    fn kernel(&self, number: usize) -> String {
        let mut text = format!(
            ".visible .entry k{number}(.param .u64 in, .param .u64 out, .param .u32 n)\n{{\n\
             .reg .pred %p, %q; .reg .b16 %h<6>; .reg .b32 %r<6>; .reg .b64 %d<6>;\n\
             .reg .b64 %in, %out, %offset; .reg .b32 %i, %n, %t;\n\
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
                 mul.wide.u32 %offset, %i, 8; add.u64 %out, %out, %offset;\n";
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

/// Runs every form on all combinations of edges and fails with a list of what differs.
pub(crate) fn check(forms: &[Form]) {
    let gpu = Gpu::new(Config { threads: 1, ..Config::default() }).unwrap();
    let mut text = HEADER.to_owned();
    for (number, form) in forms.iter().enumerate() {
        text += &form.kernel(number);
    }
    let module = gpu.load(&Module::parse(&text).unwrap()).unwrap();
    let mut failures = Vec::new();
    let mut compared = 0;
    for (number, form) in forms.iter().enumerate() {
        let kernel = match module.kernel(&format!("k{number}")) {
            Ok(kernel) => kernel,
            Err(error) => {
                failures.push(format!("{}: {error}", form.opcode));
                continue;
            }
        };
        let operands = form.operands();
        let input = gpu.memory().alloc(32 * operands.len() as u64, 16, Kind::Device).unwrap();
        let output = gpu.memory().alloc(8 * operands.len() as u64, 16, Kind::Device).unwrap();
        gpu.memory().write(input, bytemuck::cast_slice(&operands)).unwrap();
        let mut buffer = [input, output].map(u64::to_le_bytes).concat();
        buffer.extend((operands.len() as u32).to_le_bytes());
        let launch = Launch::new([(operands.len() as u32).div_ceil(128), 1, 1], [128, 1, 1]);
        if let Err(fault) = gpu.launch(&kernel, &launch, &buffer) {
            failures.push(format!("{}: {fault}", form.opcode));
            continue;
        }
        let mut results = vec![0u64; operands.len()];
        gpu.memory().read(output, bytemuck::cast_slice_mut(&mut results)).unwrap();
        let mut wrong = 0;
        for (operands, result) in operands.iter().zip(results) {
            let result = result & (u64::MAX >> (64 - form.result.bits()));
            let Some(expected) = (form.reference)(&operands[..form.sources.len()]) else {
                continue;
            };
            compared += 1;
            if result != expected {
                wrong += 1;
                if wrong <= 3 {
                    let operands = &operands[..form.sources.len()];
                    failures.push(format!(
                        "{}{} {operands:x?}: {expected:#x} expected, not {result:#x}",
                        form.opcode, form.tail
                    ));
                }
            }
        }
        gpu.memory().free(input).unwrap();
        gpu.memory().free(output).unwrap();
    }
    println!("{} forms, {compared} results", forms.len());
    assert!(compared > 0 && failures.is_empty(), "{}", failures.join("\n"));
}

//! What a simulated device is, and how strictly and in which order it runs programs.

/// Everything that is chosen when a [`Gpu`](crate::Gpu) is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// Host threads over which independent CTAs are spread. Cooperative launches and launches with
    /// [`Checks::global_races`] use one, because the first need all CTAs in turns and the second a
    /// single history.
    pub threads: usize,
    /// Which faults are looked for.
    pub checks: Checks,
    /// In which legal order lanes, warps, CTAs and asynchronous copies proceed.
    pub schedule: Schedule,
    /// How operations whose exact result hardware does not promise are computed.
    pub numeric: Numeric,
    /// Whether launches count instructions and traffic (see [`Report`](crate::Report)).
    pub counters: bool,
    /// Warp instructions after which a launch counts as one that never ends.
    pub instruction_limit: u64,
    /// Limits and rates of the device.
    pub device: Device,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            checks: Checks::default(),
            schedule: Schedule::default(),
            numeric: Numeric::Plain,
            counters: false,
            instruction_limit: u64::MAX,
            device: Device::default(),
        }
    }
}

/// The faults that are looked for, each with its own switch.
///
/// What hardware itself reports (an address outside all memory, a misaligned access, a trap) is
/// reported whatever is chosen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Accesses outside an allocation, to freed memory, or writes to constants.
    pub bounds: bool,
    /// Use of registers or memory that nothing has written.
    pub uninitialised: bool,
    /// Conflicting accesses to shared memory that no barrier, mbarrier or wait orders, and accesses
    /// to global memory that a bulk copy of the CTA may still write.
    pub shared_races: bool,
    /// Conflicting accesses to global memory by two CTAs of a launch that no atomics order.
    pub global_races: bool,
    /// Ordinary accesses to bytes that a bulk copy then reads or overwrites, or to its mbarrier,
    /// with no proxy fence between.
    pub proxy_fences: bool,
    /// Barriers and matrix instructions of warps of which some lanes have exited. The PTX ISA
    /// leaves that undefined, though hardware counts such lanes as arrived.
    pub early_exits: bool,
}

impl Checks {
    /// Every check.
    pub const ALL: Self = Self {
        bounds: true,
        uninitialised: true,
        shared_races: true,
        global_races: true,
        proxy_fences: true,
        early_exits: true,
    };
    /// Only what hardware reports.
    pub const NONE: Self = Self {
        bounds: false,
        uninitialised: false,
        shared_races: false,
        global_races: false,
        proxy_fences: false,
        early_exits: false,
    };

    pub(crate) fn any(self) -> bool {
        self != Self::NONE
    }
}

impl Default for Checks {
    /// [`Checks::NONE`] with bounds.
    fn default() -> Self {
        Self { bounds: true, ..Self::NONE }
    }
}

/// Which of several runnable things goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The lowest program counter, warp or CTA first: what most resembles hardware.
    #[default]
    LowestFirst,
    /// The highest first.
    HighestFirst,
    /// A pseudo-random choice at every switch, reproducible from the seed.
    Random(u64),
}

/// When an asynchronous copy takes effect, between its issue and the wait that completes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Copies {
    /// At its issue.
    #[default]
    Early,
    /// Not before a wait requires it: for `cp.async` the wait for its group, for a bulk copy the
    /// last poll of its mbarrier.
    Late,
    /// A pseudo-random choice of the two per copy, reproducible from the seed.
    Random(u64),
}

/// A legal order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Order of diverged paths of a warp, of the warps of a CTA, and of CTAs.
    pub order: Order,
    /// When asynchronous copies take effect.
    pub copies: Copies,
}

impl Schedule {
    /// The schedules that a test should hold in: both extremes of either choice, and `seeds`
    /// random ones.
    pub fn adversarial(seeds: u64) -> Vec<Self> {
        let mut all = Vec::new();
        for order in [Order::LowestFirst, Order::HighestFirst] {
            for copies in [Copies::Early, Copies::Late] {
                all.push(Self { order, copies });
            }
        }
        all.extend((0..seeds).map(|s| Self { order: Order::Random(s), copies: Copies::Random(s) }));
        all
    }
}

/// How operations are computed whose last bits the PTX ISA leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numeric {
    /// Approximate functions are correctly rounded; tensor products add in ascending order of k.
    #[default]
    Plain,
    /// Approximate functions are off by up to their documented error, and tensor products add in a
    /// pseudo-random order, both reproducible from the seed. A test that passes only by luck fails.
    Perturbed(u64),
}

/// Limits and rates of a device. The default is NVIDIA Jetson AGX Thor (T5000).
///
/// Sources: compute capability 11.0 limits from the CUDA occupancy header and the assembler;
/// clock, SM count and memory bandwidth from the module's data sheet.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Clock of the SMs in hertz at the highest power mode.
    pub clock_hz: f64,
    /// Memory that can be allocated, in bytes.
    pub memory_bytes: u64,
    /// Peak DRAM bandwidth in bytes per second.
    pub memory_bandwidth: f64,
    /// Threads of one CTA.
    pub max_threads_per_block: u32,
    /// Resident threads of one SM.
    pub max_threads_per_multiprocessor: u32,
    /// Resident CTAs of one SM.
    pub max_blocks_per_multiprocessor: u32,
    /// 32-bit registers of one SM.
    pub registers_per_multiprocessor: u32,
    /// Shared memory of one SM in bytes.
    pub shared_per_multiprocessor: u32,
    /// Shared memory that a CTA may have without asking, in bytes.
    pub shared_per_block: u32,
    /// Shared memory that a CTA may have after opting in, in bytes.
    pub shared_per_block_optin: u32,
    /// Shared memory that the system takes from every CTA, in bytes.
    pub shared_reserved_per_block: u32,
    /// Dense 16-bit tensor FLOP per second (twice that for 8 bits).
    pub tensor_flops_16bit: f64,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            multiprocessors: 20,
            clock_hz: 1.575e9,
            memory_bytes: 122 << 30,
            memory_bandwidth: 273e9,
            max_threads_per_block: 1024,
            max_threads_per_multiprocessor: 1536,
            max_blocks_per_multiprocessor: 24,
            registers_per_multiprocessor: 65_536,
            shared_per_multiprocessor: 228 << 10,
            shared_per_block: 48 << 10,
            shared_per_block_optin: 227 << 10,
            shared_reserved_per_block: 1 << 10,
            tensor_flops_16bit: 258e12,
        }
    }
}

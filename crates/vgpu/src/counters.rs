//! What a launch did, counted.

/// Classes of warp instructions, by the unit that would execute them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum InstructionClass {
    /// Integer, logic, moves and comparisons.
    Integer,
    /// 16- and 32-bit floating point.
    Float,
    /// 64-bit floating point.
    Double,
    /// Conversions between number formats.
    Convert,
    /// Approximate functions (reciprocal, root, exponential, logarithm, sine).
    Special,
    /// Tensor products.
    Tensor,
    /// Global loads, stores and atomics, generic ones included.
    Global,
    /// Shared loads, stores and atomics, and matrix loads and stores.
    Shared,
    /// Local, parameter and constant accesses.
    Other,
    /// Asynchronous copies and their bookkeeping.
    Async,
    /// Shuffles, votes, matches and reductions over a warp.
    Warp,
    /// Barriers, mbarriers and fences.
    Barrier,
    /// Branches, calls and exits.
    Control,
}

impl InstructionClass {
    /// All classes, in the order of [`Counters::instructions`].
    pub const ALL: [Self; 13] = [
        Self::Integer,
        Self::Float,
        Self::Double,
        Self::Convert,
        Self::Special,
        Self::Tensor,
        Self::Global,
        Self::Shared,
        Self::Other,
        Self::Async,
        Self::Warp,
        Self::Barrier,
        Self::Control,
    ];
}

/// Traffic of one memory space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpaceTraffic {
    /// Warp requests that load.
    pub load_requests: u64,
    /// Warp requests that store or update.
    pub store_requests: u64,
    /// Bytes that active lanes load.
    pub load_bytes: u64,
    /// Bytes that active lanes store or update.
    pub store_bytes: u64,
    /// What the requests cost: 32-byte sectors in global memory, waves in shared memory.
    pub load_units: u64,
    /// As `load_units`, for stores and updates.
    pub store_units: u64,
}

impl SpaceTraffic {
    /// Sectors or waves per loading request; 0 without requests.
    pub fn units_per_load(&self) -> f64 {
        self.load_units as f64 / (self.load_requests.max(1)) as f64
    }

    /// Sectors or waves per storing request; 0 without requests.
    pub fn units_per_store(&self) -> f64 {
        self.store_units as f64 / (self.store_requests.max(1)) as f64
    }

    fn add(&mut self, other: &Self) {
        self.load_requests += other.load_requests;
        self.store_requests += other.store_requests;
        self.load_bytes += other.load_bytes;
        self.store_bytes += other.store_bytes;
        self.load_units += other.load_units;
        self.store_units += other.store_units;
    }
}

/// Counts of one launch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Warp instructions issued, in the order of [`InstructionClass::ALL`].
    pub instructions: [u64; 13],
    /// Thread instructions: warp instructions times active lanes.
    pub thread_instructions: u64,
    /// Warp instructions issued for a part of the warp's live lanes after a divergent branch.
    pub divergent_instructions: u64,
    /// Floating-point or integer operations of tensor products (two per multiply-add).
    pub tensor_operations: u64,
    /// Those of `tensor_operations` on 8-bit integers.
    pub tensor_operations_8bit: u64,
    /// Global memory; units are 32-byte sectors.
    pub global: SpaceTraffic,
    /// Shared memory; units are waves of 32 banks of 4 bytes.
    pub shared: SpaceTraffic,
    /// Local memory; units are not counted.
    pub local: SpaceTraffic,
    /// CTAs that ran.
    pub blocks: u64,
}

impl Counters {
    /// Warp instructions of a class.
    pub fn of(&self, class: InstructionClass) -> u64 {
        self.instructions[class as usize]
    }

    /// All warp instructions.
    pub fn warp_instructions(&self) -> u64 {
        self.instructions.iter().sum()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.instructions.iter_mut().zip(other.instructions) {
            *sum += more;
        }
        self.thread_instructions += other.thread_instructions;
        self.divergent_instructions += other.divergent_instructions;
        self.tensor_operations += other.tensor_operations;
        self.tensor_operations_8bit += other.tensor_operations_8bit;
        self.global.add(&other.global);
        self.shared.add(&other.shared);
        self.local.add(&other.local);
        self.blocks += other.blocks;
    }
}

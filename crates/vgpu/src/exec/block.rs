//! One CTA: its shared memory, its warps, and which of them goes next.

use super::barrier::BarrierState;
use super::bulk::PendingBulk;
use super::mbarrier::MbarrierState;
use super::product::Operands;
use super::warp::{Warp, Yield};
use super::{Env, Trouble};
use crate::check::shared::SharedRaces;
use crate::config::Order;
use crate::counters::Counters;
use crate::error::{Fault, FaultKind};
use crate::schedule::{Random, mix};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// Instructions of a warp before another gets a turn, so that waiting in a loop ends.
const SLICE: u32 = 1 << 12;

/// Rounds in which every warp only polls before the CTA counts as dead.
const IDLE_ROUNDS: u32 = 64;

/// Whether a CTA is through.
pub(super) enum Progress {
    Done,
    /// It used up its turn and may be waiting for another CTA.
    Slice,
}

/// A CTA that runs.
pub(super) struct Block<'e> {
    pub(super) env: &'e Env<'e>,
    pub(super) id: [u32; 3],
    pub(super) number: u64,
    pub(super) shared: Vec<u8>,
    /// For each byte of shared memory: whether it has been written. Empty if not tracked.
    pub(super) shared_defined: Vec<bool>,
    pub(super) barriers: Vec<BarrierState>,
    pub(super) mbarriers: BTreeMap<u32, MbarrierState>,
    pub(super) bulk: Vec<PendingBulk>,
    pub(super) races: Option<SharedRaces>,
    pub(super) counters: Counters,
    pub(super) random: Random,
    /// Warps that have not ended.
    pub(super) live_warps: u32,
    /// Instruction being executed, for reports.
    pub(super) pc: u32,
    /// Instructions of this turn.
    pub(super) executed: u64,
    pub(super) undefined: bool,
    /// Room for the operands of a tensor product.
    pub(super) operands: Box<Operands>,
    warps: Vec<Warp>,
    idle_rounds: u32,
}

impl<'e> Block<'e> {
    pub(super) fn new(env: &'e Env<'e>) -> Self {
        let threads: u32 = env.launch.block.iter().product();
        let bytes = (env.program.static_shared + env.launch.dynamic_shared_bytes) as usize;
        let checks = env.config.checks;
        let warps = (0..threads.div_ceil(32)).map(|index| Warp::new(env, index)).collect();
        Self {
            env,
            id: [0; 3],
            number: 0,
            shared: vec![0; bytes],
            shared_defined: vec![false; if checks.uninitialised { bytes } else { 0 }],
            barriers: vec![BarrierState::default(); 16],
            mbarriers: BTreeMap::new(),
            bulk: Vec::new(),
            races: (checks.shared_races || env.proxies.is_some())
                .then(|| SharedRaces::new(bytes, threads as usize, env.proxies.is_some())),
            counters: Counters::default(),
            random: Random::new(0),
            live_warps: 0,
            pc: 0,
            executed: 0,
            undefined: checks.uninitialised,
            operands: Box::default(),
            warps,
            idle_rounds: 0,
        }
    }

    /// Begins the CTA of a number.
    pub(super) fn start(&mut self, number: u64) {
        let grid = self.env.launch.grid.map(u64::from);
        let x = number % grid[0];
        let y = number / grid[0] % grid[1];
        let z = number / grid[0] / grid[1];
        self.id = [x as u32, y as u32, z as u32];
        self.number = number;
        // What an earlier CTA left in shared memory is as undefined as on hardware.
        self.shared_defined.fill(false);
        self.barriers.fill(BarrierState::default());
        self.mbarriers.clear();
        self.bulk.clear();
        if let Some(races) = &mut self.races {
            races.reset();
        }
        let seed = match self.env.config.schedule.order {
            Order::Random(seed) => seed,
            _ => 0,
        };
        self.random = Random::new(mix(seed) ^ mix(number));
        self.live_warps = self.warps.len() as u32;
        self.idle_rounds = 0;
        for warp in &mut self.warps {
            warp.start(self.env, self.id);
        }
        self.counters.blocks += 1;
    }

    /// Adds what was counted and clears it.
    pub(super) fn finish(&mut self, counters: &mut Counters) {
        counters.add(&self.counters);
        self.counters = Counters::default();
    }

    /// Runs until the CTA is done or has had its turn.
    pub(super) fn run(&mut self) -> Result<Progress, Box<Fault>> {
        let mut warps = std::mem::take(&mut self.warps);
        let mut progress = self.run_warps(&mut warps);
        if matches!(progress, Ok(Progress::Done))
            && let Err((trouble, index)) = self.end_bulk(&warps)
        {
            progress = Err(self.fault(*trouble, &warps[index]));
        }
        self.warps = warps;
        progress
    }

    fn run_warps(&mut self, warps: &mut [Warp]) -> Result<Progress, Box<Fault>> {
        let order = self.env.config.schedule.order;
        let mut turns = 0;
        while self.live_warps > 0 {
            if self.env.stop.load(Relaxed) {
                return Ok(Progress::Done);
            }
            let mut progressed = false;
            let mut polled = false;
            let count = warps.len();
            for step in 0..count {
                let (index, slice) = match order {
                    Order::LowestFirst => (step, SLICE),
                    Order::HighestFirst => (count - 1 - step, SLICE),
                    Order::Random(_) => {
                        (self.random.below(count), 1 + self.random.below(96) as u32)
                    }
                };
                let outcome = warps[index]
                    .run(self, slice)
                    .map_err(|trouble| self.fault(*trouble, &warps[index]))?;
                progressed |= matches!(outcome, Yield::Slice | Yield::Progressed);
                polled |= matches!(outcome, Yield::Polled);
            }
            if self.env.exceeds_limit(std::mem::take(&mut self.executed)) {
                return Err(self.stuck(warps, "the launch exceeds its instruction limit"));
            }
            // In a random order, a round may miss the one warp that can go on.
            if !progressed && (polled || matches!(order, Order::Random(_))) {
                self.deliver_late_copies();
                self.idle_rounds += 1;
                if self.idle_rounds > IDLE_ROUNDS {
                    return Err(self.stuck(warps, "no thread can proceed"));
                }
            } else if !progressed {
                return Err(self.stuck(warps, "no thread can proceed"));
            } else {
                self.idle_rounds = 0;
            }
            turns += 1;
            if turns >= 16 && self.live_warps > 0 {
                return Ok(Progress::Slice);
            }
        }
        Ok(Progress::Done)
    }

    /// The fault of a CTA in which nothing moves any more.
    fn stuck(&mut self, warps: &[Warp], message: &str) -> Box<Fault> {
        let waiting = warps.iter().find(|warp| warp.waits_at_barrier());
        let kind = match waiting {
            Some(_) if message.starts_with("no thread") => FaultKind::BarrierMismatch,
            _ => FaultKind::Deadlock,
        };
        let live = warps.iter().find(|warp| warp.is_live());
        let Some(warp) = waiting.or(live) else {
            let trouble = Trouble { kind, lane: 0, address: None, message: message.to_owned() };
            return self.fault(trouble, &warps[0]);
        };
        let (pc, lane) = warp.position();
        self.pc = pc;
        let message = if kind == FaultKind::BarrierMismatch {
            format!("{message}: some threads wait at a barrier that others never reach")
        } else {
            message.to_owned()
        };
        self.fault(Trouble { kind, lane, address: None, message }, warp)
    }

    /// Adds everything known about the place of a fault.
    fn fault(&self, trouble: Trouble, warp: &Warp) -> Box<Fault> {
        let program = self.env.program;
        let instruction = program.code.get(self.pc as usize);
        let source = instruction
            .and_then(|i| i.source)
            .and_then(|(file, line)| program.files.get(&file).map(|name| (name.clone(), line)));
        let [width, height, _] = self.env.launch.block;
        let thread = warp.index * 32 + trouble.lane as u32;
        Box::new(Fault {
            kind: trouble.kind,
            kernel: program.name.clone(),
            ptx_line: instruction.map_or(0, |i| i.line),
            instruction: instruction.map_or_else(String::new, |i| i.opcode.to_string()),
            source_line: source,
            cta: self.id,
            thread: [thread % width, thread / width % height, thread / width / height],
            address: trouble.address,
            message: trouble.message,
        })
    }
}

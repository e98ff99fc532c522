//! One warp: its diverged paths, and the loop that executes them.
//!
//! Lanes are independent threads. A path is a set of lanes at one instruction; paths at the same
//! instruction merge. `.sync` instructions wait until the lanes of their mask have arrived, so any
//! order of paths is a legal schedule.

use super::block::Block;
use super::copies::Copies;
use super::{Env, Run, special, trouble};
use crate::config::Order;
use crate::error::FaultKind;
use crate::program::{FALSE, Guard, Instruction, Op, Step, TRUE};
use crate::registers::{LANES, Registers, Slot, lanes};

/// Why a path does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Ready,
    /// For other lanes at a `.sync` instruction.
    Lanes,
    /// For a CTA barrier to leave a generation.
    Barrier {
        id: usize,
        generation: u64,
    },
}

/// Lanes at one instruction.
#[derive(Debug, Clone, Copy)]
struct Path {
    pc: u32,
    mask: u32,
    wait: Wait,
    /// When it last ran: the longest waiting goes first after a full slice.
    turn: u64,
}

/// Why a warp stopped for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Yield {
    /// It waits, and had done something before.
    Progressed,
    /// It waits and did nothing.
    Blocked,
    /// It polled in vain.
    Polled,
    /// Its slice was over.
    Slice,
}

/// What an instruction does to the flow of control.
enum Flow {
    Next,
    /// A failed poll: let others go first.
    Poll,
}

/// A warp.
pub(super) struct Warp {
    pub(super) index: u32,
    pub(super) registers: Registers,
    /// Lanes that have not exited.
    pub(super) live: u32,
    /// Lanes that exist.
    all: u32,
    /// Local memory, lane after lane.
    pub(super) local: Vec<u8>,
    pub(super) local_defined: Vec<bool>,
    pub(super) copies: Copies,
    paths: Vec<Path>,
    turns: u64,
    /// A path used up a slice while others were ready: they go first now.
    starved: bool,
}

impl Warp {
    pub(super) fn new(env: &Env<'_>, index: u32) -> Self {
        let program = env.program;
        let mut registers = Registers::new(program.blocks, program.predicates);
        for &(slot, value, wide) in &program.constants {
            for lane in 0..LANES {
                registers.set_lane(slot, wide, lane, value);
            }
        }
        for &(slot, special) in &program.specials {
            let values =
                std::array::from_fn(|lane| special::of_lane(env, index, special, lane as u32));
            registers.set_narrow(slot, u32::MAX, &values);
        }
        let local = program.local_bytes as usize * LANES;
        let tracked = if env.config.checks.uninitialised { local } else { 0 };
        Self {
            index,
            registers,
            live: 0,
            all: 0,
            local: vec![0; local],
            local_defined: vec![false; tracked],
            copies: Copies::default(),
            paths: Vec::new(),
            turns: 0,
            starved: false,
        }
    }

    /// Puts all threads at the entry.
    pub(super) fn start(&mut self, env: &Env<'_>, block: [u32; 3]) {
        let program = env.program;
        let threads: u32 = env.launch.block.iter().product();
        let count = (threads - self.index * 32).min(32);
        self.all = u32::MAX >> (32 - count);
        self.live = self.all;
        self.registers.defined.fill(0);
        self.registers.predicates_defined.fill(0);
        for known in [TRUE, FALSE] {
            self.registers.predicates_defined[usize::from(known)] = u32::MAX;
        }
        self.registers.predicates[usize::from(TRUE)] = u32::MAX;
        for &(slot, _, _) in &program.constants {
            self.registers.defined[slot as usize] = u32::MAX;
        }
        for &(slot, special) in &program.specials {
            self.registers.defined[slot as usize] = u32::MAX;
            if let Some(value) = special::of_block(env, block, special) {
                self.registers.set_narrow(slot, u32::MAX, &[value; LANES]);
            }
        }
        self.local_defined.fill(false);
        self.copies = Copies::default();
        self.paths.clear();
        self.paths.push(Path { pc: program.entry, mask: self.live, wait: Wait::Ready, turn: 0 });
    }

    pub(super) fn is_live(&self) -> bool {
        self.live != 0
    }

    pub(super) fn waits_at_barrier(&self) -> bool {
        self.paths.iter().any(|path| matches!(path.wait, Wait::Barrier { .. }))
    }

    /// Instruction and lane of some path, for reports.
    pub(super) fn position(&self) -> (u32, usize) {
        let path = self.paths.first();
        path.map_or((0, 0), |path| {
            let behind = u32::from(matches!(path.wait, Wait::Barrier { .. }));
            (path.pc - behind, path.mask.trailing_zeros() as usize & 31)
        })
    }

    /// Lanes of a mask in which a predicate holds.
    #[inline]
    pub(super) fn holds(&self, guard: Guard) -> u32 {
        let value = self.registers.predicates[usize::from(guard.predicate)];
        if guard.negated { !value } else { value }
    }

    /// Runs paths until all wait, or for a slice.
    pub(super) fn run(&mut self, block: &mut Block<'_>, slice: u32) -> Run<Yield> {
        let mut left = slice;
        let mut polled = false;
        let starved = std::mem::take(&mut self.starved);
        loop {
            self.release_barriers(block);
            let fair = polled || starved;
            let Some(chosen) = self.choose(block, fair) else { break };
            let path = self.paths.swap_remove(chosen);
            let before = left;
            let flow = self.run_path(block, path, fair, &mut left);
            block.executed += u64::from(before - left);
            if let Flow::Poll = flow? {
                polled = true;
                left = left.saturating_sub(slice / 64 + 1);
            }
            if left == 0 {
                self.starved = self.paths.len() > 1;
                return Ok(if polled { Yield::Polled } else { Yield::Slice });
            }
        }
        if self.live != 0 && self.paths.iter().all(|path| path.wait == Wait::Lanes) {
            return self.report_divergence(block);
        }
        Ok(if left < slice { Yield::Progressed } else { Yield::Blocked })
    }

    fn report_divergence(&self, block: &mut Block<'_>) -> Run<Yield> {
        let path = self.paths.iter().max_by_key(|path| path.pc).copied();
        let (pc, mask) = path.map_or((0, 1), |path| (path.pc, path.mask));
        block.pc = pc;
        let others: Vec<_> = self
            .paths
            .iter()
            .filter(|other| other.pc != pc)
            .map(|other| format!("{:#x}", other.mask))
            .collect();
        let elsewhere = match others.as_slice() {
            [] => format!("of the live lanes {:#x}", self.live),
            list => format!("while lanes {} wait elsewhere", list.join(", ")),
        };
        trouble(
            FaultKind::DivergentSync,
            mask.trailing_zeros() as usize & 31,
            None,
            format!("only lanes {mask:#x} arrived {elsewhere}"),
        )
    }

    fn release_barriers(&mut self, block: &Block<'_>) {
        for index in 0..self.paths.len() {
            let path = self.paths[index];
            if let Wait::Barrier { id, generation } = path.wait
                && block.barriers[id].generation > generation
            {
                self.paths[index].wait = Wait::Ready;
                // The path stands behind the barrier instruction already.
                if let Op::Barrier(barrier) = &block.env.program.code[path.pc as usize - 1].op {
                    block.barriers[id].give_result(self, barrier, path.mask);
                }
            }
        }
    }

    /// The path to run next, if any can.
    fn choose(&mut self, block: &mut Block<'_>, fair: bool) -> Option<usize> {
        if let [only] = self.paths.as_slice() {
            return (only.wait == Wait::Ready).then_some(0);
        }
        let ready: Vec<usize> =
            (0..self.paths.len()).filter(|&i| self.paths[i].wait == Wait::Ready).collect();
        let key = |&i: &usize| self.paths[i].pc;
        if fair {
            return ready.into_iter().min_by_key(|&i| self.paths[i].turn);
        }
        match block.env.config.schedule.order {
            Order::LowestFirst => ready.into_iter().min_by_key(key),
            Order::HighestFirst => ready.into_iter().max_by_key(key),
            Order::Random(_) if ready.is_empty() => None,
            Order::Random(_) => Some(ready[block.random.below(ready.len())]),
        }
    }

    /// Merges other paths that stand at an instruction; returns all lanes there.
    fn merge(&mut self, pc: u32, mut mask: u32) -> u32 {
        self.paths.retain(|other| {
            let here = other.pc == pc && !matches!(other.wait, Wait::Barrier { .. });
            if here {
                mask |= other.mask;
            }
            !here
        });
        mask
    }

    fn park(&mut self, pc: u32, mask: u32, wait: Wait) {
        if mask != 0 {
            self.turns += 1;
            self.paths.push(Path { pc, mask, wait, turn: self.turns });
        }
    }

    /// Runs one path until it waits, ends, or another must go first.
    fn run_path(
        &mut self,
        block: &mut Block<'_>,
        path: Path,
        fair: bool,
        left: &mut u32,
    ) -> Run<Flow> {
        let program = block.env.program;
        let lowest_first = !fair && block.env.config.schedule.order == Order::LowestFirst;
        let instrumented = block.undefined || block.env.config.counters;
        let (mut pc, mut mask) = (path.pc, path.mask);
        loop {
            if !self.paths.is_empty() {
                mask = self.merge(pc, mask);
                let behind = |other: &Path| other.wait == Wait::Ready && other.pc < pc;
                if lowest_first && self.paths.iter().any(behind) {
                    self.park(pc, mask, Wait::Ready);
                    return Ok(Flow::Next);
                }
            }
            if *left == 0 {
                self.park(pc, mask, Wait::Ready);
                return Ok(Flow::Next);
            }
            *left -= 1;
            let instruction = &program.code[pc as usize];
            block.pc = pc;
            let mut active = mask & self.holds(instruction.guard);
            if instrumented {
                block.observe(self, instruction, mask, active)?;
            }
            if let Op::Branch(target) = instruction.op {
                let rest = mask & !active;
                if active == 0 {
                    pc += 1;
                } else if rest == 0 {
                    pc = target;
                } else {
                    self.diverge(block, &mut pc, &mut mask, target, active);
                }
                continue;
            }
            if active == 0 {
                pc += 1;
                continue;
            }
            if instruction.step == Step::Together {
                let strict = block.env.config.checks.early_exits;
                let ready = self.arrived(&instruction.op, active, strict)?;
                if ready != active {
                    self.park(pc, active & !ready, Wait::Lanes);
                    mask = mask & !active | ready;
                    active = ready;
                    if mask == 0 {
                        return Ok(Flow::Next);
                    }
                    if active == 0 {
                        pc += 1;
                        continue;
                    }
                }
            }
            let control = match instruction.step {
                Step::Plain => Control::Plain,
                _ => self.control(block, instruction, &mut pc, &mut mask, active)?,
            };
            match control {
                Control::Plain => {
                    let polled = block.execute(self, &instruction.op, active)?;
                    if instrumented {
                        block.mark_written(self, instruction, active);
                    }
                    pc += 1;
                    if polled {
                        self.park(pc, mask, Wait::Ready);
                        return Ok(Flow::Poll);
                    }
                }
                Control::Moved => {}
                Control::Parked => return Ok(Flow::Next),
            }
        }
    }

    /// Splits a path at a branch that only some lanes take.
    fn diverge(
        &mut self,
        block: &mut Block<'_>,
        pc: &mut u32,
        mask: &mut u32,
        target: u32,
        active: u32,
    ) {
        let mut first = (*pc + 1, *mask & !active);
        let mut second = (target, active);
        let swap = match block.env.config.schedule.order {
            Order::LowestFirst => second.0 < first.0,
            Order::HighestFirst => second.0 > first.0,
            Order::Random(_) => block.random.next() & 1 == 1,
        };
        if swap {
            std::mem::swap(&mut first, &mut second);
        }
        let waiting = self.paths.iter_mut().find(|p| p.pc == second.0 && p.wait == Wait::Ready);
        match waiting {
            Some(other) => other.mask |= second.1,
            None => self.park(second.0, second.1, Wait::Ready),
        }
        (*pc, *mask) = first;
    }

    /// The lanes of those active whose partners have arrived too.
    fn arrived(&self, op: &Op, active: u32, strict: bool) -> Run<u32> {
        let Some(slot) = op.sync_mask() else {
            if strict && self.live != self.all {
                let lane = active.trailing_zeros() as usize;
                let text = format!("lanes {:#x} of the warp have exited", self.all & !self.live);
                return trouble(FaultKind::DivergentSync, lane, None, text);
            }
            return Ok(if active == self.live { active } else { 0 });
        };
        let masks = self.registers.narrow(slot);
        let mut ready = 0;
        for lane in lanes(active) {
            let wanted = masks[lane];
            if wanted >> lane & 1 == 0 {
                return trouble(
                    FaultKind::DivergentSync,
                    lane,
                    None,
                    format!("the lane is not in its own mask {wanted:#x}"),
                );
            }
            let same = lanes(active).filter(|&l| masks[l] == wanted).fold(0, |m, l| m | 1 << l);
            if wanted & self.live & !same == 0 {
                ready |= 1 << lane;
            }
        }
        Ok(ready)
    }

    /// Instructions that end a path or move it elsewhere.
    fn control(
        &mut self,
        block: &mut Block<'_>,
        instruction: &Instruction,
        pc: &mut u32,
        mask: &mut u32,
        active: u32,
    ) -> Run<Control> {
        match instruction.op {
            Op::Exit => {
                self.exit(block, active);
                *mask &= !active;
                *pc += 1;
                Ok(if *mask == 0 { Control::Parked } else { Control::Moved })
            }
            Op::Call { target, return_to } => {
                self.registers.set_narrow(return_to, active, &[*pc + 1; LANES]);
                self.park(*pc + 1, *mask & !active, Wait::Ready);
                (*pc, *mask) = (target, active);
                Ok(Control::Moved)
            }
            Op::Return(slot) => {
                self.return_from(slot, *pc, *mask, active);
                Ok(Control::Parked)
            }
            Op::Barrier(ref barrier) => {
                let waits = block.arrive(self, barrier, active)?;
                *pc += 1;
                match waits {
                    // Complete, or an arrival that does not wait.
                    None => Ok(Control::Moved),
                    Some((id, generation)) => {
                        self.park(*pc, *mask, Wait::Barrier { id, generation });
                        Ok(Control::Parked)
                    }
                }
            }
            _ => Ok(Control::Plain),
        }
    }

    fn return_from(&mut self, slot: Slot, pc: u32, mask: u32, active: u32) {
        let targets = *self.registers.narrow(slot);
        self.park(pc + 1, mask & !active, Wait::Ready);
        let mut rest = active;
        while rest != 0 {
            let target = targets[rest.trailing_zeros() as usize];
            let same = lanes(rest).filter(|&l| targets[l] == target).fold(0, |m, l| m | 1 << l);
            self.park(target, same, Wait::Ready);
            rest &= !same;
        }
    }

    fn exit(&mut self, block: &mut Block<'_>, active: u32) {
        self.live &= !active;
        // Fewer lanes to wait for: let those that wait look again.
        for path in &mut self.paths {
            if path.wait == Wait::Lanes {
                path.wait = Wait::Ready;
            }
        }
        if self.live == 0 {
            block.live_warps -= 1;
            block.warp_exited();
        }
    }
}

/// Whether an instruction was dealt with.
enum Control {
    Plain,
    Moved,
    Parked,
}

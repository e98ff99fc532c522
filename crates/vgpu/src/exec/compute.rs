//! Dispatch of instructions, and those that only touch registers.

use std::time::Instant;

use super::block::Block;
use super::warp::Warp;
use super::{Run, trouble};
use crate::check::clock::Domain;
use crate::config::Numeric;
use crate::decode::reader::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use crate::decode::wide_products::{high_s64, high_u64};
use crate::error::FaultKind;
use crate::numeric::format;
use crate::numeric::{Accuracy, FloatInstruction};
use crate::program::{CARRY, Carry, CarryKind, Compare, FenceKind, Instruction, Op, Space};
use crate::ptx::types::Type;
use crate::registers::{LANES, Slot, lanes};
use crate::schedule::mix;

impl Block<'_> {
    /// Executes an instruction for its active lanes. Returns whether it polled in vain.
    #[inline]
    pub(super) fn execute(&mut self, warp: &mut Warp, op: &Op, active: u32) -> Run<bool> {
        // Most instructions, kept apart from what needs a large frame.
        match op {
            Op::Lanes(run, slots) => run.run(&mut warp.registers, slots, active),
            Op::Compare(compare) => run_compare(warp, compare, active),
            Op::Load(access) => self.load(warp, access, active)?,
            Op::Store(access) => self.store(warp, access, active)?,
            _ => return self.execute_rest(warp, op, active),
        }
        Ok(false)
    }

    fn execute_rest(&mut self, warp: &mut Warp, op: &Op, active: u32) -> Run<bool> {
        match op {
            Op::Mma(product) => self.mma(warp, product),
            Op::MatrixMove(matrix) => self.matrix_move(warp, matrix)?,
            Op::CopyAsync(copy) => self.copy_async(warp, copy, active)?,
            Op::CommitCopies => warp.copies.commit(active),
            Op::WaitCopies { pending } => self.wait_copies(warp, *pending, active),
            Op::CopyBulk(copy) => self.copy_bulk(warp, copy, active)?,
            Op::CommitBulk => warp.copies.commit_bulk(active),
            Op::WaitBulk { pending, read } => self.wait_bulk(warp, (*pending, *read), active)?,
            Op::Mbarrier(mbarrier) => return self.mbarrier(warp, mbarrier, active),
            Op::Atomic(atomic) => self.atomic(warp, atomic, active)?,
            Op::Shuffle(shuffle) => self.shuffle(warp, shuffle, active)?,
            Op::Vote { kind, predicate, mask } => {
                super::exchange::vote(warp, *kind, *predicate, *mask, active);
            }
            Op::Match { kind, wide, result, value, mask } => {
                super::exchange::matching(warp, *kind, *wide, [*result, *value, *mask], active);
            }
            Op::Reduce { kind, result, value, mask } => {
                super::exchange::reduce(warp, *kind, [*result, *value, *mask], active);
            }
            Op::Elect { result, predicate, mask } => {
                super::exchange::elect(warp, (*result, *predicate), *mask, active);
            }
            Op::ActiveMask(result) => {
                warp.registers.set_narrow(*result, active, &[active; LANES]);
            }
            Op::WarpSync { .. } => {
                if let Some(races) = &mut self.races {
                    races.warp_sync(warp.index as usize * 32, active);
                }
            }
            Op::Fence(kind) => self.fence(warp, *kind, active),
            Op::Trap(what) => {
                let lane = active.trailing_zeros() as usize;
                let kind = if what.starts_with("printf") {
                    FaultKind::Unsupported
                } else {
                    FaultKind::Trap
                };
                return trouble(kind, lane, None, *what);
            }
            Op::CopyLocal { from, to, bytes } => copy_local(warp, [*from, *to, *bytes], active),
            Op::Hint => {}
            _ => self.registers_only(warp, op, active),
        }
        Ok(false)
    }

    #[inline(never)]
    fn registers_only(&mut self, warp: &mut Warp, op: &Op, active: u32) {
        match op {
            Op::Approximate(run, slots, accuracy) => {
                run.run(&mut warp.registers, slots, active);
                if let Numeric::Perturbed(seed) = self.env.config.numeric {
                    self.perturb(warp, slots[0], *accuracy, seed, active);
                }
            }
            Op::Float(instruction, slots) => run_float(warp, *instruction, slots, active),
            Op::MixedFloat { instruction, small, narrow, slots } => {
                run_mixed(warp, *instruction, (*small, *narrow), slots, active);
            }
            Op::Convert(conversion, from_wide, to_wide, slots) => {
                for lane in lanes(active) {
                    let a = warp.registers.lane(slots[1], *from_wide, lane);
                    let b = warp.registers.lane(slots[2], false, lane);
                    let value = conversion.apply(a, b);
                    warp.registers.set_lane(slots[0], *to_wide, lane, value);
                }
            }
            Op::SetCompare(compare, result, one) => {
                let holds =
                    combined(warp, compare, (compare.run)(&warp.registers, compare.a, compare.b));
                let values =
                    std::array::from_fn(|lane| if holds >> lane & 1 == 1 { *one } else { 0 });
                warp.registers.set_narrow(*result, active, &values);
            }
            Op::Select { wide, result, a, b, predicate } => {
                select(warp, *wide, [*result, *a, *b], warp.holds(*predicate), active);
            }
            Op::MovePredicate(result, source) => {
                let value = warp.holds(*source);
                warp.registers.set_predicate(*result, active, value);
            }
            Op::PredicateLogic(logic, result, a, b) => {
                let value = logic.apply(warp.holds(*a), warp.holds(*b));
                warp.registers.set_predicate(*result, active, value);
            }
            Op::Carry(carry) => run_carry(warp, carry, active),
            Op::TruthTable(table, slots) => truth_table(warp, *table, slots, active),
            Op::InsertField { wide, result, field, base, position, length } => {
                for lane in lanes(active) {
                    let read = |slot, wide| warp.registers.lane(slot, wide, lane);
                    let width = if *wide { 64 } else { 32 };
                    let (position, length) = (read(*position, false), read(*length, false));
                    let value =
                        insert(read(*field, *wide), read(*base, *wide), position, length, width);
                    warp.registers.set_lane(*result, *wide, lane, value);
                }
            }
            Op::Pack { parts, part_bits, wide, result } => {
                pack(warp, parts, *part_bits, *wide, *result, active);
            }
            Op::Unpack { parts, part_bits, wide, value } => {
                unpack(warp, parts, *part_bits, *wide, *value, active);
            }
            Op::Clock { result, wide } => {
                let now = Instant::now().duration_since(*START).as_nanos() as u64;
                for lane in lanes(active) {
                    warp.registers.set_lane(*result, *wide, lane, now);
                }
            }
            Op::IsSpace { result, space, address } => {
                let inside = |&a: &u64| match space {
                    Space::Shared => a >> 60 == SHARED_WINDOW >> 60,
                    Space::Local => a >> 60 == LOCAL_WINDOW >> 60,
                    Space::Param => a >> 60 == PARAM_WINDOW >> 60,
                    _ => a >> 60 == 0,
                };
                let wide = warp.registers.wide(*address);
                let holds = (0..LANES).filter(|&l| inside(&wide[l])).fold(0, |m, l| m | 1 << l);
                warp.registers.set_predicate(*result, active, holds);
            }
            // Control flow and what `execute` knows never comes here.
            _ => {}
        }
    }

    fn perturb(&mut self, warp: &mut Warp, slot: Slot, accuracy: Accuracy, seed: u64, active: u32) {
        let wide = matches!(accuracy, Accuracy::RelativeDouble(_));
        for lane in lanes(active) {
            let value = warp.registers.lane(slot, wide, lane);
            let noise = mix(seed ^ mix(value) ^ self.random.next());
            warp.registers.set_lane(slot, wide, lane, accuracy.perturb(value, noise));
        }
    }

    fn fence(&mut self, warp: &Warp, kind: FenceKind, active: u32) {
        let domains: &[Domain] = match kind {
            FenceKind::Device => {
                self.env.with_races(|races| races.fence(self.number));
                return;
            }
            FenceKind::Block => return,
            FenceKind::MbarrierInit => &[Domain::Init],
            FenceKind::Proxy { shared: true, global: false } => &[Domain::Shared, Domain::Init],
            FenceKind::Proxy { shared: false, .. } => &[Domain::Global],
            FenceKind::Proxy { .. } => &[Domain::Shared, Domain::Global, Domain::Init],
        };
        if let Some(races) = &mut self.races {
            races.proxy_fence(warp.index as usize * 32, active, domains);
        }
        if domains.contains(&Domain::Global) {
            self.env.with_proxies(|proxies| proxies.fence(self.number));
        }
    }

    /// Counts an instruction and fails if it uses a value that nothing has written.
    #[inline]
    pub(super) fn observe(
        &mut self,
        warp: &Warp,
        instruction: &Instruction,
        mask: u32,
        active: u32,
    ) -> Run<()> {
        if self.env.config.counters {
            self.counters.instructions[instruction.class as usize] += 1;
            self.counters.thread_instructions += u64::from(active.count_ones());
            self.counters.divergent_instructions += u64::from(mask != warp.live);
        }
        if !self.undefined {
            return Ok(());
        }
        let registers = &warp.registers;
        let guard = registers.predicates_defined[usize::from(instruction.guard.predicate)];
        let mut known = u32::MAX;
        for &slot in &instruction.flow.uses {
            known &= registers.defined[slot as usize];
        }
        for &predicate in &instruction.flow.predicate_uses {
            known &= registers.predicates_defined[usize::from(predicate)];
        }
        let missing = mask & !guard | active & !known;
        if missing == 0 {
            return Ok(());
        }
        let lane = missing.trailing_zeros() as usize;
        trouble(FaultKind::Uninitialised, lane, None, "an operand's value was never written")
    }

    /// Notes which registers an instruction has defined.
    #[inline]
    pub(super) fn mark_written(&self, warp: &mut Warp, instruction: &Instruction, active: u32) {
        if !self.undefined {
            return;
        }
        let flow = &instruction.flow;
        for &predicate in &flow.predicate_writes {
            warp.registers.predicates_defined[usize::from(predicate)] |= active;
        }
        if flow.own {
            return;
        }
        let mut known = u32::MAX;
        for &slot in &flow.moves {
            known &= warp.registers.defined[slot as usize];
        }
        for &slot in &flow.writes {
            let state = &mut warp.registers.defined[slot as usize];
            *state = *state & !active | known & active;
        }
    }
}

static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

fn combined(warp: &Warp, compare: &Compare, holds: u32) -> u32 {
    match compare.combine {
        Some((logic, other)) => logic.apply(holds, warp.holds(other)),
        None => holds,
    }
}

fn run_compare(warp: &mut Warp, compare: &Compare, active: u32) {
    let holds = (compare.run)(&warp.registers, compare.a, compare.b);
    let (yes, no) = (combined(warp, compare, holds), combined(warp, compare, !holds));
    warp.registers.set_predicate(compare.result, active, yes);
    if let Some(complement) = compare.complement {
        warp.registers.set_predicate(complement, active, no);
    }
}

fn run_float(warp: &mut Warp, instruction: FloatInstruction, slots: &[Slot; 4], active: u32) {
    let wide = instruction.kind.is_wide();
    for lane in lanes(active) {
        let [a, b, c] = [1, 2, 3].map(|i| match slots[i] {
            // Slot 0 of the file belongs to no register: the source does not exist.
            0 => 0,
            slot => warp.registers.lane(slot, wide, lane),
        });
        let value = instruction.apply(a, b, c);
        warp.registers.set_lane(slots[0], wide, lane, value);
    }
}

fn run_mixed(
    warp: &mut Warp,
    instruction: FloatInstruction,
    (small, narrow): (Type, usize),
    slots: &[Slot; 4],
    active: u32,
) {
    let source = if small == Type::F16 { format::F16 } else { format::BF16 };
    for lane in lanes(active) {
        let [a, b, c] = [1, 2, 3].map(|i| {
            let value = warp.registers.narrow(slots[i])[lane];
            u64::from(if i <= narrow { (source.decode(value) as f32).to_bits() } else { value })
        });
        let value = instruction.apply(a, b, c);
        warp.registers.set_lane(slots[0], false, lane, value);
    }
}

fn select(warp: &mut Warp, wide: bool, slots: [Slot; 3], chosen: u32, active: u32) {
    let [result, a, b] = slots;
    let registers = &mut warp.registers;
    if wide {
        let (a, b) = (registers.wide(a), registers.wide(b));
        let values = std::array::from_fn(|l| if chosen >> l & 1 == 1 { a[l] } else { b[l] });
        registers.set_wide(result, active, &values);
    } else {
        let (a, b) = (registers.narrow(a), registers.narrow(b));
        let values = std::array::from_fn(|l| if chosen >> l & 1 == 1 { a[l] } else { b[l] });
        registers.set_narrow(result, active, &values);
    }
    let known = registers.defined[a as usize] & chosen | registers.defined[b as usize] & !chosen;
    let state = &mut registers.defined[result as usize];
    *state = *state & !active | known & active;
}

fn run_carry(warp: &mut Warp, carry: &Carry, active: u32) {
    let flag = warp.registers.predicates[usize::from(CARRY)];
    let bits = if carry.wide { 64 } else { 32 };
    let limit = u128::MAX >> (128 - bits);
    let mut out = 0;
    for lane in lanes(active) {
        let [a, b, c] = [1, 2, 3].map(|i| match carry.slots[i] {
            0 => 0,
            slot => u128::from(warp.registers.lane(slot, carry.wide, lane)),
        });
        let carried = u128::from(carry.adds_flag && flag >> lane & 1 == 1);
        let sum = match carry.kind {
            CarryKind::Add => a + b + carried,
            // The flag means a borrow.
            CarryKind::Subtract => a.wrapping_sub(b).wrapping_sub(carried),
            CarryKind::MultiplyLow => ((a * b) & limit) + c + carried,
            CarryKind::MultiplyHigh { signed } => high(a, b, carry.wide, signed) + c + carried,
        };
        out |= u32::from(sum > limit) << lane;
        warp.registers.set_lane(carry.slots[0], carry.wide, lane, sum as u64);
    }
    if carry.sets_flag {
        warp.registers.set_predicate(CARRY, active, out);
    }
}

fn high(a: u128, b: u128, wide: bool, signed: bool) -> u128 {
    let (a, b) = (a as u64, b as u64);
    u128::from(match (wide, signed) {
        (true, false) => high_u64(a, b),
        (true, true) => high_s64(a as i64, b as i64),
        (false, false) => (a * b) >> 32,
        (false, true) => u64::from(((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32),
    })
}

fn truth_table(warp: &mut Warp, table: u32, slots: &[Slot; 4], active: u32) {
    let [a, b, c] = [1, 2, 3].map(|i| *warp.registers.narrow(slots[i]));
    let mut values = [0; LANES];
    for row in (0..8).filter(|row| table >> row & 1 == 1) {
        let side = |word: u32, bit: u32| if row >> bit & 1 == 1 { word } else { !word };
        for lane in 0..LANES {
            values[lane] |= side(a[lane], 2) & side(b[lane], 1) & side(c[lane], 0);
        }
    }
    warp.registers.set_narrow(slots[0], active, &values);
}

/// `bfi`: position and length count modulo 256.
fn insert(field: u64, base: u64, position: u64, length: u64, width: u64) -> u64 {
    let (position, length) = (position & 255, length & 255);
    let kept = length.min(width.saturating_sub(position));
    if kept == 0 {
        return base;
    }
    let mask = (u64::MAX >> (64 - kept)) << position;
    base & !mask | field << position & mask
}

fn pack(warp: &mut Warp, parts: &[Slot], part_bits: u32, wide: bool, result: Slot, active: u32) {
    let mask = u64::MAX >> (64 - part_bits);
    for lane in lanes(active) {
        let value = parts.iter().enumerate().fold(0, |value, (index, &part)| {
            let bits = u64::from(warp.registers.narrow(part)[lane]) & mask;
            value | bits << (index as u32 * part_bits)
        });
        warp.registers.set_lane(result, wide, lane, value);
    }
}

fn unpack(
    warp: &mut Warp,
    parts: &[Option<Slot>],
    part_bits: u32,
    wide: bool,
    value: Slot,
    active: u32,
) {
    let mask = u64::MAX >> (64 - part_bits);
    // The source may be one of the results.
    let values: [u64; LANES] = std::array::from_fn(|lane| warp.registers.lane(value, wide, lane));
    for (index, part) in parts.iter().enumerate() {
        let Some(part) = *part else { continue };
        for lane in lanes(active) {
            let bits = values[lane] >> (index as u32 * part_bits) & mask;
            warp.registers.narrow_mut(part)[lane] = bits as u32;
        }
    }
}

fn copy_local(warp: &mut Warp, [from, to, bytes]: [u32; 3], active: u32) {
    let frame = warp.local.len() / LANES;
    for lane in lanes(active) {
        let (from, to) = (lane * frame + from as usize, lane * frame + to as usize);
        warp.local.copy_within(from..from + bytes as usize, to);
        if !warp.local_defined.is_empty() {
            warp.local_defined.copy_within(from..from + bytes as usize, to);
        }
    }
}

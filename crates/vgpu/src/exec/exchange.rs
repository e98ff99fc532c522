//! Exchange between lanes: shuffles, votes, matches, reductions, election.

use super::block::Block;
use super::warp::Warp;
use super::{Run, trouble};
use crate::error::FaultKind;
use crate::program::{Guard, MatchKind, ReduceKind, Shuffle, ShuffleMode, VoteKind};
use crate::registers::{LANES, Predicate, Slot, lanes};

impl Block<'_> {
    /// `shfl.sync`: the clamp operand holds the limit in bits 0..5 and the segment mask in 8..13.
    pub(super) fn shuffle(&mut self, warp: &mut Warp, op: &Shuffle, active: u32) -> Run<()> {
        let values = *warp.registers.narrow(op.value);
        let distances = *warp.registers.narrow(op.lane);
        let clamps = *warp.registers.narrow(op.clamp);
        let masks = *warp.registers.narrow(op.mask);
        let known = warp.registers.defined[op.value as usize];
        let mut out = *warp.registers.narrow(op.result);
        let (mut in_range, mut defined) = (0u32, 0u32);
        for lane in lanes(active) {
            let (distance, clamp) = (distances[lane] & 31, clamps[lane] & 31);
            let segment = clamps[lane] >> 8 & 31;
            let here = lane as u32;
            let limit = here & segment | clamp & !segment;
            let first = here & segment;
            let (source, inside) = match op.mode {
                ShuffleMode::Up => {
                    let from = here.wrapping_sub(distance);
                    (from, (from as i32) >= limit as i32)
                }
                ShuffleMode::Down => (here + distance, here + distance <= limit),
                ShuffleMode::Butterfly => (here ^ distance, (here ^ distance) <= limit),
                ShuffleMode::Index => {
                    let from = first | distance & !segment;
                    (from, from <= limit)
                }
            };
            let source = if inside { source as usize } else { lane };
            if active >> source & 1 == 0 || masks[lane] >> source & 1 == 0 {
                let text =
                    format!("lane {source}, from which the value is taken, does not take part");
                return trouble(FaultKind::DivergentSync, lane, None, text);
            }
            out[lane] = values[source];
            in_range |= u32::from(inside) << lane;
            defined |= (known >> source & 1) << lane;
        }
        warp.registers.set_narrow(op.result, active, &out);
        if self.undefined {
            let state = &mut warp.registers.defined[op.result as usize];
            *state = *state & !active | defined;
        }
        if let Some(predicate) = op.in_range {
            warp.registers.set_predicate(predicate, active, in_range);
        }
        Ok(())
    }
}

/// Groups of active lanes that name the same mask; each is one operation.
fn groups(warp: &Warp, mask: Slot, active: u32) -> Vec<u32> {
    let masks = warp.registers.narrow(mask);
    let mut rest = active;
    let mut groups = Vec::new();
    while rest != 0 {
        let wanted = masks[rest.trailing_zeros() as usize];
        let group = lanes(rest).filter(|&l| masks[l] == wanted).fold(0, |m, l| m | 1 << l);
        groups.push(group);
        rest &= !group;
    }
    groups
}

pub(super) fn vote(warp: &mut Warp, kind: VoteKind, predicate: Guard, mask: Slot, active: u32) {
    let votes = warp.holds(predicate);
    for group in groups(warp, mask, active) {
        let holds = votes & group;
        let yes = |answer: bool| if answer { u32::MAX } else { 0 };
        let registers = &mut warp.registers;
        match kind {
            VoteKind::All(p) => registers.set_predicate(p, group, yes(holds == group)),
            VoteKind::Any(p) => registers.set_predicate(p, group, yes(holds != 0)),
            VoteKind::Uniform(p) => {
                registers.set_predicate(p, group, yes(holds == 0 || holds == group));
            }
            VoteKind::Ballot(slot) => registers.set_narrow(slot, group, &[holds; LANES]),
        }
    }
}

pub(super) fn matching(
    warp: &mut Warp,
    kind: MatchKind,
    wide: bool,
    [result, value, mask]: [Slot; 3],
    active: u32,
) {
    let values: [u64; LANES] = std::array::from_fn(|lane| warp.registers.lane(value, wide, lane));
    for group in groups(warp, mask, active) {
        let equal = |lane: usize| {
            lanes(group).filter(|&l| values[l] == values[lane]).fold(0u32, |m, l| m | 1 << l)
        };
        if let MatchKind::All(predicate) = kind {
            let agree = equal(group.trailing_zeros() as usize) == group;
            let mask = if agree { group } else { 0 };
            warp.registers.set_narrow(result, group, &[mask; LANES]);
            if let Some(predicate) = predicate {
                let holds = if agree { u32::MAX } else { 0 };
                warp.registers.set_predicate(predicate, group, holds);
            }
        } else {
            let matches = std::array::from_fn(equal);
            warp.registers.set_narrow(result, group, &matches);
        }
    }
}

pub(super) fn reduce(
    warp: &mut Warp,
    kind: ReduceKind,
    [result, value, mask]: [Slot; 3],
    active: u32,
) {
    let values = *warp.registers.narrow(value);
    for group in groups(warp, mask, active) {
        let sum = lanes(group).map(|lane| values[lane]).reduce(|a, b| match kind {
            ReduceKind::Add => a.wrapping_add(b),
            ReduceKind::MinUnsigned => a.min(b),
            ReduceKind::MaxUnsigned => a.max(b),
            ReduceKind::MinSigned => (a as i32).min(b as i32) as u32,
            ReduceKind::MaxSigned => (a as i32).max(b as i32) as u32,
            ReduceKind::And => a & b,
            ReduceKind::Or => a | b,
            ReduceKind::Xor => a ^ b,
        });
        warp.registers.set_narrow(result, group, &[sum.unwrap_or(0); LANES]);
    }
}

/// The ISA leaves open which lane is elected; here it is the lowest.
pub(super) fn elect(
    warp: &mut Warp,
    (result, predicate): (Option<Slot>, Predicate),
    mask: Slot,
    active: u32,
) {
    for group in groups(warp, mask, active) {
        let leader = group.trailing_zeros();
        warp.registers.set_predicate(predicate, group, 1 << leader);
        if let Some(slot) = result {
            warp.registers.set_narrow(slot, group, &[leader; LANES]);
        }
    }
}

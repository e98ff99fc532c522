//! Atomic operations (PTX ISA, `atom` and `red`).

use super::access::Place;
use super::block::Block;
use super::warp::Warp;
use super::{Run, trouble};
use crate::check::Use;
use crate::error::FaultKind;
use crate::numeric::{FloatInstruction, FloatOp, Rounding};
use crate::program::{Atomic, AtomicKind, Ordering};
use crate::ptx::types::Type;
use crate::registers::lanes;

/// What an operation makes of the old value.
pub(super) fn combine(kind: AtomicKind, value: Type, old: u64, new: u64, compare: u64) -> u64 {
    let float = |op| {
        let instruction = FloatInstruction {
            op,
            kind: value,
            rounding: Rounding::NearestEven,
            // Atomic additions of binary32 flush in global memory only on old devices; the ISA
            // says that those of red.f32 and atom.f32 keep subnormals in global memory.
            flush: false,
            saturate: false,
            relu: false,
        };
        instruction.apply(old, new, 0)
    };
    let narrow = !value.is_wide();
    let signed = |bits: u64| if narrow { i64::from(bits as i32) } else { bits as i64 };
    match kind {
        AtomicKind::Add if value.is_float() => float(FloatOp::Add),
        AtomicKind::Min if value.is_float() => float(FloatOp::Min),
        AtomicKind::Max if value.is_float() => float(FloatOp::Max),
        AtomicKind::Add => old.wrapping_add(new),
        AtomicKind::Min if value.is_signed() => signed(old).min(signed(new)) as u64,
        AtomicKind::Max if value.is_signed() => signed(old).max(signed(new)) as u64,
        AtomicKind::Min => old.min(new),
        AtomicKind::Max => old.max(new),
        AtomicKind::And => old & new,
        AtomicKind::Or => old | new,
        AtomicKind::Xor => old ^ new,
        AtomicKind::Exchange => new,
        AtomicKind::CompareExchange if old == compare => new,
        AtomicKind::CompareExchange => old,
        AtomicKind::Increment if old >= new => 0,
        AtomicKind::Increment => old + 1,
        AtomicKind::Decrement if old == 0 || old > new => new,
        AtomicKind::Decrement => old - 1,
    }
}

impl Block<'_> {
    pub(super) fn atomic(&mut self, warp: &mut Warp, atomic: &Atomic, active: u32) -> Run<()> {
        let addresses = warp.addresses(&atomic.address);
        let size = atomic.value.bytes();
        let total = size * atomic.operands.len() as u32;
        let wide = atomic.value.is_wide();
        if self.env.config.counters {
            self.count_traffic(atomic.space, &addresses, active, total, true);
        }
        for lane in lanes(active) {
            let address = addresses[lane];
            let place = self.place(warp, lane, atomic.space, address, total, true)?;
            if self.watches() {
                self.check_race(warp, lane, place, total, Use::Atomic)?;
                self.order(warp, lane, place, atomic.ordering);
            }
            for (index, &operand) in atomic.operands.iter().enumerate() {
                let part = place.offset(index as u32 * size);
                if self.undefined && !self.is_defined(warp, part, size) {
                    let text = "an atomic operation on memory that nothing has written";
                    return trouble(FaultKind::Uninitialised, lane, Some(address), text);
                }
                let new = warp.registers.lane(operand, wide, lane);
                let compare =
                    atomic.compare.map_or(0, |slot| warp.registers.lane(slot, wide, lane));
                let change = |old| combine(atomic.kind, atomic.value, old, new, compare);
                let old = if let Place::Global(at) = part {
                    self.env.memory.arena().update(at, size, change)
                } else {
                    let old = self.read(warp, part, size);
                    self.write(warp, part, size, change(old));
                    old
                };
                if let Some(Some(result)) = atomic.result.get(index) {
                    warp.registers.set_lane(*result, wide, lane, old);
                }
            }
        }
        Ok(())
    }

    /// The order between threads that an access which takes part in synchronisation makes.
    pub(super) fn order(&mut self, warp: &Warp, lane: usize, place: Place, ordering: Ordering) {
        if !ordering.strong {
            return;
        }
        match place {
            Place::Shared(at) => {
                if let Some(races) = &mut self.races {
                    let thread = warp.thread(lane);
                    if ordering.release {
                        races.release_word(thread, at);
                    }
                    if ordering.acquire {
                        races.acquire_word(thread, at);
                    }
                }
            }
            Place::Global(address) => {
                let number = self.number;
                self.env.with_races(|races| {
                    if ordering.release {
                        races.fence(number);
                    }
                    races.atomic(number, address);
                    if ordering.acquire {
                        races.fence(number);
                    }
                });
            }
            _ => {}
        }
    }
}

//! Random sequences of accesses, fences and atomics: the same conflicts as the plain check finds,
//! and as the definition says.

use super::history::{Histories, READERS};
use super::order::Order;
use super::plain::Plain;
use super::{GlobalRaces, Other};
use crate::check::{Access, Use};
use crate::schedule::Random;

/// An event of a random launch.
#[derive(Debug, Clone, Copy)]
enum Event {
    Fence,
    Atomic(u64),
    /// Lanes side by side, each with so many bytes.
    Access {
        start: u64,
        size: u32,
        lanes: u32,
        usage: Use,
        pc: u32,
    },
}

/// How launches are drawn.
struct Shape {
    blocks: usize,
    sizes: &'static [u32],
    /// Bytes that all accesses lie in, around the end of a page of the shadow.
    bytes: u64,
    /// Of 16 events, how many make order; of 32 accesses, how many write.
    ordering: usize,
    writes: usize,
}

impl Shape {
    fn event(&self, random: &mut Random) -> (u64, Event) {
        let block = random.below(self.blocks) as u64;
        let base = 7 * 4096 - self.bytes / 2;
        if random.below(16) < self.ordering {
            let word = base + 4 * random.below(2) as u64;
            return (block, if random.below(2) == 0 { Event::Fence } else { Event::Atomic(word) });
        }
        let size = self.sizes[random.below(self.sizes.len())];
        let most = (self.bytes / u64::from(size)) as usize;
        let limit = if random.below(2) == 0 { 1 } else { most.min(32) };
        let lanes = 1 + random.below(limit);
        let start = base + u64::from(size) * random.below(most - lanes + 1) as u64;
        let usage = if random.below(32) < self.writes {
            [Use::Write, Use::Atomic][random.below(2)]
        } else {
            [Use::Read, Use::Read, Use::Read, Use::AtomicRead][random.below(4)]
        };
        let pc = random.below(130) as u32;
        (block, Event::Access { start, size, lanes: lanes as u32, usage, pc })
    }
}

/// The definition: all accesses to a byte, none forgotten.
#[derive(Default)]
struct Definition {
    order: Order,
    /// Byte, CTA, time, atomic, write.
    accesses: Vec<(u64, u64, u32, bool, bool)>,
}

impl Definition {
    fn conflicts(&mut self, block: u64, touch: Access) -> bool {
        let time = self.order.now(block);
        let (atomic, write) = (touch.usage.is_atomic(), touch.usage.writes());
        let bytes = touch.address..touch.address + u64::from(touch.bytes);
        let clash = self.accesses.iter().any(|&(byte, other, time, was_atomic, wrote)| {
            bytes.contains(&byte)
                && (write || wrote)
                && !(atomic && was_atomic)
                && !self.order.knows(block, other, time)
        });
        self.accesses.extend(bytes.map(|byte| (byte, block, time, atomic, write)));
        clash
    }
}

/// Runs launches until each has its first conflict; returns how many had one.
fn compare(shape: &Shape, room: usize, launches: u64) -> usize {
    let mut races = GlobalRaces::with(Histories::with_room(room));
    let mut found = 0;
    for seed in 0..launches {
        let mut random = Random::new(seed);
        let (mut plain, mut definition) = (Plain::default(), Definition::default());
        races.reset();
        for step in 0..200 {
            let (block, event) = shape.event(&mut random);
            let conflict = match event {
                Event::Fence => {
                    races.fence(block);
                    plain.fence(block);
                    definition.order.fence(block);
                    continue;
                }
                Event::Atomic(word) => {
                    races.atomic(block, word);
                    plain.atomic(block, word);
                    definition.order.atomic(block, word);
                    continue;
                }
                Event::Access { start, size, lanes, usage, pc } => {
                    let touch = |address, bytes| Access { address, bytes, usage, pc };
                    let whole = touch(start, size * lanes);
                    let conflict = races.access(block, whole);
                    let each = |lane| touch(start + u64::from(size * lane), size);
                    let expected: Option<(u32, Other)> =
                        (0..lanes).find_map(|lane| Some((lane, plain.access(block, each(lane))?)));
                    assert_eq!(conflict.is_some(), expected.is_some(), "{seed}, {step}: {event:?}");
                    if conflict.is_some() {
                        let found = (0..lanes)
                            .find_map(|lane| Some((lane, races.access(block, each(lane))?)));
                        // In a crowd, which of several conflicts is named is not in order.
                        let crowd = shape.blocks > READERS;
                        let told = |all: Option<(u32, Other)>| all.filter(|_| !crowd);
                        assert_eq!(told(found), told(expected), "{seed}, {step}: {event:?}");
                        let lane = |all: Option<(u32, Other)>| all.map(|(lane, _)| lane);
                        assert_eq!(lane(found), lane(expected), "{seed}, {step}: {event:?}");
                    }
                    let clash = definition.conflicts(block, whole);
                    assert_eq!(conflict.is_some(), clash, "launch {seed}, step {step}");
                    conflict
                }
            };
            if conflict.is_some() {
                found += 1;
                break;
            }
        }
    }
    found
}

#[test]
fn words_of_few_blocks_are_judged_as_defined() {
    let shape = Shape { blocks: 7, sizes: &[4, 8, 16], bytes: 256, ordering: 12, writes: 10 };
    let found = compare(&shape, 1 << 20, 2000);
    assert!(found > 500 && found <= 2000, "{found}");
}

#[test]
fn parts_of_words_are_told_apart() {
    let shape = Shape { blocks: 3, sizes: &[2, 4], bytes: 32, ordering: 12, writes: 10 };
    let found = compare(&shape, 1 << 20, 2000);
    assert!(found > 500 && found <= 2000, "{found}");
}

#[test]
fn crowds_of_readers_are_judged_as_defined() {
    let shape = Shape { blocks: 60, sizes: &[4, 8], bytes: 16, ordering: 9, writes: 1 };
    let found = compare(&shape, 1 << 20, 2000);
    assert!(found > 500, "{found}");
    // And through compactions.
    let shape = Shape { sizes: &[2, 4], ..shape };
    assert!(compare(&shape, 16, 500) > 100);
}

#[test]
fn compaction_forgets_nothing() {
    let shape = Shape { blocks: 5, sizes: &[1, 2, 4], bytes: 64, ordering: 13, writes: 10 };
    let found = compare(&Shape { sizes: &[4], ..shape }, 8, 2000);
    assert!(found > 500, "{found}");
}

#[test]
fn launches_without_conflicts_run_to_their_end() {
    // Each CTA has its own bytes: nothing conflicts, whatever the order.
    let mut races = GlobalRaces::with(Histories::with_room(64));
    for launch in 0..3 {
        races.reset();
        for step in 0..2000_u64 {
            let block = step % 50;
            let touch = Access {
                address: 128 * block + 40_960 * launch,
                bytes: 128,
                usage: if step % 3 == 0 { Use::Read } else { Use::Write },
                pc: (step % 7) as u32,
            };
            assert_eq!(races.access(block, touch), None);
        }
    }
}

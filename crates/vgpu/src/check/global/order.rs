//! What CTAs know of each other: a fence followed by an access that takes part in synchronisation
//! releases what the CTA has done, such an access followed by a fence acquires.

use std::collections::HashMap;

/// Times that CTAs are known to have reached.
type Times = HashMap<u64, u32>;

/// A CTA's place in the order.
#[derive(Debug, Default)]
struct Party {
    now: u32,
    known: Times,
    /// What its last fence would release.
    released: Option<Times>,
    /// What its next fence would acquire.
    seen: Times,
}

/// The order of all CTAs that have done something.
#[derive(Debug, Default)]
pub(super) struct Order {
    parties: HashMap<u64, Party>,
    words: HashMap<u64, Times>,
    /// Grows whenever a CTA's time or the number of CTAs does.
    version: u64,
}

fn join(into: &mut Times, from: &Times) {
    for (&block, &time) in from {
        let known = into.entry(block).or_default();
        *known = (*known).max(time);
    }
}

impl Order {
    pub(super) fn reset(&mut self) {
        self.parties.clear();
        self.words.clear();
        self.version += 1;
    }

    /// As long as it is the same, accesses that differ in their address only are ordered alike.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    fn party(&mut self, block: u64) -> &mut Party {
        self.parties.entry(block).or_insert_with(|| {
            self.version += 1;
            Party::default()
        })
    }

    /// The time at which a CTA does what it does now.
    pub(super) fn now(&mut self, block: u64) -> u32 {
        self.party(block).now + 1
    }

    /// Whether a CTA knows that another had reached a time.
    pub(super) fn knows(&self, block: u64, other: u64, time: u32) -> bool {
        let known = self.parties.get(&block).and_then(|party| party.known.get(&other));
        block == other || known.is_some_and(|&known| known >= time)
    }

    /// A fence of device scope.
    pub(super) fn fence(&mut self, block: u64) {
        self.version += 1;
        let party = self.party(block);
        let seen = std::mem::take(&mut party.seen);
        join(&mut party.known, &seen);
        let mut released = party.known.clone();
        released.insert(block, party.now + 1);
        party.released = Some(released);
        party.now += 1;
    }

    /// An access that takes part in synchronisation.
    pub(super) fn atomic(&mut self, block: u64, address: u64) {
        self.now(block);
        let Some(party) = self.parties.get_mut(&block) else { return };
        let word = self.words.entry(address).or_default();
        if let Some(released) = &party.released {
            join(word, released);
        }
        join(&mut party.seen, word);
    }
}

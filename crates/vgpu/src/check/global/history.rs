//! What happened to a word: a list of marks, oldest first. Equal lists are kept once, and a list
//! shares its older part with the lists that it grew from.

use super::order::Order;

/// Reads of a word alike that stand in its list one by one; more are put together as a crowd.
pub(super) const READERS: usize = 16;

/// The CTA of marks that stand for a crowd, whose index is their time.
const MANY: u64 = u64::MAX;

/// Steps that are remembered.
const STEPS: usize = 1 << 12;

/// Lists after which those that no word has any more are dropped.
const ROOM: usize = 1 << 20;

/// Reads in crowds for each of those.
const CROWDS: usize = 4;

/// All bytes of a word.
const WHOLE: u8 = 0xf;

/// An access by a CTA, whatever word it touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) block: u64,
    pub(super) time: u32,
    pub(super) pc: u32,
    pub(super) atomic: bool,
    pub(super) write: bool,
}

impl Mark {
    /// A word for reports.
    pub(super) fn what(&self) -> &'static str {
        match (self.atomic, self.write) {
            (true, _) => "an atomic access",
            (false, true) => "a write",
            (false, false) => "a read",
        }
    }
}

/// One read of a crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reader {
    block: u64,
    time: u32,
    pc: u32,
}

/// Index of a mark.
pub(super) type MarkId = u32;

/// A list: its last mark, with the bytes that it touched, behind another list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    before: u32,
    mark: MarkId,
    bytes: u8,
}

/// A mark of a list that is being changed.
#[derive(Debug, Clone, Copy)]
struct Entry {
    mark: MarkId,
    bytes: u8,
    /// The list that ended with it before; 0 if none.
    list: u32,
}

/// Which list a mark makes of another.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    old: u32,
    mark: MarkId,
    bytes: u8,
    new: u32,
}

/// The lists of a launch. Their numbers ascend from launch to launch: up to `base` they are of
/// earlier ones and stand for the empty list, as 0 does.
pub(super) struct Histories {
    /// Marks, each with the list of itself alone on whole words, once there is one.
    marks: Vec<(Mark, u32)>,
    /// Reads that marks stand for together, oldest first.
    crowds: Vec<Vec<Reader>>,
    /// Reads in all crowds, and how many make it full.
    crowded: usize,
    crowd_room: usize,
    nodes: Vec<Node>,
    base: u32,
    steps: Box<[Step]>,
    /// Lists or marks that make it full, and the least of that.
    room: usize,
    least_room: usize,
    /// The list that a step works on.
    scratch: Vec<Entry>,
}

impl Default for Histories {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl Histories {
    /// Histories that are compacted after so many lists or marks at the earliest.
    pub(super) fn with_room(least_room: usize) -> Self {
        Self {
            marks: Vec::new(),
            crowds: Vec::new(),
            crowded: 0,
            crowd_room: CROWDS * least_room,
            nodes: Vec::new(),
            base: 0,
            steps: vec![Step::default(); STEPS].into_boxed_slice(),
            room: least_room,
            least_room,
            scratch: Vec::new(),
        }
    }

    /// Forgets everything. Returns whether numbers begin anew, so that all must be forgotten.
    pub(super) fn reset(&mut self) -> bool {
        self.base += self.nodes.len() as u32;
        self.marks.clear();
        self.crowds.clear();
        self.crowded = 0;
        self.crowd_room = CROWDS * self.least_room;
        self.nodes.clear();
        self.steps.fill(Step::default());
        self.room = self.least_room;
        let anew = self.base > u32::MAX / 2;
        if anew {
            self.base = 0;
        }
        anew
    }

    /// Room for a mark.
    pub(super) fn mark(&mut self, mark: Mark) -> MarkId {
        self.marks.push((mark, 0));
        self.marks.len() as MarkId - 1
    }

    /// The list that a mark made now on some bytes of a word makes of the word's list; or an earlier
    /// mark that conflicts with it.
    #[inline]
    pub(super) fn step(
        &mut self,
        old: u32,
        (mark, bytes): (MarkId, u8),
        order: &Order,
    ) -> Result<u32, Mark> {
        let old = if old <= self.base { 0 } else { old };
        let mixed = (old ^ mark.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        let place = (mixed >> 20) as usize % STEPS;
        let step = &self.steps[place];
        if (step.old, step.mark, step.bytes) == (old, mark, bytes) {
            return Ok(step.new);
        }
        let new = self.make(old, (mark, bytes), order)?;
        self.steps[place] = Step { old, mark, bytes, new };
        Ok(new)
    }

    fn make(&mut self, old: u32, (id, bytes): (MarkId, u8), order: &Order) -> Result<u32, Mark> {
        let mut list = std::mem::take(&mut self.scratch);
        self.unfold(old, &mut list);
        let mark = self.marks[id as usize].0;
        let clash = list.iter().find_map(|earlier| {
            let old = self.marks[earlier.mark as usize].0;
            let concerns = earlier.bytes & bytes != 0
                && (old.write || mark.write)
                && !(old.atomic && mark.atomic);
            concerns.then(|| self.unordered(old, mark.block, order)).flatten()
        });
        if let Some(old) = clash {
            return Err(old);
        }
        let mut new = Entry { mark: id, bytes, list: 0 };
        if mark.write {
            self.forget_behind_write(&mut list, mark, bytes);
        } else {
            self.forget_behind_read(&mut list, mark, bytes, order);
            new.mark = self.gather(&mut list, id, bytes);
        }
        list.push(new);
        let made = self.fold(&list);
        self.scratch = list;
        Ok(made)
    }

    /// The access of a mark that what a CTA does now does not come after.
    fn unordered(&self, old: Mark, block: u64, order: &Order) -> Option<Mark> {
        if old.block != MANY {
            return (!order.knows(block, old.block, old.time)).then_some(old);
        }
        let mut crowd = self.crowds[old.time as usize].iter();
        let reader = crowd.find(|reader| !order.knows(block, reader.block, reader.time))?;
        Some(Mark { block: reader.block, time: reader.time, pc: reader.pc, ..old })
    }

    /// The mark of a read. If there are many like it in a list, they leave it, and the mark stands
    /// for all.
    fn gather(&mut self, list: &mut Vec<Entry>, id: MarkId, bytes: u8) -> MarkId {
        let mark = self.marks[id as usize].0;
        let alike = |entry: &Entry| {
            let old = &self.marks[entry.mark as usize].0;
            !old.write && old.atomic == mark.atomic && entry.bytes == bytes
        };
        if list.iter().filter(|entry| alike(entry)).count() < READERS {
            return id;
        }
        let mut crowd = Vec::new();
        list.retain(|entry| {
            let gathered = alike(entry);
            let old = &self.marks[entry.mark as usize].0;
            if gathered && old.block == MANY {
                crowd.extend_from_slice(&self.crowds[old.time as usize]);
            } else if gathered {
                crowd.push(Reader { block: old.block, time: old.time, pc: old.pc });
            }
            !gathered
        });
        // Of each CTA the last read counts.
        crowd.retain(|reader| reader.block != mark.block);
        crowd.push(Reader { block: mark.block, time: mark.time, pc: mark.pc });
        self.crowded += crowd.len();
        self.crowds.push(crowd);
        self.mark(Mark { block: MANY, time: self.crowds.len() as u32 - 1, ..mark })
    }

    /// Drops what a write comes after, or shares with it that both are atomic.
    fn forget_behind_write(&self, list: &mut Vec<Entry>, mark: Mark, bytes: u8) {
        list.retain_mut(|entry| {
            let old = &self.marks[entry.mark as usize].0;
            // Later atomics must come after a plain access, but need not after an atomic one.
            if mark.atomic && !(old.atomic && old.block == mark.block) {
                return true;
            }
            entry.bytes &= !bytes;
            entry.bytes != 0
        });
    }

    /// Drops reads that a read of the same bytes comes after.
    fn forget_behind_read(&self, list: &mut Vec<Entry>, mark: Mark, bytes: u8, order: &Order) {
        list.retain_mut(|entry| {
            let old = &self.marks[entry.mark as usize].0;
            let behind = order.knows(mark.block, old.block, old.time);
            if old.write || old.atomic != mark.atomic || !behind {
                return true;
            }
            entry.bytes &= !bytes;
            entry.bytes != 0
        });
    }

    /// The entries of a list, oldest first.
    fn unfold(&self, mut list: u32, to: &mut Vec<Entry>) {
        to.clear();
        while list != 0 {
            let node = self.node(list);
            to.push(Entry { mark: node.mark, bytes: node.bytes, list });
            list = node.before;
        }
        to.reverse();
    }

    fn node(&self, list: u32) -> Node {
        self.nodes[(list - self.base - 1) as usize]
    }

    /// The list of some entries. What stands as it stood before is shared.
    fn fold(&mut self, entries: &[Entry]) -> u32 {
        let mut list = 0;
        for entry in entries {
            let node = Node { before: list, mark: entry.mark, bytes: entry.bytes };
            let alone = list == 0 && entry.bytes == WHOLE;
            list = if entry.list != 0 && self.node(entry.list) == node {
                entry.list
            } else if alone && self.marks[entry.mark as usize].1 != 0 {
                self.marks[entry.mark as usize].1
            } else {
                self.nodes.push(node);
                self.base + self.nodes.len() as u32
            };
            if alone {
                self.marks[entry.mark as usize].1 = list;
            }
        }
        list
    }

    /// Whether it is time to drop lists that no word has any more.
    pub(super) fn is_full(&self) -> bool {
        self.nodes.len().max(self.marks.len()) >= self.room || self.crowded >= self.crowd_room
    }

    /// Drops all lists and marks but those of some words, and numbers the rest anew. Marks got
    /// before lose their meaning.
    pub(super) fn compact(&mut self, words: &mut [u32]) {
        let (marks, nodes) = (std::mem::take(&mut self.marks), std::mem::take(&mut self.nodes));
        let (base, mut crowds) = (std::mem::take(&mut self.base), std::mem::take(&mut self.crowds));
        self.crowded = 0;
        let mut new_marks = vec![None; marks.len()];
        let mut new_lists = vec![0; nodes.len()];
        let mut behind = Vec::new();
        for word in words {
            let mut list = if *word <= base { 0 } else { *word };
            while list != 0 && new_lists[(list - base - 1) as usize] == 0 {
                behind.push(list);
                list = nodes[(list - base - 1) as usize].before;
            }
            let mut new = if list == 0 { 0 } else { new_lists[(list - base - 1) as usize] };
            for list in behind.drain(..).rev() {
                let node = nodes[(list - base - 1) as usize];
                let mark = *new_marks[node.mark as usize].get_or_insert_with(|| {
                    let mut mark = marks[node.mark as usize].0;
                    if mark.block == MANY {
                        let crowd = std::mem::take(&mut crowds[mark.time as usize]);
                        self.crowded += crowd.len();
                        self.crowds.push(crowd);
                        mark.time = self.crowds.len() as u32 - 1;
                    }
                    self.mark(mark)
                });
                self.nodes.push(Node { before: new, mark, ..node });
                new = self.nodes.len() as u32;
                new_lists[(list - base - 1) as usize] = new;
            }
            *word = new;
        }
        self.steps.fill(Step::default());
        self.room = self.least_room.max(2 * self.nodes.len());
        self.crowd_room = (CROWDS * self.least_room).max(2 * self.crowded);
    }
}

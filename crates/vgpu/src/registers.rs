//! The registers of a warp: each holds one value per lane.
#![allow(unsafe_code, reason = "operations on lanes are compiled twice, for wider vectors too")]
#![allow(
    clippy::inline_always,
    reason = "loops over lanes take the vector width of the function that they are in"
)]

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;

/// A register's place: index of its first block. A 64-bit register takes two blocks.
pub(crate) type Slot = u32;

/// A predicate's place.
pub(crate) type Predicate = u16;

/// 32 lanes of 32 bits.
type Block = [u64; 16];

/// Register file of one warp, with the lanes of each register that have been written.
#[derive(Clone)]
pub(crate) struct Registers {
    blocks: Vec<Block>,
    /// For the first block of each register: lanes that hold a defined value.
    pub(crate) defined: Vec<u32>,
    /// One bit per lane.
    pub(crate) predicates: Vec<u32>,
    pub(crate) predicates_defined: Vec<u32>,
}

impl Registers {
    pub(crate) fn new(blocks: usize, predicates: usize) -> Self {
        Self {
            blocks: vec![[0; 16]; blocks],
            defined: vec![0; blocks],
            predicates: vec![0; predicates],
            predicates_defined: vec![0; predicates],
        }
    }

    /// A 32-bit register.
    #[inline(always)]
    pub(crate) fn narrow(&self, slot: Slot) -> &[u32; LANES] {
        bytemuck::cast_ref(&self.blocks[slot as usize])
    }

    /// A 32-bit register to write.
    #[inline(always)]
    pub(crate) fn narrow_mut(&mut self, slot: Slot) -> &mut [u32; LANES] {
        bytemuck::cast_mut(&mut self.blocks[slot as usize])
    }

    /// A 64-bit register.
    #[inline(always)]
    pub(crate) fn wide(&self, slot: Slot) -> &[u64; LANES] {
        let pair: &[Block; 2] = self.blocks[slot as usize..][..2].try_into().unwrap_or(&EMPTY);
        bytemuck::cast_ref(pair)
    }

    /// Writes the lanes of `mask` of a 32-bit register.
    #[inline(always)]
    pub(crate) fn set_narrow(&mut self, slot: Slot, mask: u32, values: &[u32; LANES]) {
        let target = self.narrow_mut(slot);
        if mask == u32::MAX {
            *target = *values;
        } else {
            for lane in 0..LANES {
                let chosen = 0u32.wrapping_sub(mask >> lane & 1);
                target[lane] = values[lane] & chosen | target[lane] & !chosen;
            }
        }
    }

    /// Writes the lanes of `mask` of a 64-bit register.
    #[inline(always)]
    pub(crate) fn set_wide(&mut self, slot: Slot, mask: u32, values: &[u64; LANES]) {
        let pair: &mut [u64] =
            bytemuck::cast_slice_mut(&mut self.blocks[slot as usize..slot as usize + 2]);
        if mask == u32::MAX {
            return pair.copy_from_slice(values);
        }
        for (lane, (target, value)) in pair.iter_mut().zip(values).enumerate() {
            let chosen = 0u64.wrapping_sub(u64::from(mask >> lane & 1));
            *target = value & chosen | *target & !chosen;
        }
    }

    /// One lane of a register, zero-extended.
    #[inline]
    pub(crate) fn lane(&self, slot: Slot, wide: bool, lane: usize) -> u64 {
        if wide { self.wide(slot)[lane] } else { u64::from(self.narrow(slot)[lane]) }
    }

    /// Writes one lane of a register.
    #[inline]
    pub(crate) fn set_lane(&mut self, slot: Slot, wide: bool, lane: usize, value: u64) {
        if wide {
            let block = &mut self.blocks[slot as usize + lane / 16];
            block[lane % 16] = value;
        } else {
            self.narrow_mut(slot)[lane] = value as u32;
        }
    }

    /// Writes the lanes of `mask` of a predicate.
    #[inline]
    pub(crate) fn set_predicate(&mut self, predicate: Predicate, mask: u32, values: u32) {
        let target = &mut self.predicates[usize::from(predicate)];
        *target = *target & !mask | values & mask;
    }
}

static EMPTY: [Block; 2] = [[0; 16]; 2];

/// The lanes of a mask, ascending.
#[inline]
pub(crate) fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            lane
        })
    })
}

/// A type that a register's lanes can be read as.
pub(crate) trait Lane: Copy + Default {
    /// All lanes of a register.
    fn read(registers: &Registers, slot: Slot) -> [Self; LANES];
    /// Writes the lanes of `mask`.
    fn write(registers: &mut Registers, slot: Slot, mask: u32, values: &[Self; LANES]);
}

macro_rules! impl_lane {
    ($($kind:ty: $read:ident, $write:ident;)*) => { $(
        impl Lane for $kind {
            #[inline(always)]
            fn read(registers: &Registers, slot: Slot) -> [Self; LANES] {
                bytemuck::cast(*registers.$read(slot))
            }
            #[inline(always)]
            fn write(registers: &mut Registers, slot: Slot, mask: u32, values: &[Self; LANES]) {
                registers.$write(slot, mask, bytemuck::cast_ref(values));
            }
        }
    )* };
}

impl_lane! {
    u32: narrow, set_narrow;
    i32: narrow, set_narrow;
    f32: narrow, set_narrow;
    u64: wide, set_wide;
    i64: wide, set_wide;
    f64: wide, set_wide;
}

/// An operation on all lanes: destination and up to three sources.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneFn(unsafe fn(&mut Registers, &[Slot; 4], u32));

impl LaneFn {
    /// The form for any processor, and that for AVX2 and FMA where the processor has them.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn choose(
        any: unsafe fn(&mut Registers, &[Slot; 4], u32),
        avx2: unsafe fn(&mut Registers, &[Slot; 4], u32),
    ) -> Self {
        let wide = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma");
        Self(if wide { avx2 } else { any })
    }

    /// The form for any processor.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn choose(any: unsafe fn(&mut Registers, &[Slot; 4], u32)) -> Self {
        Self(any)
    }

    /// Runs it for the lanes of a mask.
    #[inline]
    pub(crate) fn run(self, registers: &mut Registers, slots: &[Slot; 4], mask: u32) {
        // SAFETY: both forms are safe functions; `choose` takes the one that needs AVX2 and FMA
        // only where they exist.
        unsafe { (self.0)(registers, slots, mask) }
    }
}

/// A comparison of all lanes of two sources.
pub(crate) type CompareFn = fn(&Registers, Slot, Slot) -> u32;

/// Makes a [`LaneFn`] of an expression over one lane's values:
/// `lane_fn!(u32 = |a: u32, b: u32| a & b)`.
macro_rules! lane_fn {
    ($out:ty = |$($name:ident : $kind:ty),+| $value:expr) => {{
        #[allow(unused_braces, reason = "the body of a function may be a block")]
        #[allow(clippy::inline_always, reason = "it takes the vector width of its caller")]
        #[inline(always)]
        fn body(
            registers: &mut $crate::registers::Registers,
            slots: &[$crate::registers::Slot; 4],
            mask: u32,
        ) {
            let mut source = slots[1..].iter();
            $(let $name = <$kind as $crate::registers::Lane>::read(
                registers,
                source.next().copied().unwrap_or_default(),
            );)+
            let mut out = [<$out>::default(); $crate::registers::LANES];
            for lane in 0..$crate::registers::LANES {
                $(let $name: $kind = $name[lane];)+
                out[lane] = $value;
            }
            <$out as $crate::registers::Lane>::write(registers, slots[0], mask, &out);
        }
        fn any(
            registers: &mut $crate::registers::Registers,
            slots: &[$crate::registers::Slot; 4],
            mask: u32,
        ) {
            body(registers, slots, mask);
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        fn avx2(
            registers: &mut $crate::registers::Registers,
            slots: &[$crate::registers::Slot; 4],
            mask: u32,
        ) {
            body(registers, slots, mask);
        }
        #[cfg(target_arch = "x86_64")]
        let chosen = $crate::registers::LaneFn::choose(any, avx2);
        #[cfg(not(target_arch = "x86_64"))]
        let chosen = $crate::registers::LaneFn::choose(any);
        chosen
    }};
}
pub(crate) use lane_fn;

/// Makes a [`CompareFn`] of an expression over one lane's values.
macro_rules! compare_fn {
    (|$a:ident, $b:ident : $kind:ty| $value:expr) => {{
        fn run(
            registers: &$crate::registers::Registers,
            a: $crate::registers::Slot,
            b: $crate::registers::Slot,
        ) -> u32 {
            let left = <$kind as $crate::registers::Lane>::read(registers, a);
            let right = <$kind as $crate::registers::Lane>::read(registers, b);
            let mut mask = 0;
            for lane in 0..$crate::registers::LANES {
                let ($a, $b): ($kind, $kind) = (left[lane], right[lane]);
                mask |= u32::from($value) << lane;
            }
            mask
        }
        run as $crate::registers::CompareFn
    }};
}
pub(crate) use compare_fn;

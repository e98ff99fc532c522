//! Where the codes of a group of 32 lie in a strip.
//!
//! A section of codes of b bits has b vectors for each half of the strip. A vector's cells hold four
//! consecutive k of a row; its lowest b bits belong to the first cells, the next b bits to the next,
//! so that kernels need a shift and a mask for each vector. Codes of more bits than a byte divides
//! into are two sections: low bits, then high bits.

use super::{GROUP, Layout};

/// Byte and shift of code `k` of row `r` in a section of `BITS`-bit codes.
fn place<const BITS: usize>(layout: Layout, r: usize, k: usize) -> (usize, usize) {
    let (vector, in_byte) = (k / 4, 8 / BITS);
    (layout.cell(r, BITS, vector / in_byte) + k % 4, BITS * (vector % in_byte))
}

const fn section_bytes<const BITS: usize>(layout: Layout) -> usize {
    4 * BITS * 2 * layout.lanes
}

/// Writes the codes of row `r` into a section of `LOW` and one of `HIGH` bits (0: none).
pub(super) fn put<const LOW: usize, const HIGH: usize>(
    layout: Layout,
    r: usize,
    sections: &mut [u8],
    code: impl Fn(usize) -> u8,
) {
    let codes: [u8; GROUP] = std::array::from_fn(code);
    let (low, high) = sections.split_at_mut(section_bytes::<LOW>(layout));
    put_bits::<LOW>(layout, r, low, &codes, 0);
    if HIGH > 0 {
        put_bits::<HIGH>(layout, r, high, &codes, LOW);
    }
}

/// Writes `BITS` bits of each code, from bit `shift` on: four codes at a time, and a cell once.
fn put_bits<const BITS: usize>(
    layout: Layout,
    r: usize,
    section: &mut [u8],
    codes: &[u8; GROUP],
    shift: usize,
) {
    let mask = 0x0101_0101 * ((1 << BITS) - 1);
    for (vector, codes) in codes.as_chunks::<4>().0.chunks_exact(8 / BITS).enumerate() {
        let cell = codes.iter().enumerate().fold(0, |cell, (place, &codes)| {
            cell | (u32::from_le_bytes(codes) >> shift & mask) << (BITS * place)
        });
        let at = layout.cell(r, BITS, vector);
        section[at..at + 4].copy_from_slice(&cell.to_le_bytes());
    }
}

/// Code `k` of row `r`.
pub(super) fn get<const LOW: usize, const HIGH: usize>(
    layout: Layout,
    r: usize,
    sections: &[u8],
    k: usize,
) -> u8 {
    let (low, high) = sections.split_at(section_bytes::<LOW>(layout));
    let (at, shift) = place::<LOW>(layout, r, k);
    let code = low[at] >> shift & ((1 << LOW) - 1);
    if HIGH == 0 {
        return code;
    }
    let (at, shift) = place::<HIGH>(layout, r, k);
    code | (high[at] >> shift & ((1 << HIGH) - 1)) << LOW
}

#![allow(clippy::float_cmp, reason = "lanes pass through or are rounded once")]

use super::*;
use crate::weight::minifloat::e4m3;

struct Check<'a>(&'a mut dyn FnMut(f32, f32, f32));

impl Kernel for Check<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut x = -126.0_f32;
        while x <= 80.0 {
            let (mut two, mut e) = ([0.0; LANES], [0.0; LANES]);
            s.store(s.exp2(s.splat(x)), &mut two);
            s.store(s.exp(s.splat(x)), &mut e);
            assert!(two.iter().all(|v| v.to_bits() == two[0].to_bits()));
            let sixteen = all_of(s, S::W::splat(s, x).exp2(s));
            assert!(sixteen.iter().all(|v| v.to_bits() == two[0].to_bits()));
            (self.0)(x, two[0], e[0]);
            x += 0.037;
        }
        let special = [f32::NEG_INFINITY, f32::NAN, 0.0, -0.0, -126.5, -1e30, 1.0, -1.0];
        let mut two = [0.0; LANES];
        s.store(s.exp2(s.load(&special)), &mut two);
        assert_eq!(two[0].to_bits(), 0);
        assert!(two[1].is_nan());
        let bits = [2, 3, 4, 5, 6, 7].map(|i: usize| two[i].to_bits());
        assert_eq!(bits, [1.0_f32, 1.0, 0.0, 0.0, 2.0, 0.5].map(f32::to_bits));
        let garbage = s.load(&[1.0, 2.0, f32::NAN, 4.0, 5.0, f32::NAN, f32::INFINITY, f32::NAN]);
        let kept = s.keep_first(garbage, 2, -3.0);
        assert_eq!((s.reduce_add(kept), s.reduce_max(kept)), (-15.0, 2.0));
        let words = [0x4000_3f80_u32; LANES];
        // SAFETY: eight words.
        let pairs = all_of(s, unsafe { S::W::load_bf16_pairs(s, words.as_ptr()) });
        assert_eq!(pairs.as_chunks::<LANES>().0, [[1.0; LANES], [2.0; LANES]]);
        masks_of_sixteen(s);
        for first in (0..=255_u8).step_by(16) {
            let words = [0, 4, 8, 12]
                .map(|i| u32::from_ne_bytes(std::array::from_fn(|byte| first + i + byte as u8)));
            // SAFETY: four words.
            let values = all_of(s, unsafe { S::W::load_e4m3(s, words.as_ptr()) });
            for (code, value) in (first..=first + 15).zip(values) {
                let expected = e4m3(code) / 256.0;
                assert!(
                    value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(),
                    "{code:#x}"
                );
            }
        }
    }
}

#[inline(always)]
fn all_of<S: Simd>(s: S, v: S::W) -> [f32; 16] {
    let mut out = [0.0; 16];
    // SAFETY: sixteen values.
    unsafe { v.store(s, out.as_mut_ptr()) };
    out
}

/// Every number of lanes is kept, beside lanes that are not numbers.
#[inline(always)]
fn masks_of_sixteen<S: Simd>(s: S) {
    for n in 0..=17 {
        let mut values: [f32; 16] =
            std::array::from_fn(|i| if i < n { i as f32 } else { f32::NAN });
        // SAFETY: sixteen values.
        let kept = unsafe { S::W::load(s, values.as_ptr()) }.keep_first(s, n, -3.0);
        values.iter_mut().skip(n).for_each(|v| *v = -3.0);
        assert_eq!(all_of(s, kept), values);
        assert_eq!(kept.reduce_max(s), if n == 0 { -3.0 } else { n.min(16) as f32 - 1.0 });
        let sums = [
            kept.add(s, kept),
            kept.sub(s, kept).max(s, kept),
            kept.mul(s, kept),
            kept.fma(s, kept, kept),
        ];
        for (i, &x) in values.iter().enumerate() {
            let expected = [x + x, x.max(0.0), x * x, x * x + x];
            assert_eq!(sums.map(|sum| all_of(s, sum)[i]), expected);
        }
    }
}

#[test]
fn exponentials_are_exact_to_two_units_and_masks_remove_garbage() {
    for isa in Isa::available() {
        let mut worst = (0.0_f64, 0.0_f64);
        dispatch(
            isa,
            Check(&mut |x, two, e| {
                let x = f64::from(x);
                worst.0 = worst.0.max((f64::from(two) / x.exp2() - 1.0).abs());
                if x >= -87.0 {
                    worst.1 = worst.1.max((f64::from(e) / x.exp() - 1.0).abs());
                }
            }),
        );
        assert!(worst.0 < 2e-7 && worst.1 < 2e-7, "{}: {worst:?}", isa.name());
    }
}

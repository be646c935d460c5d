//! Sums of floats without rounding, so that a sum is a function of what was added and not of the order.
//!
//! Two floats that do not overlap hold about 106 bits of sum exactly (Shewchuk, "Adaptive Precision Floating-Point Arithmetic
//! and Fast Robust Geometric Predicates", 1997), which real columns rarely exceed. What they cannot hold spills into a
//! fixed-point number that covers all of f64 (Kulisch, "Computer Arithmetic and Validity", 2008). Infinities and NaN are counted
//! apart. Everything can be taken out again: inserting and retracting the same values leaves exactly what was there.

use crate::state::canonical::canonical_f64;

/// The unit of [`FixedPoint`]: 2^-1074, the least subnormal.
const UNIT_EXPONENT: i32 = -1074;
/// 2^-1074 to 2^1024, 64 bits for weights, 64 for how many, and the sign.
const LIMBS: usize = 36;

/// A sum of floats, exact.
#[derive(Debug, Clone, Default)]
pub(super) struct ExactSum {
    /// The sum is `high + low + rest`, and `high` is `high + low` rounded.
    high: f64,
    low: f64,
    rest: Option<Box<Rest>>,
}

/// What two floats cannot hold.
#[derive(Debug, Clone, Default)]
struct Rest {
    nans: i64,
    infinities: i64,
    negative_infinities: i64,
    spill: Option<FixedPoint>,
}

/// `a + b` rounded, and the rounding error (Knuth's TwoSum).
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
}

impl ExactSum {
    /// Adds `value`.
    #[inline(always)]
    pub fn add(&mut self, value: f64) {
        let (sum, error) = two_sum(self.high, value);
        let (low, lost) = two_sum(self.low, error);
        let (high, low) = two_sum(sum, low);
        // False also where an infinity or an overflow has made one of them NaN.
        if lost == 0.0 && low.is_finite() {
            (self.high, self.low) = (high, low);
        } else {
            self.add_slowly(value, 1);
        }
    }

    /// Adds `value`, `weight` times.
    #[inline(always)]
    pub fn add_weighted(&mut self, value: f64, weight: i64) {
        match weight {
            1 => self.add(value),
            -1 if value.is_finite() => self.add(-value),
            _ => self.add_slowly(value, weight),
        }
    }

    #[cold]
    #[inline(never)]
    fn add_slowly(&mut self, value: f64, weight: i64) {
        let (high, low) = (std::mem::take(&mut self.high), std::mem::take(&mut self.low));
        let rest = self.rest.get_or_insert_default();
        if value.is_nan() {
            rest.nans = rest.nans.wrapping_add(weight);
        } else if value.is_infinite() {
            let count = if value > 0.0 { &mut rest.infinities } else { &mut rest.negative_infinities };
            *count = count.wrapping_add(weight);
        } else {
            let spill = rest.spill.get_or_insert_default();
            spill.add(high, 1);
            spill.add(low, 1);
            spill.add(value, weight);
            return;
        }
        (self.high, self.low) = (high, low);
    }

    /// Adds another sum.
    pub fn absorb(&mut self, other: &Self) {
        self.add(other.high);
        self.add(other.low);
        let Some(theirs) = &other.rest else { return };
        let rest = self.rest.get_or_insert_default();
        rest.nans = rest.nans.wrapping_add(theirs.nans);
        rest.infinities = rest.infinities.wrapping_add(theirs.infinities);
        rest.negative_infinities = rest.negative_infinities.wrapping_add(theirs.negative_infinities);
        if let Some(spill) = &theirs.spill {
            rest.spill.get_or_insert_default().absorb(spill);
        }
    }

    /// Brings the sum back into two floats if it fits.
    pub fn settle(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        if let Some(spill) = &mut rest.spill {
            spill.add(std::mem::take(&mut self.high), 1);
            spill.add(std::mem::take(&mut self.low), 1);
            let high = spill.rounded();
            if high.is_finite() {
                let mut remainder = spill.clone();
                remainder.add(high, -1);
                let low = remainder.rounded();
                remainder.add(low, -1);
                if remainder.is_zero() {
                    (self.high, self.low, rest.spill) = (high, low, None);
                }
            }
        }
        if (rest.nans, rest.infinities, rest.negative_infinities) == (0, 0, 0) && rest.spill.is_none() {
            self.rest = None;
        }
    }

    /// The sum, rounded once to the nearest float.
    pub fn value(&self) -> f64 {
        let Some(rest) = &self.rest else { return canonical_f64(self.high) };
        match (rest.nans, rest.infinities, rest.negative_infinities) {
            (0, 0, 0) => {}
            (0, _, 0) => return f64::INFINITY,
            (0, 0, _) => return f64::NEG_INFINITY,
            _ => return f64::NAN,
        }
        let Some(spill) = &rest.spill else { return canonical_f64(self.high) };
        let mut total = spill.clone();
        total.add(self.high, 1);
        total.add(self.low, 1);
        total.rounded()
    }

    /// False if more NaNs or infinities were taken out than put in.
    pub fn is_legal(&self) -> bool {
        self.rest.as_ref().is_none_or(|r| r.nans >= 0 && r.infinities >= 0 && r.negative_infinities >= 0)
    }

    /// True if the sum is exactly nothing: what a group without values must have.
    pub fn is_empty(&self) -> bool {
        let mut settled = self.clone();
        settled.settle();
        settled.rest.is_none() && settled.high == 0.0
    }

    /// The two floats, and the rest as little-endian bytes where there is one.
    pub fn to_parts(&self) -> (f64, f64, Option<Vec<u8>>) {
        let bytes = self.rest.as_ref().map(|rest| {
            let counts = [rest.nans, rest.infinities, rest.negative_infinities];
            let counts = counts.into_iter().flat_map(i64::to_le_bytes);
            counts.chain(rest.spill.iter().flat_map(|s| s.limbs).flat_map(u64::to_le_bytes)).collect()
        });
        (self.high, self.low, bytes)
    }

    /// From [`to_parts`](Self::to_parts); `None` if the bytes are not of it.
    pub fn from_parts(high: f64, low: f64, rest: Option<&[u8]>) -> Option<Self> {
        let Some(bytes) = rest else { return Some(Self { high, low, rest: None }) };
        let (words, tail) = bytes.as_chunks::<8>();
        if !tail.is_empty() || (words.len() != 3 && words.len() != 3 + LIMBS) {
            return None;
        }
        let count = |i: usize| i64::from_le_bytes(words[i]);
        let mut limbs = [0; LIMBS];
        limbs.iter_mut().zip(&words[3..]).for_each(|(limb, word)| *limb = u64::from_le_bytes(*word));
        let spill = (words.len() > 3).then_some(FixedPoint { limbs });
        let rest = Rest { nans: count(0), infinities: count(1), negative_infinities: count(2), spill };
        Some(Self { high, low, rest: Some(Box::new(rest)) })
    }

    /// Bytes allocated outside.
    pub fn heap_bytes(&self) -> usize {
        if self.rest.is_some() { size_of::<Rest>() } else { 0 }
    }
}

/// A fixed-point number in two's complement, least limb first, in units of 2^-1074.
#[derive(Debug, Clone)]
struct FixedPoint {
    limbs: [u64; LIMBS],
}

impl Default for FixedPoint {
    fn default() -> Self {
        Self { limbs: [0; LIMBS] }
    }
}

impl FixedPoint {
    /// Adds a finite `value`, `weight` times.
    fn add(&mut self, value: f64, weight: i64) {
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as u32;
        let fraction = bits & ((1 << 52) - 1);
        // Subnormals share the exponent of the least normal numbers and lack the leading one.
        let (mantissa, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 52, exponent - 1) };
        let product = i128::from(mantissa) * i128::from(weight);
        self.add_shifted(if value.is_sign_negative() { -product } else { product }, shift as usize);
    }

    /// Adds `integer` times 2^`shift`.
    fn add_shifted(&mut self, integer: i128, shift: usize) {
        let (first, bit) = (shift / 64, shift % 64);
        let (low, high) = (integer as u64, (integer >> 64) as i64);
        let sign = (integer >> 127) as u64;
        let words = match bit {
            0 => [low, high as u64, sign],
            bit => [low << bit, low >> (64 - bit) | (high as u64) << bit, (high >> (64 - bit)) as u64],
        };
        let mut carry = false;
        for (offset, limb) in self.limbs[first..].iter_mut().enumerate() {
            let word = words.get(offset).copied().unwrap_or(sign);
            // Past the words only a carry or a borrow can still change anything.
            if offset >= words.len() && (sign == 0) != carry {
                break;
            }
            let (sum, over) = limb.overflowing_add(word);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, over || over_again);
        }
    }

    fn absorb(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, word) in self.limbs.iter_mut().zip(other.limbs) {
            let (sum, over) = limb.overflowing_add(word);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, over || over_again);
        }
    }

    fn is_zero(&self) -> bool {
        self.limbs.iter().all(|limb| *limb == 0)
    }

    /// The nearest float, ties to even; infinite beyond the range.
    fn rounded(&self) -> f64 {
        let negative = self.limbs[LIMBS - 1] >> 63 == 1;
        let magnitude = if negative { self.negated() } else { self.limbs };
        let Some(top) = magnitude.iter().rposition(|limb| *limb != 0) else { return 0.0 };
        let top_bit = top * 64 + 63 - magnitude[top].leading_zeros() as usize;
        // Below 2^53 units the integer is the float's own bit pattern, subnormals included.
        let bits = match top_bit.checked_sub(52) {
            None | Some(0) => magnitude[0],
            Some(shift) => {
                let mantissa = bits_from(&magnitude, shift) & ((1 << 53) - 1);
                let half = bits_from(&magnitude, shift - 1) & 1 == 1;
                let sticky = any_below(&magnitude, shift - 1);
                let round_up = half && (sticky || mantissa & 1 == 1);
                // A mantissa that rounds up to 2^53 carries into the exponent, as it should.
                ((shift as u64) << 52) + mantissa + u64::from(round_up)
            }
        };
        let infinite = 0x7ff << 52;
        f64::from_bits(bits.min(infinite) | u64::from(negative) << 63)
    }

    fn negated(&self) -> [u64; LIMBS] {
        let mut carry = true;
        self.limbs.map(|limb| {
            let (sum, over) = (!limb).overflowing_add(u64::from(carry));
            carry = over;
            sum
        })
    }
}

/// 64 bits of `limbs` from bit `start` on.
fn bits_from(limbs: &[u64; LIMBS], start: usize) -> u64 {
    let (limb, bit) = (start / 64, start % 64);
    let above = limbs.get(limb + 1).copied().unwrap_or(0);
    if bit == 0 { limbs[limb] } else { limbs[limb] >> bit | above << (64 - bit) }
}

/// True if a bit below `end` is set.
fn any_below(limbs: &[u64; LIMBS], end: usize) -> bool {
    limbs[..end / 64].iter().any(|limb| *limb != 0) || limbs[end / 64] & ((1u64 << (end % 64)) - 1) != 0
}

const _: () = assert!(UNIT_EXPONENT == f64::MIN_EXP - f64::MANTISSA_DIGITS as i32);

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;
    use rand::{Rng, RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn any_float(random: &mut ChaCha8Rng) -> f64 {
        match random.random_range(0..12) {
            0 => f64::from_bits(random.next_u64()),
            1 => random.random_range(-3..4) as f64,
            2 => f64::MIN_POSITIVE / f64::from(random.random_range(1..900)),
            3 => f64::MAX / f64::from(random.random_range(1..4)),
            4 => [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0][random.random_range(0..4)],
            _ => (random.random::<f64>() - 0.5) * 10f64.powi(random.random_range(-20..20)),
        }
    }

    fn sum(values: impl IntoIterator<Item = f64>) -> ExactSum {
        let mut sum = ExactSum::default();
        values.into_iter().for_each(|value| sum.add(value));
        sum
    }

    #[test]
    fn small_sums_are_known() {
        assert_eq!(sum([0.1; 10]).value(), 1.0);
        assert_eq!(sum([1e308, 1e308, -1e308, -1e308, 3.0]).value(), 3.0);
        assert_eq!(sum([1e308, 1e308]).value(), f64::INFINITY);
        assert_eq!(sum([1e300, 1.0, -1e300]).value(), 1.0);
        assert_eq!(sum([5e-324, 1e300, -1e300]).value(), 5e-324);
        assert_eq!(sum([2f64.powi(53), 1.0]).value(), 2f64.powi(53));
        assert_eq!(sum([2f64.powi(53), 1.0, 1e-300]).value(), 2f64.powi(53) + 2.0);
        assert!(sum([f64::INFINITY, f64::NEG_INFINITY]).value().is_nan());
        assert_eq!(sum([-0.0]).value().to_bits(), 0);
    }

    #[test]
    fn fixed_point_rounds_as_the_machine_does() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200_000 {
            let [a, b] = [0, 1].map(|_| f64::from_bits(random.next_u64()));
            if a.is_finite() && b.is_finite() {
                let mut fixed = FixedPoint::default();
                fixed.add(a, 1);
                assert_eq!(fixed.rounded(), a);
                fixed.add(b, 1);
                assert_eq!(fixed.rounded(), a + b, "{a:e} + {b:e}");
                fixed.add(a, -3);
                fixed.add(a, 2);
                fixed.add(b, -1);
                assert!(fixed.is_zero(), "{a:e}, {b:e}");
            }
        }
    }

    #[test]
    fn a_sum_does_not_depend_on_order_grouping_or_detours() {
        for seed in 0..3_000 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let length = random.random_range(0..40);
            let mut values: Vec<f64> = (0..length).map(|_| any_float(&mut random)).collect();
            let straight = sum(values.iter().copied());
            let detours: Vec<f64> = (0..random.random_range(0..10)).map(|_| any_float(&mut random)).collect();

            values.shuffle(&mut random);
            let mut other = ExactSum::default();
            detours.iter().for_each(|detour| other.add_weighted(*detour, 3));
            let cut = random.random_range(0..=values.len());
            other.absorb(&sum(values[..cut].iter().copied()));
            if random.random_bool(0.5) {
                other.settle();
            }
            let (high, low, rest) = other.to_parts();
            let mut other = ExactSum::from_parts(high, low, rest.as_deref()).expect("own parts");
            values[cut..].iter().for_each(|value| other.add(*value));
            detours.iter().for_each(|detour| other.add_weighted(*detour, -1));
            detours.iter().for_each(|detour| other.add_weighted(*detour, -2));
            assert_eq!(other.value().to_bits(), straight.value().to_bits(), "seed {seed}: {values:?}");
            other.settle();
            assert_eq!(other.value().to_bits(), straight.value().to_bits(), "seed {seed}: {values:?}");
            assert!(other.is_legal());

            values.iter().for_each(|value| other.add_weighted(*value, -1));
            assert!(other.is_empty(), "seed {seed}: {values:?}");
        }
    }

    #[test]
    fn ordinary_columns_need_no_rest() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let sum = sum((0..1_000_000).map(|_| random.random_range(0..10_000_000) as f64 * 0.908));
        assert_eq!(sum.heap_bytes(), 0);
    }
}

//! Eight or sixteen bytes at a time: the loads and tests the scanner is built of.
//!
//! A load past the end of the record reads as zero bytes. Zero is no digit, no quote and no key byte, and it counts as
//! a control character, so every loop over these stops at the end of the record without asking where it is.

use wide::u8x16;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// The `N` bytes at `pos`, if the record has them.
#[inline(always)]
fn chunk<const N: usize>(bytes: &[u8], pos: usize) -> Option<&[u8; N]> {
    // No place in a record needs more than 32 bits; said so, the compiler checks one bound instead of two.
    let pos = pos as u32 as usize;
    bytes.get(pos..pos + N).and_then(|chunk| chunk.as_array())
}

/// The eight bytes at `pos`, the first in the lowest byte.
#[inline(always)]
pub(super) fn load8(bytes: &[u8], pos: usize) -> u64 {
    match chunk::<8>(bytes, pos) {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => load_at_end(bytes, pos) as u64,
    }
}

/// The sixteen bytes at `pos`, the first in the lowest byte.
#[inline(always)]
pub(super) fn load16(bytes: &[u8], pos: usize) -> u128 {
    match chunk::<16>(bytes, pos) {
        Some(chunk) => u128::from_le_bytes(*chunk),
        None => load_at_end(bytes, pos),
    }
}

#[inline(never)]
fn load_at_end(bytes: &[u8], pos: usize) -> u128 {
    let left = bytes.len().saturating_sub(pos);
    if left == 0 {
        return 0;
    }
    // Fewer than sixteen bytes are left: read the last sixteen and drop those before `pos`.
    match bytes.last_chunk::<16>() {
        Some(chunk) => u128::from_le_bytes(*chunk) >> (8 * 16usize.saturating_sub(left)),
        None => bytes[pos..].iter().rev().fold(0, |word, &byte| word << 8 | u128::from(byte)),
    }
}

/// Looks over `bytes` once and marks in `stops`, one bit a byte, where a string ends or needs a closer look: quotes,
/// backslashes and control characters. There is a word without a bit behind the last. Returns true if a byte is not
/// ASCII.
#[inline(always)]
pub(super) fn mark_stops(bytes: &[u8], stops: &mut Vec<u64>) -> bool {
    let words = bytes.len() / 64 + 2;
    if stops.len() < words {
        stops.resize(words, 0);
    }
    // Most records hold neither backslash nor control character, so the marks for quotes alone, which cost half as much,
    // are made first.
    let mut seen = Seen { least: u8x16::MAX, all: u8x16::ZERO, backslash: u8x16::ZERO };
    mark(bytes, stops, |block| seen.quotes(block));
    if seen.special() {
        mark_all_stops(bytes, stops);
    }
    seen.all.to_bitmask() != 0
}

#[inline(never)]
fn mark_all_stops(bytes: &[u8], stops: &mut [u64]) {
    mark(bytes, stops, |block| {
        bits(block, |lanes| {
            let quote = lanes.simd_eq(u8x16::splat(b'"'));
            let backslash = lanes.simd_eq(u8x16::splat(b'\\'));
            let control = lanes.min(u8x16::splat(0x1f)).simd_eq(lanes);
            quote | backslash | control
        })
    });
}

/// Sets each of `words` to the marks of its 64 bytes, and the one after the last to none.
#[inline(always)]
fn mark(bytes: &[u8], words: &mut [u64], mut marks: impl FnMut(&[u8; 64]) -> u64) {
    let (blocks, rest) = bytes.as_chunks::<64>();
    for (block, word) in blocks.iter().zip(words.iter_mut()) {
        *word = marks(block);
    }
    let last = match bytes.last_chunk::<64>() {
        _ if rest.is_empty() => 0,
        // Looking at some bytes twice does no harm.
        Some(block) => marks(block) >> (64 - rest.len()),
        None => {
            let mut block = [b' '; 64];
            block[..rest.len()].copy_from_slice(rest);
            marks(&block)
        }
    };
    words[blocks.len()] = last;
    words[blocks.len() + 1] = 0;
}

/// The high bits of what `marks` makes of each sixteen bytes.
#[inline(always)]
fn bits(block: &[u8; 64], mut marks: impl FnMut(u8x16) -> u8x16) -> u64 {
    let (chunks, _) = block.as_chunks::<16>();
    let mut bits = 0;
    for (i, chunk) in chunks.iter().enumerate() {
        bits |= u64::from(marks(u8x16::new(*chunk)).to_bitmask()) << (16 * i);
    }
    bits
}

/// What was seen of a record so far, in each of sixteen lanes.
struct Seen {
    least: u8x16,
    all: u8x16,
    backslash: u8x16,
}

impl Seen {
    /// Takes note of `block`, and returns where its quotes are.
    #[inline(always)]
    fn quotes(&mut self, block: &[u8; 64]) -> u64 {
        bits(block, |lanes| {
            self.least = self.least.min(lanes);
            self.all |= lanes;
            self.backslash |= lanes.simd_eq(u8x16::splat(b'\\'));
            lanes.simd_eq(u8x16::splat(b'"'))
        })
    }

    /// True if there was a backslash or a control character.
    #[inline(always)]
    fn special(&self) -> bool {
        let control = self.least.min(u8x16::splat(0x1f)).simd_eq(self.least);
        (control | self.backslash).any()
    }
}

/// The first mark at or after `pos`.
#[inline(always)]
pub(super) fn find_stop(stops: &[u64], mut pos: usize) -> Option<usize> {
    loop {
        // The 64 bits from `pos` on, which lie across two words; most strings end within.
        let pair = stops.get(pos / 64..pos / 64 + 2)?;
        let shift = pos % 64;
        let window = pair[0] >> shift | (pair[1] << 1) << (63 - shift);
        if window != 0 {
            return Some(pos + window.trailing_zeros() as usize);
        }
        pos += 64;
    }
}

/// How many of the eight bytes, from the first, are decimal digits.
#[inline(always)]
pub(super) fn leading_digits(word: u64) -> usize {
    let digits = word ^ (ONES * u64::from(b'0'));
    // A byte above 9 sets its high bit; what it carries into the bytes after it cannot matter, it comes first.
    let beyond = (digits.wrapping_add(ONES * 0x76) | digits) & HIGH_BITS;
    (beyond.trailing_zeros() / 8) as usize
}

/// The number written by the first `count` bytes (1 to 8), all of them digits.
#[inline(always)]
pub(super) fn parse_digits(word: u64, count: usize) -> u64 {
    debug_assert!((1..=8).contains(&count));
    // Shifting up puts zeros in front of the number; the rest adds neighbours: pairs, fours, eight.
    // Source: Lemire, "Quickly parsing eight digits", 2022.
    let digits = (word & (ONES * 0x0f)) << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let upper = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let lower = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    upper.wrapping_add(lower) >> 32
}

/// 10^0 to 10^19.
pub(super) const POWERS_OF_TEN: [u64; 20] = {
    let mut powers = [1; 20];
    let mut i = 1;
    while i < 20 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_past_the_end_read_zero() {
        let bytes: Vec<u8> = (1..=40).collect();
        for len in 0..=40 {
            for pos in 0..=len + 3 {
                let expected8: Vec<u8> = (pos..pos + 8).map(|i| if i < len { bytes[i] } else { 0 }).collect();
                let expected16: Vec<u8> = (pos..pos + 16).map(|i| if i < len { bytes[i] } else { 0 }).collect();
                assert_eq!(load8(&bytes[..len], pos).to_le_bytes()[..], expected8);
                assert_eq!(load16(&bytes[..len], pos).to_le_bytes()[..], expected16);
            }
        }
    }

    #[test]
    fn stops_are_found_wherever_they_stand() {
        let mut stops = vec![u64::MAX; 3];
        for len in [0usize, 1, 15, 16, 63, 64, 65, 127, 128, 129, 200] {
            for byte in 0..=255u8 {
                for at in [0, 1, len / 2, len.saturating_sub(1)] {
                    let mut bytes = vec![b'a'; len];
                    if let Some(found) = bytes.get_mut(at) {
                        *found = byte;
                    }
                    assert_eq!(mark_stops(&bytes, &mut stops), !bytes.is_ascii());
                    let stop = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
                    for pos in [0, at, at + 1, len, len + 64] {
                        let expected = bytes.iter().skip(pos).position(stop).map(|found| pos + found);
                        assert_eq!(
                            find_stop(&stops[..len / 64 + 2], pos),
                            expected,
                            "{byte} at {at} of {len} from {pos}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn digits_are_counted_and_read() {
        for count in 0..=8 {
            for after in [0u8, b'/', b':', b'.', b' ', 0x80, 0xff, b'e'] {
                let mut chunk = [after; 8];
                chunk[..count].copy_from_slice(&b"90817263"[..count]);
                let word = u64::from_le_bytes(chunk);
                assert_eq!(leading_digits(word), count);
                if count > 0 {
                    let text = std::str::from_utf8(&chunk[..count]).expect("digits");
                    assert_eq!(parse_digits(word, count), text.parse::<u64>().expect("digits"));
                }
            }
        }
    }
}

//! Which field comes next.
//!
//! Records of one topic are written by few programs, so their keys come in the same order, with the same spaces, again
//! and again. A [`Shape`] remembers for each field the bytes that led up to its value, and the two fields that last
//! followed it; comparing those bytes in place reads key, colon and spaces in one step, without looking for their ends.
//! When the bytes differ the key is read and looked up, and what was learned is what is expected next time.

use hashbrown::HashMap;

use super::fault::{Fault, Syntax};
use super::lanes::load16;
use super::scan::Scanner;
use super::text::unescape;

/// Undeclared keys remembered at most; topics whose keys are data have no end of them.
const UNDECLARED_MAX: usize = 512;
/// Longest lead remembered, bytes.
const LEAD_BYTES_MAX: usize = 256;

/// The place before the first field.
const BEGIN: u32 = 0;
/// A field that is not remembered: it is learned again each time one comes.
const PASSING: u32 = 1;
/// The place after the last field.
const END: u32 = u32::MAX;

/// One field as the records write it.
#[derive(Debug)]
struct Field {
    /// The first 16 bytes of the lead, and which of them count. A field never seen has 0xff, which is in no UTF-8.
    head: u128,
    mask: u128,
    /// Length of the lead: what stands before the first byte of the value, from the comma or after the brace on.
    length: u32,
    /// Which slot takes its value.
    slot: u32,
    /// The fields that followed this one, the latest first.
    next: [u32; 2],
}

/// Where in the sequence of fields a record is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    field: u32,
    slot: u32,
    expected: u32,
}

impl Place {
    /// The slot that takes the field's value.
    #[inline(always)]
    pub fn slot(&self) -> usize {
        self.slot as usize
    }
}

/// What is known of a topic's records.
#[derive(Debug)]
pub(super) struct Shape {
    fields: Vec<Field>,
    /// Each field's lead after its first 16 bytes.
    tails: Vec<Vec<u8>>,
    by_name: HashMap<Box<[u8]>, u32>,
    columns: usize,
    /// A key with its escapes undone.
    name: Vec<u8>,
}

impl Shape {
    /// A shape in which the declared `columns` have the slots 0, 1, …; all other fields have the slot after them.
    pub fn new<'a>(columns: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let count = columns.len();
        let mut shape =
            Self { fields: Vec::new(), tails: Vec::new(), by_name: HashMap::new(), columns: count, name: Vec::new() };
        shape.add(count);
        shape.add(count);
        for (slot, name) in columns.enumerate() {
            shape.add_key(name.as_bytes(), slot);
        }
        shape
    }

    fn add(&mut self, slot: usize) {
        let unseen = u128::MAX;
        self.fields.push(Field { head: unseen, mask: unseen, length: 16, slot: slot as u32, next: [PASSING; 2] });
        self.tails.push(Vec::new());
    }

    fn add_key(&mut self, name: &[u8], slot: usize) -> u32 {
        let field = self.fields.len() as u32;
        self.by_name.insert(name.into(), field);
        self.add(slot);
        self.add(slot);
        field
    }

    /// The place before the first field.
    #[inline(always)]
    pub fn begin(&self) -> Place {
        Place { field: BEGIN, slot: 0, expected: self.fields[BEGIN as usize].next[0] }
    }

    /// Reads, from `pos` on, the next field's key and all that stands around it, and moves `place` there: where the
    /// field's value begins. `None` if a closing brace comes instead, perhaps after whitespace.
    #[inline(always)]
    pub fn advance(&mut self, scanner: &Scanner<'_>, pos: usize, place: &mut Place) -> Result<Option<usize>, Fault> {
        let field = &self.fields[place.expected as usize];
        if self.matches(field, place.expected, scanner, pos) {
            let value = pos + field.length as usize;
            *place = Place { field: place.expected, slot: field.slot, expected: field.next[0] };
            return Ok(Some(value));
        }
        let found = self.find(scanner, pos, place.field)?;
        if found == END {
            return Ok(None);
        }
        // This field was just now seen here, so its lead is what stands here.
        let field = &self.fields[found as usize];
        *place = Place { field: found, slot: field.slot, expected: field.next[0] };
        Ok(Some(pos + field.length as usize))
    }

    /// True if the lead of `field`, which has this `index`, stands at `pos`, all of it: whitespace after what was learned
    /// makes another lead.
    #[inline(always)]
    fn matches(&self, field: &Field, index: u32, scanner: &Scanner<'_>, pos: usize) -> bool {
        (load16(scanner.bytes, pos) ^ field.head) & field.mask == 0
            && (field.length <= 16 || self.tail_matches(index, scanner, pos))
            && scanner.byte(pos + field.length as usize) > b' '
    }

    #[inline(never)]
    fn tail_matches(&self, index: u32, scanner: &Scanner<'_>, pos: usize) -> bool {
        scanner.bytes.get(pos + 16..).is_some_and(|rest| rest.starts_with(&self.tails[index as usize]))
    }

    /// The field at `pos`, which follows `previous` and is not the one expected.
    #[inline(never)]
    fn find(&mut self, scanner: &Scanner<'_>, pos: usize, previous: u32) -> Result<u32, Fault> {
        let [first, second] = self.fields[previous as usize].next;
        if self.matches(&self.fields[second as usize], second, scanner, pos) {
            self.fields[previous as usize].next = [second, first];
            return Ok(second);
        }
        let mut start = scanner.skip_space(pos);
        if scanner.byte(start) == b'}' {
            return Ok(END);
        }
        if previous != BEGIN {
            if scanner.byte(start) != b',' {
                return Err(scanner.unexpected(Syntax::ObjectEnd, start));
            }
            start = scanner.skip_space(start + 1);
        }
        let (escaped, end) = scanner.key(start)?;
        let value = scanner.skip_space(scanner.colon(scanner.skip_space(end))?);
        let field = self.look_up(&scanner.bytes[start + 1..end - 1], escaped, previous == BEGIN, value - pos);
        self.learn(field, &scanner.bytes[pos..value]);
        let next = &mut self.fields[previous as usize].next;
        if next[0] != field {
            *next = [field, next[0]];
        }
        Ok(field)
    }

    /// The field for the key written so.
    fn look_up(&mut self, written: &[u8], escaped: bool, first: bool, lead_bytes: usize) -> u32 {
        self.name.clear();
        if escaped {
            unescape(written, &mut self.name);
        } else {
            self.name.extend_from_slice(written);
        }
        let known = self.by_name.get(self.name.as_slice()).copied();
        let room = self.by_name.len() < self.columns + UNDECLARED_MAX;
        if lead_bytes > LEAD_BYTES_MAX || (known.is_none() && !room) {
            let slot = known.map_or(self.columns as u32, |field| self.fields[field as usize].slot);
            self.fields[PASSING as usize].slot = slot;
            return PASSING;
        }
        let field = known.unwrap_or_else(|| {
            let name = std::mem::take(&mut self.name);
            self.add_key(&name, self.columns)
        });
        field + u32::from(first)
    }

    fn learn(&mut self, field: u32, lead: &[u8]) {
        let shown = lead.len().min(16);
        let head = load16(&lead[..shown], 0);
        let mask = if shown == 16 { u128::MAX } else { (1 << (8 * shown)) - 1 };
        let Field { slot, next, .. } = self.fields[field as usize];
        self.fields[field as usize] = Field { head, mask, length: lead.len() as u32, slot, next };
        let tail = &mut self.tails[field as usize];
        tail.clear();
        tail.extend_from_slice(&lead[shown..]);
    }
}

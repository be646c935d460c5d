//! The answers last given, where computing them again would cost more than keeping them.
//!
//! The row that an operator takes back has to be the very row it put out. So what is kept is that answer, and it is compared
//! bit by bit: a group whose new answer has the same bits changes nothing.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;

use crate::error::Result;
use crate::state::row_codec::RowCodec;
use crate::state::row_store::RowStore;
use crate::state::size::UnitBytes;

/// One answer a slot, and during a tick the one that each tick group had before.
#[derive(Debug)]
pub(super) struct Answers {
    codec: RowCodec,
    present: RowStore,
    before: Vec<u8>,
    before_ends: Vec<usize>,
}

impl Answers {
    /// Answers of one type.
    pub fn try_new(data_type: &DataType) -> Result<Self> {
        let codec = RowCodec::try_new(vec![data_type.clone()])?;
        // Any width: a slot without an answer must not look like one with an answer of zeros.
        Ok(Self { codec, present: RowStore::new(None), before: Vec::new(), before_ends: Vec::new() })
    }

    /// Takes the answers of all tick groups, a group a slot, and marks those that differ from the ones before.
    pub fn replace(&mut self, slots: &[u32], answers: &ArrayRef, changed: &mut [bool]) -> Result<()> {
        let rows = self.codec.encode(std::slice::from_ref(answers), answers.len())?;
        for (group, slot) in slots.iter().enumerate() {
            let (before, after) = (self.present.get(*slot), rows.row(group));
            self.before.extend_from_slice(before);
            self.before_ends.push(self.before.len());
            if before != after.data() {
                changed[group] = true;
                self.present.set(*slot, after.data())?;
            }
        }
        Ok(())
    }

    /// The answers that the tick groups `before` had before this tick, then the present ones of `slots`.
    pub fn read(&self, before: &[u32], slots: &[u32]) -> Result<ArrayRef> {
        let before = before.iter().map(|group| {
            let group = *group as usize;
            let start = group.checked_sub(1).map_or(0, |previous| self.before_ends[previous]);
            &self.before[start..self.before_ends[group]]
        });
        let present = slots.iter().map(|slot| self.present.get(*slot));
        let mut columns = self.codec.decode(before.chain(present))?;
        Ok(columns.swap_remove(0))
    }

    /// Takes saved answers back.
    pub fn restore(&mut self, slots: &[u32], answers: &ArrayRef) -> Result<()> {
        let rows = self.codec.encode(std::slice::from_ref(answers), answers.len())?;
        slots.iter().zip(rows.iter()).try_for_each(|(slot, row)| self.present.set(*slot, row.data()))
    }

    /// Forgets what was before the tick.
    pub fn end_tick(&mut self) {
        self.before.clear();
        self.before_ends.clear();
    }

    /// Drops the answers of `slots`.
    pub fn remove(&mut self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.present.clear(*slot));
    }

    /// What an answer comes to.
    pub fn bytes_each(&self) -> UnitBytes {
        RowStore::bytes_each(None, self.codec.row_bytes())
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.present.bytes() + self.before.capacity() + self.before_ends.capacity() * size_of::<usize>()
    }
}

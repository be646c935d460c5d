//! A file as checked blocks: what was altered, cut off or put together otherwise is noticed.
//!
//! ```text
//! "TIDEMARK"  kind: 4 bytes  version: u32
//! length: u32  checksum: u64  bytes        any number of blocks
//! ffffffff     checksum: u64  blocks: u32  the end; nothing follows
//! ```
//! Numbers are little-endian. A block's checksum is XXH3-64 of its bytes, seeded with its place; the end's is of the header and of all
//! checksums before it.

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"TIDEMARK";

/// Where a block's length would be: the end.
const END: u32 = u32::MAX;

const HEADER_BYTES: usize = 16;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileKind {
    /// What the header says.
    pub tag: [u8; 4],
    /// The format's version: files of newer ones are refused.
    pub version: u32,
    /// What it is called in messages.
    pub noun: &'static str,
}

/// A file being put together.
pub struct FrameWriter {
    bytes: Vec<u8>,
    whole: Xxh3,
    blocks: u32,
}

impl std::fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameWriter")
            .field("bytes", &self.bytes.len())
            .field("blocks", &self.blocks)
            .finish_non_exhaustive()
    }
}

impl FrameWriter {
    /// A file without blocks.
    pub fn new(kind: FileKind) -> Self {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&kind.tag);
        bytes.extend_from_slice(&kind.version.to_le_bytes());
        let mut whole = Xxh3::new();
        whole.update(&bytes);
        Self { bytes, whole, blocks: 0 }
    }

    /// Adds a block.
    ///
    /// # Errors
    /// `Data` for one of 4 GiB or more.
    pub fn block(&mut self, block: &[u8]) -> Result<()> {
        let length = u32::try_from(block.len()).ok().filter(|length| *length != END);
        let length = length.ok_or_else(|| Error::data(format!("{} bytes are too many for a block", block.len())))?;
        let checksum = xxh3_64_with_seed(block, u64::from(self.blocks));
        self.whole.update(&checksum.to_le_bytes());
        self.bytes.reserve(12 + block.len());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.bytes.extend_from_slice(block);
        self.blocks += 1;
        Ok(())
    }

    /// The file.
    pub fn finish(mut self) -> Bytes {
        self.whole.update(&self.blocks.to_le_bytes());
        self.bytes.extend_from_slice(&END.to_le_bytes());
        self.bytes.extend_from_slice(&self.whole.digest().to_le_bytes());
        self.bytes.extend_from_slice(&self.blocks.to_le_bytes());
        self.bytes.into()
    }
}

/// The blocks of a file, all checked. `location` is for messages.
///
/// # Errors
/// `Data`, naming the file and what is wrong with it.
pub fn blocks(kind: FileKind, location: &str, file: &Bytes) -> Result<Vec<Bytes>> {
    read(kind, file).map_err(|what| Error::data(format!("the {} {location} is damaged: {what}", kind.noun)))
}

fn read(kind: FileKind, file: &Bytes) -> std::result::Result<Vec<Bytes>, String> {
    let cut = || "it was cut off".to_owned();
    let header = file.get(..HEADER_BYTES).ok_or_else(cut)?;
    if &header[..8] != MAGIC || header[8..12] != kind.tag {
        return Err("it is no such file, or its beginning was altered".into());
    }
    let version = u32::from_le_bytes(number(header, 12).ok_or_else(cut)?);
    if version == 0 || version > kind.version {
        return Err(format!("its format is {version}, and this release reads formats up to {}", kind.version));
    }
    let mut whole = Xxh3::new();
    whole.update(header);
    let (mut at, mut blocks) = (HEADER_BYTES, Vec::new());
    loop {
        let length = u32::from_le_bytes(number(file, at).ok_or_else(cut)?);
        let checksum = u64::from_le_bytes(number(file, at + 4).ok_or_else(cut)?);
        at += 12;
        if length == END {
            let count = u32::from_le_bytes(number(file, at).ok_or_else(cut)?);
            whole.update(&count.to_le_bytes());
            if whole.digest() != checksum || usize::try_from(count) != Ok(blocks.len()) {
                return Err("its end does not fit its blocks".into());
            }
            let over = file.len() - (at + 4);
            return if over == 0 { Ok(blocks) } else { Err(format!("{over} bytes follow its end")) };
        }
        let end = at.checked_add(length as usize).filter(|end| *end <= file.len()).ok_or_else(cut)?;
        let block = file.slice(at..end);
        if xxh3_64_with_seed(&block, blocks.len() as u64) != checksum {
            return Err(format!("the checksum of block {} does not fit", blocks.len()));
        }
        whole.update(&checksum.to_le_bytes());
        blocks.push(block);
        at = end;
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: FileKind = FileKind { tag: *b"TEST", version: 2, noun: "test" };

    fn file(blocks: &[&[u8]]) -> Bytes {
        let mut writer = FrameWriter::new(KIND);
        blocks.iter().for_each(|block| writer.block(block).expect("a short block"));
        writer.finish()
    }

    #[test]
    fn what_was_written_is_read() {
        for written in [&[][..], &[b"" as &[u8]], &[b"one", b"", b"three"]] {
            let read = blocks(KIND, "here", &file(written)).expect("as it was written");
            assert_eq!(read, written.iter().map(|block| Bytes::copy_from_slice(block)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_altered_bit_and_every_missing_byte_is_noticed() {
        let whole = file(&[b"some rows", b"", b"and others"]);
        for bit in 0..whole.len() * 8 {
            let mut altered = whole.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = blocks(KIND, "here", &altered.into()).expect_err("altered");
            assert!(error.to_string().starts_with("the test here is damaged: "), "{error}");
        }
        for length in 0..whole.len() {
            blocks(KIND, "here", &whole.slice(..length)).expect_err("cut off");
        }
        blocks(KIND, "here", &[&whole[..], b"x"].concat().into()).expect_err("more than its end");
        blocks(FileKind { tag: *b"ELSE", ..KIND }, "here", &whole).expect_err("another kind");
        blocks(FileKind { version: 1, ..KIND }, "here", &whole).expect_err("a newer format");
    }

    #[test]
    fn blocks_have_their_places() {
        let (one, other) = (file(&[b"a1", b"b2"]), file(&[b"b2", b"a1"]));
        let first = HEADER_BYTES..HEADER_BYTES + 14;
        let mut mixed = one.to_vec();
        mixed[first.clone()].copy_from_slice(&other[first]);
        blocks(KIND, "here", &mixed.into()).expect_err("the first block is another file's");
    }
}

//! A number's digits on the stack, between its own `Display` and the layout Postgres gives it.

use std::fmt::{self, Write};

/// Bytes enough for a 256-bit integer with its sign, and for any float in scientific notation.
const BYTES: usize = 96;

/// A short ASCII text.
pub(super) struct Scratch {
    bytes: [u8; BYTES],
    length: usize,
}

impl Scratch {
    /// What `arguments` print.
    pub(super) fn new(arguments: fmt::Arguments<'_>) -> Self {
        let mut scratch = Self { bytes: [0; BYTES], length: 0 };
        scratch.write_fmt(arguments).expect("no number of ours is longer");
        scratch
    }

    /// The text.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).expect("only whole strings were written")
    }
}

impl Write for Scratch {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let space = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        space.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

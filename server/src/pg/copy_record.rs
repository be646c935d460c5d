//! COPY data into records: bytes as they come, in pieces of any size, to one list of values a row.
//!
//! Text and CSV as Postgres reads them: a value that is the NULL text is NULL, but in CSV only unquoted; a line with `\\.` alone
//! ends the data. Lines end with LF, CR LF or CR, whichever the first one does.

use bytes::{Buf, BytesMut};
use sql::{SqlError, SqlState};

use super::copy::BINARY_HEADER;
use crate::session::copy_options::{CopyFormat, CopyOptions};

/// Bytes one record may have.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// A binary file whose rows have oids.
const FLAG_OIDS: u32 = 1 << 16;

/// A record's values; `None` is NULL.
pub(super) type Record = Vec<Option<Vec<u8>>>;

/// Cuts COPY data into records.
pub(super) struct RecordReader<'o> {
    options: &'o CopyOptions,
    /// Per column: never NULL, and NULL also where quoted.
    not_null: Vec<bool>,
    null: Vec<bool>,
    buffer: BytesMut,
    /// How far `buffer` was searched for the end of its first line, and whether that place is within quotes.
    searched: usize,
    quoted: bool,
    /// The line to come, or the tuple; counts from 1.
    line: u64,
    /// The header is still to come.
    header: bool,
    ended: bool,
}

impl<'o> RecordReader<'o> {
    /// A reader of records of the columns `names`.
    ///
    /// # Errors
    /// 42703 if an option names a column there is not.
    pub(super) fn new(options: &'o CopyOptions, names: &[&str]) -> Result<Self, SqlError> {
        let (not_null, null) = (options.force_not_null.among(names)?, options.force_null.among(names)?);
        let header = options.header || options.format == CopyFormat::Binary;
        let (buffer, searched, quoted, line, ended) = (BytesMut::new(), 0, false, 1, false);
        Ok(Self { options, not_null, null, buffer, searched, quoted, line, header, ended })
    }

    /// Takes data in.
    pub(super) fn push(&mut self, data: &[u8]) {
        if !self.ended {
            self.buffer.extend_from_slice(data);
        }
    }

    /// The line, or tuple, of the record that [`next`](Self::next) gave last.
    pub(super) fn line(&self) -> u64 {
        self.line - 1
    }

    /// The next whole record; `finished` says that no more data comes.
    ///
    /// # Errors
    /// 22P04 for data that is none; 54000 for a record that is too long.
    pub(super) fn next(&mut self, finished: bool) -> Result<Option<Record>, SqlError> {
        let next = match self.options.format {
            CopyFormat::Binary => self.next_tuple(finished)?,
            CopyFormat::Text | CopyFormat::Csv => self.next_line(finished)?,
        };
        if next.is_none() && self.buffer.len() > RECORD_BYTES_MAX {
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a row of COPY data is too long"));
        }
        Ok(next)
    }

    fn next_line(&mut self, finished: bool) -> Result<Option<Record>, SqlError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            let Some(line) = self.take_line(finished)? else { return Ok(None) };
            self.line += 1;
            if line == b"\\." {
                (self.ended, self.buffer) = (true, BytesMut::new());
                return Ok(None);
            }
            if std::mem::take(&mut self.header) {
                continue;
            }
            return if self.options.format == CopyFormat::Csv { self.csv(&line) } else { self.text(&line) }.map(Some);
        }
    }

    /// A line without its end. In CSV a line's end within quotes belongs to a value; in text one behind a backslash does.
    fn take_line(&mut self, finished: bool) -> Result<Option<Vec<u8>>, SqlError> {
        let (csv, CopyOptions { quote, escape, .. }) = (self.options.format == CopyFormat::Csv, self.options);
        while let Some(byte) = self.buffer.get(self.searched).copied() {
            let next = self.buffer.get(self.searched + 1).copied();
            let escapes = if csv { self.quoted && byte == *escape && escape != quote } else { byte == b'\\' };
            if escapes {
                if next.is_none() && !finished {
                    return Ok(None);
                }
                self.searched += 2;
                continue;
            }
            if csv && byte == *quote {
                self.quoted = !self.quoted;
            } else if !self.quoted && matches!(byte, b'\n' | b'\r') {
                if byte == b'\r' && next.is_none() && !finished {
                    return Ok(None);
                }
                let end = if byte == b'\r' && next == Some(b'\n') { 2 } else { 1 };
                let line = self.buffer.split_to(self.searched).to_vec();
                self.buffer.advance(end);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched += 1;
        }
        if !finished || self.buffer.is_empty() {
            return Ok(None);
        }
        if self.quoted {
            return Err(self.bad("unterminated CSV quoted field"));
        }
        self.searched = 0;
        Ok(Some(self.buffer.split().to_vec()))
    }

    fn text(&self, line: &[u8]) -> Result<Record, SqlError> {
        let (mut record, mut value, mut from, mut at) = (Record::new(), Vec::new(), 0, 0);
        loop {
            match line.get(at) {
                Some(b'\\') => at = unescape(line, at + 1, &mut value),
                Some(byte) if *byte != self.options.delimiter => {
                    value.push(*byte);
                    at += 1;
                }
                end => {
                    let value = std::mem::take(&mut value);
                    record.push((line[from..at] != *self.options.null.as_bytes()).then_some(value));
                    if end.is_none() {
                        return Ok(record);
                    }
                    at += 1;
                    from = at;
                }
            }
        }
    }

    fn csv(&self, line: &[u8]) -> Result<Record, SqlError> {
        let CopyOptions { delimiter, quote, escape, null, .. } = self.options;
        let (mut record, mut value, mut at) = (Record::new(), Vec::new(), 0);
        let (mut quoted, mut was_quoted) = (false, false);
        loop {
            let (byte, next) = (line.get(at).copied(), line.get(at + 1).copied());
            match byte {
                Some(byte)
                    if quoted && byte == *escape && next.is_some_and(|next| next == *quote || next == *escape) =>
                {
                    value.extend(next);
                    at += 1;
                }
                Some(byte) if byte == *quote => (quoted, was_quoted) = (!quoted, true),
                Some(byte) if quoted || byte != *delimiter => value.push(byte),
                _ => {
                    let column = record.len();
                    let is = |forced: &[bool]| forced.get(column).copied().unwrap_or(false);
                    let may_be = if was_quoted { is(&self.null) } else { !is(&self.not_null) };
                    let value = std::mem::take(&mut value);
                    record.push(if may_be && value == null.as_bytes() { None } else { Some(value) });
                    was_quoted = false;
                    if byte.is_none() {
                        return Ok(record);
                    }
                }
            }
            at += 1;
        }
    }

    fn next_tuple(&mut self, finished: bool) -> Result<Option<Record>, SqlError> {
        if self.ended {
            return Ok(None);
        }
        let mut rest: &[u8] = &self.buffer;
        if self.header {
            let Some(length) = header(rest).map_err(|message| self.bad(message))? else {
                return if finished { Err(self.bad("COPY file signature not recognized")) } else { Ok(None) };
            };
            self.buffer.advance(length);
            self.header = false;
            rest = &self.buffer;
        }
        match tuple(&mut rest) {
            None if finished => Err(self.bad("unexpected EOF in COPY data")),
            None => Ok(None),
            Some(None) => {
                (self.ended, self.buffer) = (true, BytesMut::new());
                Ok(None)
            }
            Some(Some(record)) => {
                let read = self.buffer.len() - rest.len();
                self.buffer.advance(read);
                self.line += 1;
                Ok(Some(record))
            }
        }
    }

    /// Data that is none, at the line to come.
    fn bad(&self, message: &str) -> SqlError {
        SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message).detail(format!("In line {} of the data.", self.line))
    }
}

/// Reads what follows a backslash; gives the place behind it.
fn unescape(line: &[u8], at: usize, value: &mut Vec<u8>) -> usize {
    let digits = |most: usize, radix: u32| {
        let digit = |byte: &u8| char::from(*byte).to_digit(radix);
        let from = if radix == 16 { at + 1 } else { at };
        let digits: Vec<u32> = line[from.min(line.len())..].iter().take(most).map_while(digit).collect();
        let number = digits.iter().fold(0, |number, digit| number * radix + digit);
        (!digits.is_empty()).then(|| (number.to_le_bytes()[0], from + digits.len()))
    };
    let Some(byte) = line.get(at) else {
        // A backslash that ends the data stands for itself.
        value.push(b'\\');
        return at;
    };
    let numbered = match byte {
        b'0'..=b'7' => digits(3, 8),
        b'x' => digits(2, 16),
        _ => None,
    };
    if let Some((byte, next)) = numbered {
        value.push(byte);
        return next;
    }
    value.push(match byte {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        other => *other,
    });
    at + 1
}

/// The bytes of a binary header; `None` if it is not all there yet.
fn header(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let signature = &BINARY_HEADER[..11];
    if bytes.iter().zip(signature).any(|(byte, wanted)| byte != wanted) {
        return Err("COPY file signature not recognized");
    }
    let Some(mut rest) = bytes.get(signature.len()..BINARY_HEADER.len()) else { return Ok(None) };
    let (flags, extension) = (rest.get_u32(), rest.get_u32());
    if flags & FLAG_OIDS != 0 {
        return Err("invalid COPY file header (WITH OIDS)");
    }
    let length = usize::try_from(extension).ok().filter(|length| *length <= RECORD_BYTES_MAX);
    let length = BINARY_HEADER.len() + length.ok_or("invalid COPY file header (wrong length)")?;
    Ok((bytes.len() >= length).then_some(length))
}

/// A tuple from the front of `bytes`; `None` if it is not all there yet, `Some(None)` at the trailer.
fn tuple(bytes: &mut &[u8]) -> Option<Option<Record>> {
    let count = bytes.try_get_i16().ok()?;
    let Ok(count) = u16::try_from(count) else { return Some(None) };
    let mut record = Record::with_capacity(usize::from(count));
    for _ in 0..count {
        let length = bytes.try_get_i32().ok()?;
        let Ok(length) = usize::try_from(length) else {
            record.push(None);
            continue;
        };
        let (value, rest) = bytes.split_at_checked(length)?;
        record.push(Some(value.to_vec()));
        *bytes = rest;
    }
    Some(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::copy_options::Forced;

    fn options(format: CopyFormat) -> CopyOptions {
        let csv = format == CopyFormat::Csv;
        CopyOptions {
            format,
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { String::new() } else { "\\N".into() },
            header: false,
            quote: b'"',
            escape: b'"',
            force_quote: Forced::None,
            force_not_null: Forced::None,
            force_null: Forced::None,
        }
    }

    /// The records of `data` fed in pieces of `size` bytes, as text; NULL is `-`.
    fn read(options: &CopyOptions, data: &[u8], size: usize) -> Result<Vec<Vec<String>>, SqlError> {
        let mut reader = RecordReader::new(options, &["a", "b"])?;
        let (mut records, mut pieces) = (Vec::new(), data.chunks(size));
        loop {
            let piece = pieces.next();
            reader.push(piece.unwrap_or_default());
            while let Some(record) = reader.next(piece.is_none())? {
                let shown = |value: Option<Vec<u8>>| value.map(|value| String::from_utf8_lossy(&value).into_owned());
                records.push(record.into_iter().map(|value| shown(value).unwrap_or_else(|| "-".into())).collect());
            }
            if piece.is_none() {
                return Ok(records);
            }
        }
    }

    #[test]
    fn text_has_its_escapes_however_it_is_cut() {
        let data = b"1\ta\\tb\n2\t\\N\n\\x41\\101\tline\\\nend\r\n\\\\N\t\n\\.\nignored\n";
        for size in 1..data.len() {
            let records = read(&options(CopyFormat::Text), data, size).expect("good data");
            assert_eq!(records, [["1", "a\tb"], ["2", "-"], ["AA", "line\nend"], ["\\N", ""]], "pieces of {size}");
        }
    }

    #[test]
    fn csv_has_its_quotes_however_it_is_cut() {
        let data = b"a,b\n1,\"x, \"\"y\"\"\nz\"\n,\"\"\r\n\"q\"r,last";
        let csv = CopyOptions { header: true, ..options(CopyFormat::Csv) };
        for size in 1..data.len() {
            let records = read(&csv, data, size).expect("good data");
            assert_eq!(records, [["1", "x, \"y\"\nz"], ["-", ""], ["qr", "last"]], "pieces of {size}");
        }
        let other = CopyOptions { quote: b'\'', escape: b'\\', delimiter: b';', ..options(CopyFormat::Csv) };
        assert_eq!(read(&other, b"'x\\'y';z\n", 1).expect("good data"), [["x'y", "z"]]);
        let forced = Forced::Columns(vec!["b".into()]);
        let csv = CopyOptions { force_null: forced.clone(), ..options(CopyFormat::Csv) };
        assert_eq!(read(&csv, b"\"\",\"\"\n", 9).expect("good data"), [["", "-"]]);
        let csv = CopyOptions { force_not_null: forced, ..options(CopyFormat::Csv) };
        assert_eq!(read(&csv, b",\n", 9).expect("good data"), [["-", ""]]);
        let error = read(&options(CopyFormat::Csv), b"1,\"x\n", 3).expect_err("a quote is open");
        assert_eq!(
            (error.state, error.message.as_str()),
            (SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field")
        );
    }

    #[test]
    fn binary_tuples_end_with_the_trailer() {
        let mut data = BINARY_HEADER.to_vec();
        data.extend(b"\0\x02\0\0\0\x01x\xff\xff\xff\xff\xff\xffjunk");
        for size in 1..data.len() {
            assert_eq!(read(&options(CopyFormat::Binary), &data, size).expect("good data"), [["x", "-"]]);
        }
        for end in 0..data.len() - 6 {
            assert!(read(&options(CopyFormat::Binary), &data[..end], 5).is_err(), "cut at {end}");
        }
        assert!(read(&options(CopyFormat::Binary), b"PGCOPY\n\xff\r\n\x01", 5).is_err());
    }
}

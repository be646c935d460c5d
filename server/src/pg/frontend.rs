//! The client's messages, read from their frames with every bound checked.
//!
//! pgwire's own decoders read past the end of a message into the next one and panic at the end of the buffer, so the
//! bodies are read here. Source: PostgreSQL documentation, "Message Formats".

use bytes::{Buf, Bytes};
use sql::{SqlError, SqlState};

use super::decode::utf8;

/// A message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Query(String),
    Parse {
        name: String,
        text: String,
        oids: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target),
    Execute {
        portal: String,
        rows_max: i32,
    },
    Close(Target),
    Flush,
    Sync,
    Terminate,
    /// COPY data outside of a COPY: left over from one that failed.
    CopyLeftover,
    FunctionCall,
}

/// What Describe and Close are about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Statement(String),
    Portal(String),
}

/// Bind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bind {
    pub portal: String,
    pub statement: String,
    pub parameter_formats: Vec<i16>,
    pub parameters: Vec<Option<Bytes>>,
    pub result_formats: Vec<i16>,
}

/// Reads the body of a message of type `tag`.
///
/// # Errors
/// 08P01 for a body that is none, 22021 for text that is not UTF-8.
pub(super) fn message(tag: u8, body: Bytes) -> Result<Message, SqlError> {
    let mut reader = Reader(body);
    let message = match tag {
        b'Q' => Message::Query(reader.string()?),
        b'P' => {
            let (name, text) = (reader.string()?, reader.string()?);
            let count = reader.count(4)?;
            let oids = (0..count).map(|_| reader.u32()).collect::<Result<_, _>>()?;
            Message::Parse { name, text, oids }
        }
        b'B' => Message::Bind(bind(&mut reader)?),
        b'D' => Message::Describe(target(&mut reader)?),
        b'E' => Message::Execute { portal: reader.string()?, rows_max: reader.i32()? },
        b'C' => Message::Close(target(&mut reader)?),
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => return Ok(Message::Terminate),
        b'd' | b'c' | b'f' => return Ok(Message::CopyLeftover),
        b'F' => return Ok(Message::FunctionCall),
        tag => return Err(violation(format!("unexpected message type {tag}"))),
    };
    if reader.0.has_remaining() { Err(violation("invalid message format")) } else { Ok(message) }
}

fn bind(reader: &mut Reader) -> Result<Bind, SqlError> {
    let (portal, statement) = (reader.string()?, reader.string()?);
    let parameter_formats = reader.formats()?;
    let count = reader.count(4)?;
    let parameters = (0..count).map(|_| reader.value()).collect::<Result<_, _>>()?;
    let result_formats = reader.formats()?;
    Ok(Bind { portal, statement, parameter_formats, parameters, result_formats })
}

fn target(reader: &mut Reader) -> Result<Target, SqlError> {
    match reader.take(1)?.first() {
        Some(b'S') => Ok(Target::Statement(reader.string()?)),
        Some(b'P') => Ok(Target::Portal(reader.string()?)),
        other => Err(violation(format!("invalid subtype {}", other.copied().unwrap_or(0)))),
    }
}

/// The pairs of a startup packet's body, behind the protocol number.
///
/// # Errors
/// 08P01 where the packet does not end as it must.
pub(super) fn startup_parameters(body: Bytes) -> Result<Vec<(String, String)>, SqlError> {
    let mut reader = Reader(body);
    let mut pairs = Vec::new();
    loop {
        let name = reader.string()?;
        if name.is_empty() {
            break;
        }
        pairs.push((name, reader.string()?));
    }
    if reader.0.has_remaining() {
        return Err(violation("invalid startup packet layout: expected terminator as last byte"));
    }
    Ok(pairs)
}

/// The mechanism and the first message of a SASLInitialResponse.
///
/// # Errors
/// 08P01 for a body that is none.
pub(super) fn sasl_initial(body: Bytes) -> Result<(String, Option<Bytes>), SqlError> {
    let mut reader = Reader(body);
    let mechanism = reader.string()?;
    let response = reader.value()?;
    if reader.0.has_remaining() { Err(violation("invalid message format")) } else { Ok((mechanism, response)) }
}

/// An error of the protocol.
pub(super) fn violation(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, message)
}

struct Reader(Bytes);

impl Reader {
    fn take(&mut self, length: usize) -> Result<Bytes, SqlError> {
        if self.0.len() < length {
            return Err(violation("insufficient data left in message"));
        }
        Ok(self.0.split_to(length))
    }

    fn u16(&mut self) -> Result<u16, SqlError> {
        Ok(self.take(2)?.get_u16())
    }

    fn u32(&mut self) -> Result<u32, SqlError> {
        Ok(self.take(4)?.get_u32())
    }

    fn i32(&mut self) -> Result<i32, SqlError> {
        Ok(self.take(4)?.get_i32())
    }

    /// A count of elements of at least `bytes` each; more than the body can hold is an error at once.
    fn count(&mut self, bytes: usize) -> Result<usize, SqlError> {
        let count = usize::from(self.u16()?);
        if count * bytes > self.0.len() { Err(violation("insufficient data left in message")) } else { Ok(count) }
    }

    fn formats(&mut self) -> Result<Vec<i16>, SqlError> {
        let count = self.count(2)?;
        (0..count).map(|_| Ok(self.take(2)?.get_i16())).collect()
    }

    /// A length and so many bytes; -1 is NULL.
    fn value(&mut self) -> Result<Option<Bytes>, SqlError> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| violation("insufficient data left in message"))?;
                self.take(length).map(Some)
            }
        }
    }

    /// Text up to its NUL.
    fn string(&mut self) -> Result<String, SqlError> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(|| violation("invalid string in message"))?;
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        Ok(utf8(&bytes)?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_cut_anywhere_is_a_violation_and_never_a_panic() {
        let bind = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\x01\0\x01";
        let whole = message(b'B', Bytes::from_static(bind)).expect("a bind");
        let Message::Bind(read) = &whole else { panic!("a bind") };
        assert_eq!(read.parameters, [Some(Bytes::from_static(b"abc")), None]);
        for end in 0..bind.len() {
            let error = message(b'B', Bytes::copy_from_slice(&bind[..end])).expect_err("cut short");
            assert_eq!(error.state, SqlState::PROTOCOL_VIOLATION);
        }
        assert!(message(b'S', Bytes::from_static(b"x")).is_err());
        assert!(message(b'P', Bytes::from_static(b"\0\0\xff\xff")).is_err());
        assert_eq!(message(b'Q', Bytes::from_static(b"\xff\0")).expect_err("not UTF-8").state.0, "22021");
    }
}

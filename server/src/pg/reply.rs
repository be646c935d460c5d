//! The server's messages, appended to the outbound buffer.

use arrow::datatypes::FieldRef;
use bytes::BytesMut;
use pgwire::messages::Message;
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus,
};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};
use sql::SqlError;

use super::encode::Format;
use super::wire_type::WireType;
use crate::backend::{Notice, PG_ATTRIBUTE_NUMBER, PG_TABLE_OID, Severity};

/// Appends a message. None of ours comes near the bound above which pgwire refuses to encode; should one, it is left
/// out rather than sent in part.
fn put(out: &mut BytesMut, message: &impl Message) {
    let start = out.len();
    if let Err(error) = message.encode(out) {
        out.truncate(start);
        tracing::error!(%error, "a message could not be encoded");
    }
}

pub(super) fn authentication(out: &mut BytesMut, authentication: &Authentication) {
    put(out, authentication);
}

pub(super) fn negotiate_version(out: &mut BytesMut, newest: i32, unknown_options: Vec<String>) {
    put(out, &NegotiateProtocolVersion::new(newest, unknown_options));
}

pub(super) fn backend_key(out: &mut BytesMut, pid: i32, secret: SecretKey) {
    put(out, &BackendKeyData::new(pid, secret));
}

pub(super) fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    put(out, &ParameterStatus::new(name.to_owned(), value.to_owned()));
}

/// `status`: I, T or E.
pub(super) fn ready(out: &mut BytesMut, status: u8) {
    put(out, &ReadyForQuery::new(TransactionStatus::try_from(status).unwrap_or(TransactionStatus::Idle)));
}

pub(super) fn command_complete(out: &mut BytesMut, tag: &str) {
    put(out, &CommandComplete::new(tag.to_owned()));
}

pub(super) fn empty_query(out: &mut BytesMut) {
    put(out, &EmptyQueryResponse::new());
}

pub(super) fn parse_complete(out: &mut BytesMut) {
    put(out, &ParseComplete::new());
}

pub(super) fn bind_complete(out: &mut BytesMut) {
    put(out, &BindComplete::new());
}

pub(super) fn close_complete(out: &mut BytesMut) {
    put(out, &CloseComplete::new());
}

pub(super) fn portal_suspended(out: &mut BytesMut) {
    put(out, &PortalSuspended::new());
}

pub(super) fn no_data(out: &mut BytesMut) {
    put(out, &NoData::new());
}

pub(super) fn parameter_description(out: &mut BytesMut, oids: Vec<u32>) {
    put(out, &ParameterDescription::new(oids));
}

/// The shape of the rows to come.
pub(super) fn row_description(out: &mut BytesMut, columns: &[FieldRef], formats: &[Format]) {
    let fields = columns.iter().zip(formats).map(|(field, format)| {
        let wire = WireType::of(field);
        let table = metadata_number(field, PG_TABLE_OID);
        let attribute = metadata_number(field, PG_ATTRIBUTE_NUMBER);
        // The name ends at its first NUL on the wire; no identifier of ours has one.
        let name = field.name().replace('\0', "");
        FieldDescription::new(
            name,
            // An oid is unsigned; the field of the message carries its 32 bits.
            i32::from_ne_bytes(table.to_ne_bytes()),
            i16::try_from(attribute).unwrap_or(0),
            wire.oid,
            wire.size,
            wire.modifier,
            format.code(),
        )
    });
    put(out, &RowDescription::new(fields.collect()));
}

fn metadata_number(field: &FieldRef, key: &str) -> u32 {
    field.metadata().get(key).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// COPY data follows, every column in `format`.
pub(super) fn copy_out(out: &mut BytesMut, format: Format, columns: usize) {
    let (code, columns, formats) = copy_formats(format, columns);
    put(out, &CopyOutResponse::new(code, columns, formats));
}

/// COPY data is awaited, every column in `format`.
pub(super) fn copy_in(out: &mut BytesMut, format: Format, columns: usize) {
    let (code, columns, formats) = copy_formats(format, columns);
    put(out, &CopyInResponse::new(code, columns, formats));
}

/// The overall format, the number of columns, and each one's format.
fn copy_formats(format: Format, columns: usize) -> (i8, i16, Vec<i16>) {
    let code = format.code();
    let columns = i16::try_from(columns).unwrap_or(i16::MAX);
    (i8::try_from(code).unwrap_or(0), columns, vec![code; usize::from(columns.unsigned_abs())])
}

pub(super) fn copy_done(out: &mut BytesMut) {
    put(out, &CopyDone::new());
}

/// An error; a fatal one closes the connection.
pub(super) fn error(out: &mut BytesMut, error: &SqlError, fatal: bool) {
    put(out, &ErrorResponse::new(fields(if fatal { "FATAL" } else { "ERROR" }, error)));
}

/// A notice.
pub(super) fn notice(out: &mut BytesMut, notice: &Notice) {
    let severity = match notice.severity {
        Severity::Debug => "DEBUG",
        Severity::Log => "LOG",
        Severity::Notice => "NOTICE",
        Severity::Warning => "WARNING",
        Severity::Info => "INFO",
    };
    put(out, &NoticeResponse::new(fields(severity, &notice.message)));
}

fn fields(severity: &str, error: &SqlError) -> Vec<(u8, String)> {
    // A NUL would end the field before its text does.
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', error.state.0.to_owned()),
        (b'M', clean(&error.message)),
    ];
    fields.extend(error.detail.iter().map(|detail| (b'D', clean(detail))));
    fields.extend(error.hint.iter().map(|hint| (b'H', clean(hint))));
    fields.extend(error.position.iter().map(|position| (b'P', position.to_string())));
    fields
}

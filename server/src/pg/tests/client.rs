//! A client that writes the protocol's bytes itself and shows what comes back, one line a message.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fake::Fake;
use crate::pg::{PgConfig, serve};

/// How long a test waits for a byte before it calls the server stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a port of its own; it stops with the value.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) backend: Arc<Fake>,
    pub(super) config: PgConfig,
    pub(super) shutdown: CancellationToken,
    pub(super) served: Option<JoinHandle<std::io::Result<()>>>,
}

impl TestServer {
    pub(super) async fn start() -> Self {
        Self::with(PgConfig { login_failure_delay: Duration::ZERO, ..PgConfig::default() }).await
    }

    pub(super) async fn with(config: PgConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (backend, shutdown) = (Fake::new(), CancellationToken::new());
        let served = tokio::spawn(serve(listener, backend.clone(), config.clone(), shutdown.clone()));
        Self { address, backend, config, shutdown, served: Some(served) }
    }

    /// A client, logged in.
    pub(super) async fn client(&self) -> Client {
        self.client_with(&[("user", "tide"), ("database", "tidemark")]).await
    }

    pub(super) async fn client_with(&self, parameters: &[(&str, &str)]) -> Client {
        let mut client = Client::connect(self.address).await;
        client.send(&startup(196_608, parameters)).await;
        client.greeting = client.until_ready().await;
        client
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// One message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
}

/// A connection.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    inbound: BytesMut,
    pub(super) greeting: Vec<Reply>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connects");
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, inbound: BytesMut::new(), greeting: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sends");
    }

    /// The next message; `None` at the end of the connection.
    pub(super) async fn read(&mut self) -> Option<Reply> {
        loop {
            if self.inbound.len() >= 5 {
                let length = usize::try_from((&self.inbound[1..5]).get_u32()).expect("a length") + 1;
                if self.inbound.len() >= length {
                    let message = self.inbound.split_to(length);
                    return Some(Reply { tag: message[0], body: message[5..].to_vec() });
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.inbound));
            if read.await.expect("the server answers in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Everything up to ReadyForQuery, or to the end of the connection.
    pub(super) async fn until_ready(&mut self) -> Vec<Reply> {
        let mut replies = Vec::new();
        while let Some(reply) = self.read().await {
            let last = reply.tag == b'Z';
            replies.push(reply);
            if last {
                break;
            }
        }
        replies
    }

    /// Sends messages and shows everything up to ReadyForQuery.
    pub(super) async fn ask(&mut self, messages: &[Vec<u8>]) -> Vec<String> {
        self.send(&messages.concat()).await;
        show(&self.until_ready().await)
    }

    /// Runs a query string.
    pub(super) async fn query(&mut self, text: &str) -> Vec<String> {
        self.ask(&[query(text)]).await
    }

    /// The pid and the secret of BackendKeyData.
    pub(super) fn key(&self) -> Vec<u8> {
        self.greeting.iter().find(|reply| reply.tag == b'K').expect("a key").body.clone()
    }
}

/// One message: type, length, body.
pub(super) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.put_i32(i32::try_from(body.len() + 4).expect("a short message"));
    out.extend_from_slice(body);
    out
}

pub(super) fn startup(version: i32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_i32(version);
    for (name, value) in parameters {
        body.extend_from_slice(&cstrings(&[name, value]));
    }
    body.push(0);
    packet(&body)
}

/// A packet without a type byte.
pub(super) fn packet(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i32(i32::try_from(body.len() + 4).expect("a short packet"));
    out.extend_from_slice(body);
    out
}

fn cstrings(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| text.bytes().chain([0])).collect()
}

pub(super) fn query(text: &str) -> Vec<u8> {
    message(b'Q', &cstrings(&[text]))
}

pub(super) fn parse(name: &str, text: &str, oids: &[u32]) -> Vec<u8> {
    let mut body = cstrings(&[name, text]);
    body.put_u16(u16::try_from(oids.len()).expect("few"));
    oids.iter().for_each(|oid| body.put_u32(*oid));
    message(b'P', &body)
}

/// Bind with parameters all in text.
pub(super) fn bind(portal: &str, statement: &str, parameters: &[Option<&str>], formats: &[i16]) -> Vec<u8> {
    let values: Vec<_> = parameters.iter().map(|value| value.map(str::as_bytes)).collect();
    bind_raw(portal, statement, &[], &values, formats)
}

pub(super) fn bind_raw(
    portal: &str,
    statement: &str,
    parameter_formats: &[i16],
    parameters: &[Option<&[u8]>],
    result_formats: &[i16],
) -> Vec<u8> {
    let mut body = cstrings(&[portal, statement]);
    let put_formats = |body: &mut Vec<u8>, formats: &[i16]| {
        body.put_u16(u16::try_from(formats.len()).expect("few"));
        formats.iter().for_each(|format| body.put_i16(*format));
    };
    put_formats(&mut body, parameter_formats);
    body.put_u16(u16::try_from(parameters.len()).expect("few"));
    for value in parameters {
        match value {
            Some(value) => {
                body.put_i32(i32::try_from(value.len()).expect("short"));
                body.extend_from_slice(value);
            }
            None => body.put_i32(-1),
        }
    }
    put_formats(&mut body, result_formats);
    message(b'B', &body)
}

/// `kind`: S or P.
pub(super) fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind as u8][..], &cstrings(&[name])].concat())
}

pub(super) fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', &[&[kind as u8][..], &cstrings(&[name])].concat())
}

pub(super) fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    message(b'E', &[cstrings(&[portal]), rows_max.to_be_bytes().to_vec()].concat())
}

pub(super) fn sync() -> Vec<u8> {
    message(b'S', &[])
}

pub(super) fn flush() -> Vec<u8> {
    message(b'H', &[])
}

/// A cancel request for the session of that key.
pub(super) fn cancel_request(key: &[u8]) -> Vec<u8> {
    packet(&[&80_877_102i32.to_be_bytes()[..], key].concat())
}

/// One line a message: its type and what matters of its body.
pub(super) fn show(replies: &[Reply]) -> Vec<String> {
    replies.iter().map(show_one).collect()
}

pub(super) fn show_one(reply: &Reply) -> String {
    let tag = char::from(reply.tag);
    let mut body = &reply.body[..];
    match tag {
        'T' => {
            let count = body.get_u16();
            let columns = (0..count).map(|_| {
                let name = take_cstring(&mut body);
                let (_table, _attribute, oid) = (body.get_u32(), body.get_u16(), body.get_u32());
                let (_size, _modifier, format) = (body.get_i16(), body.get_i32(), body.get_i16());
                format!(" {name}:{oid}:{format}")
            });
            format!("T{}", columns.collect::<String>())
        }
        't' => {
            let count = body.get_u16();
            format!("t{}", (0..count).map(|_| format!(" {}", body.get_u32())).collect::<String>())
        }
        'D' => {
            let count = body.get_u16();
            let cells = (0..count).map(|_| match usize::try_from(body.get_i32()) {
                Ok(length) => String::from_utf8_lossy(&body.copy_to_bytes(length)).into_owned(),
                Err(_) => "NULL".to_owned(),
            });
            format!("D {}", cells.collect::<Vec<_>>().join("|"))
        }
        'C' | 'S' if !reply.body.is_empty() => {
            let parts: Vec<_> = reply.body.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            format!("{tag} {}", parts[..parts.len() - 1].join("="))
        }
        'E' | 'N' => {
            let fields: Vec<_> = reply.body.split(|byte| *byte == 0).filter(|field| !field.is_empty()).collect();
            let field = |code: u8| {
                let found = fields.iter().find(|field| field[0] == code);
                found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
            };
            format!("{tag} {} {} {}", field(b'S'), field(b'C'), field(b'M'))
        }
        'Z' => format!("Z {}", char::from(reply.body[0])),
        'd' => format!("d {}", String::from_utf8_lossy(&reply.body).trim_end_matches('\n')),
        tag => tag.to_string(),
    }
}

/// A field of an error or a notice.
pub(super) fn error_field(reply: &Reply, code: u8) -> Option<String> {
    let mut fields = reply.body.split(|byte| *byte == 0);
    fields.find(|field| field.first() == Some(&code)).map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
}

fn take_cstring(body: &mut &[u8]) -> String {
    let end = body.iter().position(|byte| *byte == 0).expect("a NUL");
    let text = String::from_utf8_lossy(&body[..end]).into_owned();
    body.advance(end + 1);
    text
}

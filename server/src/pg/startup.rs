//! From the first byte of a connection to its first ReadyForQuery.
//!
//! An SSLRequest begins TLS where there is a certificate, a GSSENCRequest is declined, a CancelRequest is carried out without a word, a startup packet is
//! negotiated, authenticated and turned into a session with its settings.

use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::{Buf, BufMut, Bytes};
use pgwire::messages::startup::SecretKey;
use sql::{SqlError, SqlState};

use super::Server;
use super::auth::authenticate;
use super::failure::Failure;
use super::frontend::{startup_parameters, violation};
use super::reply;
use super::wire::Wire;
use crate::backend::{Identity, Login, RoleSetting};
use crate::session::settings::Settings;

const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;

/// 3.0 and 3.2 as protocol numbers.
const VERSION_3_0: i32 = 3 << 16;
const VERSION_3_2: i32 = (3 << 16) | 2;

/// What a connection turned out to want.
pub(super) enum Greeting {
    /// A session.
    Session(Startup),
    /// To cancel another's statement.
    Cancel { pid: i32, secret: Bytes },
}

/// A startup packet.
pub(super) struct Startup {
    version: i32,
    parameters: Vec<(String, String)>,
}

/// A client that was let in.
pub(super) struct Admitted {
    pub identity: Identity,
    pub settings: Settings,
    pub secret: Vec<u8>,
    pub connection_limit: i32,
    pub superuser: bool,
}

/// Reads up to the startup packet or the cancel request.
///
/// # Errors
/// Fatal 08P01 or 0A000 for what is neither.
pub(super) async fn greet(wire: &mut Wire, server: &Server) -> Result<Greeting, Failure> {
    // Each encryption may be asked for once; more is no client.
    let (mut ssl_asked, mut gss_asked) = (false, false);
    loop {
        let mut body = wire.read_startup_packet().await?;
        let code = body.get_i32();
        match code {
            SSL_REQUEST if !std::mem::replace(&mut ssl_asked, true) => match &server.config.tls {
                Some(tls) => {
                    answer(wire, b'S').await?;
                    wire.encrypt(&tls.identity()).await?;
                }
                None => answer(wire, b'N').await?,
            },
            GSS_REQUEST if !std::mem::replace(&mut gss_asked, true) => answer(wire, b'N').await?,
            CANCEL_REQUEST if (8..=260).contains(&body.len()) => {
                return Ok(Greeting::Cancel { pid: body.get_i32(), secret: body });
            }
            CANCEL_REQUEST => return Err(Failure::Fatal(violation("invalid length of query cancel packet"))),
            version if version >> 16 == 3 => {
                let parameters = startup_parameters(body).map_err(Failure::Fatal)?;
                return Ok(Greeting::Session(Startup { version, parameters }));
            }
            version => {
                let (major, minor) = (version >> 16, version & 0xffff);
                let message = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2");
                return Err(Failure::Fatal(SqlError::unsupported(message)));
            }
        }
    }
}

/// Answers a request for encryption.
async fn answer(wire: &mut Wire, answer: u8) -> Result<(), Failure> {
    // Whatever was sent behind the request was sent on the hope of encryption.
    if wire.has_inbound() {
        return Err(Failure::Fatal(violation("received unencrypted data after an encryption request")));
    }
    wire.out.put_u8(answer);
    Ok(wire.flush().await?)
}

/// Negotiates the version, authenticates, and sets up what the session starts with.
///
/// # Errors
/// Fatal: what is wrong with the packet, the password (28P01), the role (28000) or the database (3D000).
pub(super) async fn admit(
    wire: &mut Wire,
    server: &Server,
    startup: Startup,
    peer: SocketAddr,
) -> Result<Admitted, Failure> {
    let asked = asked(startup.parameters).map_err(Failure::Fatal)?;
    let version = if startup.version >= VERSION_3_2 { VERSION_3_2 } else { VERSION_3_0 };
    if version != startup.version || !asked.protocol_options.is_empty() {
        reply::negotiate_version(&mut wire.out, version, asked.protocol_options);
    }
    if server.config.tls_required && !wire.is_encrypted() && !peer.ip().to_canonical().is_loopback() {
        let error = SqlError::new(SqlState("28000"), "the server takes connections from other machines by TLS alone");
        server.backend.audit().login(None, &asked.user, peer, Err(&error));
        return Err(Failure::Fatal(error.hint("Connect with sslmode=require or stricter.")));
    }
    let login = authenticate(wire, server, &asked.user, peer.ip()).await.inspect_err(|failure| {
        if let Failure::Fatal(error) | Failure::Error(error) = failure {
            server.backend.audit().login(None, &asked.user, peer, Err(error));
        }
    })?;
    let database = database(server, asked.database, &asked.user).map_err(Failure::Fatal)?;
    let secret = match version {
        VERSION_3_2 => rand::random::<[u8; 32]>().to_vec(),
        _ => rand::random::<[u8; 4]>().to_vec(),
    };
    let identity = Identity {
        pid: server.sessions.next_pid(),
        user: asked.user.into(),
        role: login.role,
        database: database.into(),
        client: Some((peer.ip(), peer.port())),
        started_at: SystemTime::now(),
    };
    let settings = settings(server, &identity, &login, &asked.settings).map_err(Failure::Fatal)?;
    Ok(Admitted { identity, settings, secret, connection_limit: login.connection_limit, superuser: login.superuser })
}

/// Tells the client what a session starts with, up to BackendKeyData.
pub(super) fn welcome(wire: &mut Wire, admitted: &Admitted) {
    for (name, value) in admitted.settings.reported() {
        reply::parameter_status(&mut wire.out, name, &value);
    }
    let secret = SecretKey::Bytes(Bytes::copy_from_slice(&admitted.secret));
    reply::backend_key(&mut wire.out, admitted.identity.pid, secret);
}

/// What a startup packet asks for.
struct Asked {
    user: String,
    database: Option<String>,
    settings: Vec<(String, String)>,
    /// Options of the protocol that we do not know.
    protocol_options: Vec<String>,
}

fn asked(parameters: Vec<(String, String)>) -> Result<Asked, SqlError> {
    let mut asked = Asked { user: String::new(), database: None, settings: Vec::new(), protocol_options: Vec::new() };
    let mut from_options = Vec::new();
    for (name, value) in parameters {
        match name.as_str() {
            "user" => asked.user = value,
            "database" => asked.database = Some(value).filter(|name| !name.is_empty()),
            "options" => from_options = command_line(&value)?,
            "replication" => match value.as_str() {
                "false" | "off" | "no" | "0" => {}
                _ => return Err(SqlError::unsupported("replication connections are not supported")),
            },
            name if name.starts_with("_pq_.") => asked.protocol_options.push(name.to_owned()),
            _ => asked.settings.push((name, value)),
        }
    }
    if asked.user.is_empty() {
        let message = "no PostgreSQL user name specified in startup packet";
        return Err(SqlError::new(SqlState("28000"), message));
    }
    // A setting of its own in the packet comes after the options, and so wins.
    from_options.append(&mut asked.settings);
    asked.settings = from_options;
    Ok(asked)
}

/// `-c name=value --name=value`: blanks part the words, a backslash keeps the character behind it.
fn command_line(options: &str) -> Result<Vec<(String, String)>, SqlError> {
    let mut words = vec![String::new()];
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        let word = words.last_mut().expect("there is always a word");
        match character {
            '\\' => word.extend(characters.next()),
            blank if blank.is_ascii_whitespace() => words.push(String::new()),
            other => word.push(other),
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next(),
            Some(assignment) => Some(assignment.to_owned()),
            None => None,
        };
        let pair = assignment.as_deref().and_then(|assignment| assignment.split_once('='));
        let Some((name, value)) = pair else {
            let message = format!("invalid command-line argument for server process: {word}");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        };
        // On a command line a name may be written with hyphens.
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

/// The database asked for; without one, that of the user's name or else the default.
fn database(server: &Server, asked: Option<String>, user: &str) -> Result<String, SqlError> {
    let name = match asked {
        Some(name) => name,
        None if server.backend.database_exists(user) => user.to_owned(),
        None => server.config.default_database.clone(),
    };
    if server.backend.database_exists(&name) {
        return Ok(name);
    }
    let error = SqlError::new(SqlState::UNDEFINED_DATABASE, format!("database \"{name}\" does not exist"));
    Err(error.hint(format!("The default database is \"{}\".", server.config.default_database)))
}

fn settings(
    server: &Server,
    identity: &Identity,
    login: &Login,
    asked: &[(String, String)],
) -> Result<Settings, SqlError> {
    let settings = Settings::default();
    settings.put_started("session_authorization", identity.user.to_string());
    settings.put_started("is_superuser", if login.superuser { "on" } else { "off" }.to_owned());
    settings.put_started("max_connections", server.config.connections_max.to_string());
    settings.put_started("max_view_state", server.config.max_view_state.to_string());
    let role_of = |settings: &[(String, String)]| {
        let role = settings.iter().rev().find(|(name, _)| RoleSetting::named(name) == Some(RoleSetting::Role));
        role.map(|(_, role)| role.clone())
    };
    // What was given to the role was checked then; what it cannot have any more must not keep it out.
    for (name, value) in &login.settings {
        match Settings::checked(name, value) {
            Ok(value) => settings.put_started(name, value),
            Err(error) => tracing::warn!(user = ?identity.user, %error, "a setting of the role has no effect"),
        }
    }
    for (name, value) in asked.iter().filter(|(name, _)| RoleSetting::named(name) != Some(RoleSetting::Role)) {
        settings.start_with(name, value)?;
    }
    if let Some(role) = role_of(asked) {
        server.backend.act_as(identity, &settings, RoleSetting::Role, Some(&role), false)?;
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_a_command_line() {
        let read = |options: &str| command_line(options).map_err(|error| error.state.0);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(
            read("-c search_path=a\\ b -cjit=off --statement-timeout=5s"),
            Ok(vec![pair("search_path", "a b"), pair("jit", "off"), pair("statement_timeout", "5s")])
        );
        assert_eq!(read("-c"), Err("42601"));
        assert_eq!(read("-x y"), Err("42601"));
    }
}

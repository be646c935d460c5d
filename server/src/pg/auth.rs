//! Who may come in: trust on loopback until some role has a password, SCRAM-SHA-256 (RFC 7677) from then on.

use std::net::IpAddr;

use bytes::Bytes;
use pgwire::api::auth::sasl::scram::ScramServerAuth;
use pgwire::error::PgWireError;
use pgwire::messages::startup::Authentication;
use sql::{SqlError, SqlState};

use super::Server;
use super::failure::Failure;
use super::frontend::{sasl_initial, violation};
use super::reply;
use super::wire::{Frame, STARTUP_BYTES_MAX, Wire};
use crate::backend::{Login, ScramVerifier};

const MECHANISM: &str = "SCRAM-SHA-256";
/// The same, bound to the TLS connection it is sent over (RFC 5929, tls-server-end-point).
const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Lets `user` in or says why not. AuthenticationOk is appended, not yet sent.
///
/// # Errors
/// Fatal 28P01 for a wrong password or a role that is not there; 28000 for a stranger where there are no passwords, and as
/// [`Backend::login`](crate::backend::Backend::login).
pub(super) async fn authenticate(
    wire: &mut Wire,
    server: &Server,
    user: &str,
    client: IpAddr,
) -> Result<Login, Failure> {
    if server.backend.password_required() {
        check_password(wire, server, user).await?;
    } else if !client.to_canonical().is_loopback() {
        let message = format!("no role has a password yet, so only loopback may connect, not {client}");
        let error = SqlError::new(SqlState("28000"), message);
        return Err(Failure::Fatal(error.hint("Give a role a password over a loopback connection first.")));
    }
    let login = server.backend.login(user).map_err(Failure::Fatal)?;
    reply::authentication(&mut wire.out, &Authentication::Ok);
    Ok(login)
}

async fn check_password(wire: &mut Wire, server: &Server, user: &str) -> Result<(), Failure> {
    let refused = || {
        let message = format!("password authentication failed for user \"{user}\"");
        Failure::Fatal(SqlError::new(SqlState("28P01"), message))
    };
    // A role that is not there takes the same path and the same time as a wrong password.
    let verifier = server.backend.scram_verifier(user);
    let is_mock = verifier.is_none();
    let verifier = verifier
        .unwrap_or_else(|| ScramVerifier::mock(user, &server.backend.mock_secret(), server.backend.scram_iterations()));

    let mut scram = ScramServerAuth::new();
    let mut mechanisms = vec![MECHANISM.to_owned()];
    if let Some(certificate) = wire.binding() {
        scram.configure_certificate(certificate).map_err(malformed)?;
        mechanisms.insert(0, MECHANISM_PLUS.to_owned());
    }
    reply::authentication(&mut wire.out, &Authentication::SASL(mechanisms.clone()));
    wire.flush().await?;
    let (mechanism, first) = sasl_initial(read_password_message(wire).await?).map_err(Failure::Fatal)?;
    if !mechanisms.contains(&mechanism) {
        return Err(Failure::Fatal(violation("client selected an invalid SASL authentication mechanism")));
    }
    let first = first.ok_or_else(|| Failure::Fatal(violation("malformed SCRAM message")))?;
    let (challenge, waiting) =
        scram.on_client_first_message_with_secret(&first, verifier.secret()).map_err(malformed)?;

    reply::authentication(&mut wire.out, &Authentication::SASLContinue(Bytes::from(challenge)));
    wire.flush().await?;
    let last = read_password_message(wire).await?;
    let signature = match waiting.on_client_final_message(&last) {
        Ok(signature) if !is_mock => signature,
        Ok(_) | Err(PgWireError::InvalidPassword(_)) => {
            tokio::time::sleep(server.config.login_failure_delay).await;
            return Err(refused());
        }
        Err(error) => return Err(malformed(error)),
    };
    reply::authentication(&mut wire.out, &Authentication::SASLFinal(Bytes::from(signature)));
    Ok(())
}

fn malformed(error: PgWireError) -> Failure {
    Failure::Fatal(violation("malformed SCRAM message").detail(error.to_string()))
}

async fn read_password_message(wire: &mut Wire) -> Result<Bytes, Failure> {
    match wire.read_frame(STARTUP_BYTES_MAX).await? {
        Frame::Message(b'p', body) => Ok(body),
        Frame::Message(b'X', _) => Err(Failure::Gone),
        Frame::Message(tag, _) | Frame::TooLong(tag, _) => {
            let message = format!("expected SASL response, got message type {tag}");
            Err(Failure::Fatal(violation(message)))
        }
    }
}

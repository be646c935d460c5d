//! Password verifiers: made from a password, and written the way PostgreSQL keeps them in pg_authid.
//!
//! `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`, the three byte strings in base64 (RFC 5803).

use std::fmt;
use std::str::FromStr;

use pgwire::api::auth::sasl::scram::{ScramSecret, gen_salted_password};

use crate::backend::ScramVerifier;

/// How often PostgreSQL repeats the hash.
pub const ITERATIONS: u32 = 4096;
/// The fewest repetitions RFC 7677 allows, and more than anybody waits for.
const ITERATIONS_RANGE: std::ops::RangeInclusive<u32> = 4096..=10_000_000;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

impl ScramVerifier {
    /// A verifier for `password` under a fresh salt.
    pub fn from_password(password: &str, iterations: u32) -> Self {
        let salt = rand::random::<[u8; SALT_BYTES]>().to_vec();
        Self::with_salt(password, salt, iterations.clamp(*ITERATIONS_RANGE.start(), *ITERATIONS_RANGE.end()))
    }

    fn with_salt(password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        let repetitions = usize::try_from(iterations).unwrap_or(usize::MAX);
        let salted = gen_salted_password(password, &salt, repetitions);
        match ScramSecret::verifier_from_salted_password(salt.clone(), salted, repetitions) {
            ScramSecret::Verifier { stored_key, server_key, .. } => Self { iterations, salt, stored_key, server_key },
            ScramSecret::SaltedPassword { .. } => unreachable!("a verifier was asked for"),
        }
    }

    /// What pgwire checks a client's proof against.
    pub(super) fn secret(&self) -> ScramSecret {
        ScramSecret::Verifier {
            salt: self.salt.clone(),
            iterations: usize::try_from(self.iterations).unwrap_or(usize::MAX),
            stored_key: self.stored_key.clone(),
            server_key: self.server_key.clone(),
        }
    }

    /// A verifier no password opens, for a role that is not there or has no password. Its salt is always the same for
    /// a name, as a real one's is, so that a stranger cannot tell who exists.
    pub(super) fn mock(role: &str, server_secret: &[u8], iterations: u32) -> Self {
        let mut salt = gen_salted_password(role, server_secret, 1);
        salt.truncate(SALT_BYTES);
        let stored_key = rand::random::<[u8; KEY_BYTES]>().to_vec();
        let server_key = rand::random::<[u8; KEY_BYTES]>().to_vec();
        Self { iterations, salt, stored_key, server_key }
    }
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt, &self.stored_key, &self.server_key].map(|bytes| to_base64(bytes));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

/// The text is no verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SCRAM-SHA-256 verifier")]
pub struct NotAVerifier;

impl FromStr for ScramVerifier {
    type Err = NotAVerifier;

    fn from_str(text: &str) -> Result<Self, NotAVerifier> {
        let read = || {
            let rest = text.strip_prefix("SCRAM-SHA-256$")?;
            let (head, keys) = rest.split_once('$')?;
            let (iterations, salt) = head.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let iterations = iterations.parse().ok().filter(|count| *count > 0)?;
            let (stored_key, server_key) = (from_base64(stored)?, from_base64(server)?);
            let right = stored_key.len() == KEY_BYTES && server_key.len() == KEY_BYTES;
            right.then_some(Self { iterations, salt: from_base64(salt)?, stored_key, server_key })
        };
        read().ok_or(NotAVerifier)
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding (RFC 4648, section 4).
fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let digit = usize::try_from(word >> (18 - 6 * position) & 63).unwrap_or(0);
            text.push(if position <= chunk.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in digits.as_bytes().chunks(4) {
        let mut word = 0u32;
        for byte in chunk {
            let digit = ALPHABET.iter().position(|letter| letter == byte)?;
            word = word << 6 | u32::try_from(digit).ok()?;
        }
        let word = (word << (6 * (4 - chunk.len()))).to_be_bytes();
        bytes.extend_from_slice(&word[1..chunk.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_reads_back_from_its_text() {
        let verifier = ScramVerifier::from_password("pencil", ITERATIONS);
        assert_eq!(verifier.to_string().parse(), Ok(verifier.clone()));
        assert_eq!("SCRAM-SHA-256$4096:x$y:z".parse::<ScramVerifier>(), Err(NotAVerifier));
        assert_eq!("md5abc".parse::<ScramVerifier>(), Err(NotAVerifier));
    }

    #[test]
    fn a_verifier_is_the_one_postgres_makes() {
        // Read from pg_authid of PostgreSQL 15 after ALTER ROLE … PASSWORD 'pencil'.
        let kept = include_str!("golden/verifier.txt").trim();
        let known: ScramVerifier = kept.parse().expect("PostgreSQL's own");
        assert_eq!(ScramVerifier::with_salt("pencil", known.salt.clone(), known.iterations), known);
    }

    #[test]
    fn base64_is_padded_and_strict() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        for text in ["Z", "Zg", "Zg=", "Z===", "Zm9v!A=="] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }
}

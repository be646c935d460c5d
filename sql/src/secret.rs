//! Text that must never be shown: passwords, and what connectors log in with.

use std::fmt;

use zeroize::Zeroizing;

use crate::SqlError;

/// What stands in the place of a secret, wherever it would be shown.
pub const HIDDEN: &str = "********";

/// A secret: it shows itself nowhere, and its memory is overwritten when it goes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes `text` out of sight.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl SqlError {
    /// The same without secrets that have come into its text.
    #[must_use]
    pub fn without(mut self, secrets: &[Secret]) -> Self {
        let hide = |text: &mut String| {
            for secret in secrets.iter().map(Secret::reveal).filter(|secret| !secret.is_empty()) {
                if text.contains(secret) {
                    *text = text.replace(secret, HIDDEN);
                }
            }
        };
        hide(&mut self.message);
        self.detail.iter_mut().for_each(hide);
        self.hint.iter_mut().for_each(hide);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let secret = Secret::new("swordfish");
        assert!(!format!("{secret} {secret:?} {:?}", Some(&secret)).contains("swordfish"));
        assert_eq!(secret.reveal(), "swordfish");
        let error = SqlError::unsupported("no swordfish").detail("a swordfish").hint("try swordfish");
        let error = error.without(&[secret, Secret::default()]);
        let texts = [Some(error.message), error.detail, error.hint];
        assert_eq!(texts, ["no ********", "a ********", "try ********"].map(|text| Some(text.to_owned())));
    }
}

//! The options of COPY … TO STDOUT, in the syntax of today and of before 9.0.

use datafusion::sql::sqlparser::ast::{CopyLegacyCsvOption, CopyLegacyOption, CopyOption, Ident};
use sql::{SqlError, SqlState};

use super::command::fold;

/// How rows are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyFormat {
    Text,
    Csv,
    Binary,
}

/// Which columns are quoted even where they need not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForceQuote {
    Never,
    All,
    Columns(Vec<String>),
}

/// The options, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    pub null: String,
    pub header: bool,
    pub quote: u8,
    pub escape: u8,
    pub force_quote: ForceQuote,
}

/// The options as given.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<char>,
    null: Option<String>,
    header: bool,
    quote: Option<char>,
    escape: Option<char>,
    force_quote: Option<ForceQuote>,
}

impl CopyOptions {
    /// Reads and checks the options.
    ///
    /// # Errors
    /// 22023 for a format or encoding there is none of, 42601 and 0A000 for options that do not go together.
    pub(crate) fn new(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<Self, SqlError> {
        let mut given = Given::default();
        for option in options {
            given.option(option)?;
        }
        for option in legacy {
            given.legacy(option)?;
        }
        given.check()
    }
}

impl Given {
    fn option(&mut self, option: &CopyOption) -> Result<(), SqlError> {
        match option {
            CopyOption::Format(name) => self.format = Some(format(name)?),
            CopyOption::Delimiter(delimiter) => self.delimiter = Some(*delimiter),
            CopyOption::Null(null) => self.null = Some(null.clone()),
            CopyOption::Header(header) => self.header = *header,
            CopyOption::Quote(quote) => self.quote = Some(*quote),
            CopyOption::Escape(escape) => self.escape = Some(*escape),
            CopyOption::ForceQuote(columns) => self.force_quote = Some(force_quote(columns)),
            CopyOption::Encoding(name) => {
                let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
                if !plain.eq_ignore_ascii_case("utf8") && !plain.eq_ignore_ascii_case("unicode") {
                    return Err(SqlError::unsupported(format!("COPY in encoding \"{name}\" is not supported")));
                }
            }
            CopyOption::Freeze(_) | CopyOption::ForceNotNull(_) | CopyOption::ForceNull(_) => {
                return Err(SqlError::unsupported(format!("COPY {option} is only for COPY FROM")));
            }
        }
        Ok(())
    }

    fn legacy(&mut self, option: &CopyLegacyOption) -> Result<(), SqlError> {
        match option {
            CopyLegacyOption::Binary => self.format = Some(CopyFormat::Binary),
            CopyLegacyOption::Delimiter(delimiter) => self.delimiter = Some(*delimiter),
            CopyLegacyOption::Null(null) => self.null = Some(null.clone()),
            CopyLegacyOption::Header => self.header = true,
            CopyLegacyOption::Csv(options) => {
                self.format = Some(CopyFormat::Csv);
                for option in options {
                    self.legacy_csv(option)?;
                }
            }
            other => return Err(SqlError::unsupported(format!("COPY option {other} is not supported"))),
        }
        Ok(())
    }

    fn legacy_csv(&mut self, option: &CopyLegacyCsvOption) -> Result<(), SqlError> {
        match option {
            CopyLegacyCsvOption::Header => self.header = true,
            CopyLegacyCsvOption::Quote(quote) => self.quote = Some(*quote),
            CopyLegacyCsvOption::Escape(escape) => self.escape = Some(*escape),
            CopyLegacyCsvOption::ForceQuote(columns) => self.force_quote = Some(force_quote(columns)),
            CopyLegacyCsvOption::ForceNotNull(_) => {
                return Err(SqlError::unsupported("COPY FORCE NOT NULL is only for COPY FROM"));
            }
        }
        Ok(())
    }

    fn check(self) -> Result<CopyOptions, SqlError> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        let csv = format == CopyFormat::Csv;
        let only_csv = |name: &str| SqlError::unsupported(format!("COPY {name} available only in CSV mode"));
        if format == CopyFormat::Binary {
            for (name, is_given) in
                [("DELIMITER", self.delimiter.is_some()), ("NULL", self.null.is_some()), ("HEADER", self.header)]
            {
                if is_given {
                    let message = format!("cannot specify {name} in BINARY mode");
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
                }
            }
        }
        for (name, is_given) in [
            ("HEADER", self.header),
            ("quote", self.quote.is_some()),
            ("escape", self.escape.is_some()),
            ("force quote", self.force_quote.is_some()),
        ] {
            if is_given && !csv {
                return Err(only_csv(name));
            }
        }
        let delimiter = one_byte("delimiter", self.delimiter.unwrap_or(if csv { ',' } else { '\t' }))?;
        let quote = one_byte("quote", self.quote.unwrap_or('"'))?;
        let escape = one_byte("escape", self.escape.unwrap_or(char::from(quote)))?;
        let null = self.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() });
        let invalid = |message: &str| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        if matches!(delimiter, b'\n' | b'\r') {
            return invalid("COPY delimiter cannot be newline or carriage return");
        }
        if null.contains(['\n', '\r']) {
            return invalid("COPY null representation cannot use newline or carriage return");
        }
        if !csv && (delimiter.is_ascii_lowercase() || delimiter.is_ascii_digit() || matches!(delimiter, b'\\' | b'.')) {
            return invalid(&format!("COPY delimiter cannot be \"{}\"", char::from(delimiter)));
        }
        if csv && delimiter == quote {
            return invalid("COPY delimiter and quote must be different");
        }
        if format != CopyFormat::Binary && null.bytes().any(|byte| byte == delimiter) {
            return invalid("COPY delimiter must not appear in the NULL specification");
        }
        if csv && null.bytes().any(|byte| byte == quote) {
            return invalid("CSV quote character must not appear in the NULL specification");
        }
        let force_quote = self.force_quote.unwrap_or(ForceQuote::Never);
        Ok(CopyOptions { format, delimiter, null, header: self.header, quote, escape, force_quote })
    }
}

fn format(name: &Ident) -> Result<CopyFormat, SqlError> {
    match fold(name).as_str() {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        name => {
            let message = format!("COPY format \"{name}\" not recognized");
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
    }
}

fn force_quote(columns: &[Ident]) -> ForceQuote {
    match columns {
        [star] if star.value == "*" => ForceQuote::All,
        columns => ForceQuote::Columns(columns.iter().map(fold).collect()),
    }
}

fn one_byte(what: &str, character: char) -> Result<u8, SqlError> {
    u8::try_from(character)
        .ok()
        .filter(u8::is_ascii)
        .ok_or_else(|| SqlError::unsupported(format!("COPY {what} must be a single one-byte character")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_follow_the_format() {
        let text = CopyOptions::new(&[], &[]).expect("defaults");
        assert_eq!((text.delimiter, text.null.as_str()), (b'\t', "\\N"));
        let legacy = [CopyLegacyOption::Csv(vec![CopyLegacyCsvOption::Header])];
        let csv = CopyOptions::new(&[], &legacy).expect("csv header");
        assert_eq!((csv.delimiter, csv.null.as_str(), csv.header, csv.escape), (b',', "", true, b'"'));
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let state = |options: &[CopyOption]| CopyOptions::new(options, &[]).expect_err("refused").state.0;
        assert_eq!(state(&[CopyOption::Header(true)]), "0A000");
        assert_eq!(state(&[CopyOption::Delimiter('é')]), "0A000");
        assert_eq!(state(&[CopyOption::Delimiter('a')]), "22023");
        assert_eq!(state(&[CopyOption::Format(Ident::new("xml"))]), "22023");
        assert_eq!(state(&[CopyOption::Format(Ident::new("binary")), CopyOption::Null("x".into())]), "42601");
        assert_eq!(state(&[CopyOption::Format(Ident::new("csv")), CopyOption::Quote(',')]), "22023");
    }
}

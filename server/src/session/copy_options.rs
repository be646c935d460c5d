//! The options of COPY … TO STDOUT and COPY … FROM STDIN, in the syntax of today and of before 9.0.

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

/// Which way the rows go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Direction {
    /// COPY … TO.
    #[default]
    Out,
    /// COPY … FROM.
    In,
}

/// Which columns an option is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Forced {
    #[default]
    None,
    All,
    Columns(Vec<String>),
}

impl Forced {
    /// For each of the columns of these names, whether the option is about it.
    ///
    /// # Errors
    /// 42703 for a column there is not.
    pub(crate) fn among(&self, names: &[&str]) -> Result<Vec<bool>, SqlError> {
        let mut forced = vec![*self == Self::All; names.len()];
        if let Self::Columns(wanted) = self {
            for name in wanted {
                let position = names.iter().position(|column| column == name).ok_or_else(|| {
                    SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"))
                })?;
                forced[position] = true;
            }
        }
        Ok(forced)
    }
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
    /// Quoted even where they need not be.
    pub force_quote: Forced,
    /// Never NULL, whatever they hold.
    pub force_not_null: Forced,
    /// NULL where a quoted value is the NULL text.
    pub force_null: Forced,
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
    force_quote: Option<Forced>,
    force_not_null: Option<Forced>,
    force_null: Option<Forced>,
    direction: Direction,
}

impl CopyOptions {
    /// Reads and checks the options.
    ///
    /// # Errors
    /// 22023 for a format or encoding there is none of, 42601 and 0A000 for options that do not go together.
    pub(crate) fn new(
        direction: Direction,
        options: &[CopyOption],
        legacy: &[CopyLegacyOption],
    ) -> Result<Self, SqlError> {
        let mut given = Given { direction, ..Given::default() };
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
            CopyOption::ForceQuote(columns) => self.force_quote = Some(forced(columns)),
            CopyOption::ForceNotNull(columns) => self.force_not_null = Some(forced(columns)),
            CopyOption::ForceNull(columns) => self.force_null = Some(forced(columns)),
            CopyOption::Encoding(name) => {
                let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
                if !plain.eq_ignore_ascii_case("utf8") && !plain.eq_ignore_ascii_case("unicode") {
                    return Err(SqlError::unsupported(format!("COPY in encoding \"{name}\" is not supported")));
                }
            }
            // A promise about storage that ours does not need.
            CopyOption::Freeze(_) if self.direction == Direction::In => {}
            CopyOption::Freeze(_) => return Err(SqlError::unsupported("COPY FREEZE cannot be used with COPY TO")),
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
            CopyLegacyCsvOption::ForceQuote(columns) => self.force_quote = Some(forced(columns)),
            CopyLegacyCsvOption::ForceNotNull(columns) => self.force_not_null = Some(forced(columns)),
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
            ("force not null", self.force_not_null.is_some()),
            ("force null", self.force_null.is_some()),
        ] {
            if is_given && !csv {
                return Err(only_csv(name));
            }
        }
        for (name, is_given, direction) in [
            ("force quote", self.force_quote.is_some(), Direction::Out),
            ("force not null", self.force_not_null.is_some(), Direction::In),
            ("force null", self.force_null.is_some(), Direction::In),
        ] {
            if is_given && self.direction != direction {
                let other = if direction == Direction::In { "TO" } else { "FROM" };
                return Err(SqlError::unsupported(format!("COPY {name} cannot be used with COPY {other}")));
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
        let [force_quote, force_not_null, force_null] =
            [self.force_quote, self.force_not_null, self.force_null].map(Option::unwrap_or_default);
        let header = self.header;
        Ok(CopyOptions { format, delimiter, null, header, quote, escape, force_quote, force_not_null, force_null })
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

fn forced(columns: &[Ident]) -> Forced {
    match columns {
        [star] if star.value == "*" => Forced::All,
        columns => Forced::Columns(columns.iter().map(fold).collect()),
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
        let text = CopyOptions::new(Direction::Out, &[], &[]).expect("defaults");
        assert_eq!((text.delimiter, text.null.as_str()), (b'\t', "\\N"));
        let legacy = [CopyLegacyOption::Csv(vec![CopyLegacyCsvOption::Header])];
        let csv = CopyOptions::new(Direction::Out, &[], &legacy).expect("csv header");
        assert_eq!((csv.delimiter, csv.null.as_str(), csv.header, csv.escape), (b',', "", true, b'"'));
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let state =
            |options: &[CopyOption]| CopyOptions::new(Direction::Out, options, &[]).expect_err("refused").state.0;
        let csv = CopyOption::Format(Ident::new("csv"));
        assert_eq!(state(&[csv.clone(), CopyOption::ForceNull(vec![Ident::new("a")])]), "0A000");
        let quoted = [csv, CopyOption::ForceQuote(vec![Ident::new("a")])];
        assert_eq!(CopyOptions::new(Direction::In, &quoted, &[]).expect_err("refused").state.0, "0A000");
        assert_eq!(state(&[CopyOption::Header(true)]), "0A000");
        assert_eq!(state(&[CopyOption::Delimiter('é')]), "0A000");
        assert_eq!(state(&[CopyOption::Delimiter('a')]), "22023");
        assert_eq!(state(&[CopyOption::Format(Ident::new("xml"))]), "22023");
        assert_eq!(state(&[CopyOption::Format(Ident::new("binary")), CopyOption::Null("x".into())]), "42601");
        assert_eq!(state(&[CopyOption::Format(Ident::new("csv")), CopyOption::Quote(',')]), "22023");
    }
}

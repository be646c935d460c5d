//! The tab-separated files in `static/`: what a PostgreSQL server knows from birth, kept as text and parsed once.
//!
//! In: the text of a file. A line that starts with `#` is a comment, the next one names the columns, every other is a
//! row; `\N` is NULL. Out: rows of string slices into that text.

/// One parsed file.
#[derive(Debug)]
pub(super) struct Tsv {
    /// Column names, in file order.
    pub columns: Vec<&'static str>,
    /// Rows; each has as many values as there are columns.
    pub rows: Vec<Vec<Option<&'static str>>>,
}

impl Tsv {
    /// Parses `text`, which is one of our own files: a row that does not fit is a bug that the tests find.
    pub fn parse(text: &'static str) -> Self {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let columns: Vec<&'static str> = lines.next().unwrap_or_default().split('\t').collect();
        let rows =
            lines.map(|line| line.split('\t').map(|value| (value != "\\N").then_some(value)).collect()).collect();
        Self { columns, rows }
    }

    /// The position of column `name`.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| *column == name)
    }
}

macro_rules! static_file {
    ($name:ident, $file:literal) => {
        #[doc = concat!("The rows of `static/", $file, "`.")]
        pub(super) static $name: std::sync::LazyLock<Tsv> =
            std::sync::LazyLock::new(|| Tsv::parse(include_str!(concat!("static/", $file))));
    };
}

static_file!(TYPES, "pg_type.tsv");
static_file!(RANGES, "pg_range.tsv");
static_file!(LANGUAGES, "pg_language.tsv");
static_file!(COLLATIONS, "pg_collation.tsv");
static_file!(OPERATORS, "pg_operator.tsv");
static_file!(CASTS, "pg_cast.tsv");
static_file!(FUNCTIONS, "pg_proc.tsv");
static_file!(KEYWORDS, "keywords.tsv");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_every_column() {
        for file in [&*TYPES, &RANGES, &LANGUAGES, &COLLATIONS, &OPERATORS, &CASTS, &FUNCTIONS, &KEYWORDS] {
            assert!(!file.rows.is_empty());
            for row in &file.rows {
                assert_eq!(row.len(), file.columns.len(), "{row:?}");
            }
        }
    }
}

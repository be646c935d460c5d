//! A tick's change as text, the same for equal changes, for golden tests and messages.
//!
//! ```text
//! -1 | 7 | apple | 2026-01-01T00:00:00
//! +1 | 7 | pear  | NULL
//! ```
//! without the padding: one line a row, weight first, rows in the order of their columns, a row's retraction before
//! its insert.

use std::fmt::Write;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::delta::Delta;
use crate::error::Result;
use crate::view::consolidate::Consolidated;
use crate::view::row_keys::RowKeys;

/// Longest text of a row in a message, characters.
const ROW_TEXT_CHARACTERS_MAX: usize = 400;

/// `delta`, consolidated, as text. NULL is `NULL`; text that could be mistaken for something else (`NULL`, empty,
/// with a line break, a `|`, a quote or a space at an end) is in quotes.
///
/// # Errors
/// `Unsupported` for columns that cannot be compared or shown.
pub fn render(delta: &Delta) -> Result<String> {
    let schema = delta.rows.schema();
    let keys = RowKeys::new(&schema)?;
    let change = Consolidated::new(&keys, &schema, std::slice::from_ref(delta))?;
    let mut net = change.net.clone();
    net.sort_by(|a, b| change.keys.bytes(a.index as usize).cmp(change.keys.bytes(b.index as usize)));
    let cells = Cells::new(&change.rows)?;
    let mut text = String::new();
    for row in net {
        let _ = write!(text, "{:+}", row.weight);
        for column in 0..change.rows.num_columns() {
            let _ = write!(text, " | {}", cells.text(column, row.index as usize));
        }
        text.push('\n');
    }
    Ok(text)
}

/// One row as text for a message: `(7, apple, NULL)`, cut short where it is long.
pub(super) fn row_text(rows: &RecordBatch, row: usize) -> String {
    let Ok(cells) = Cells::new(rows) else { return "a row".to_string() };
    let cells: Vec<_> = (0..rows.num_columns()).map(|column| cells.text(column, row)).collect();
    let text = cells.join(", ");
    match text.char_indices().nth(ROW_TEXT_CHARACTERS_MAX) {
        Some((end, _)) => format!("({}…)", &text[..end]),
        None => format!("({text})"),
    }
}

struct Cells<'a> {
    rows: &'a RecordBatch,
    columns: Vec<ArrayFormatter<'a>>,
}

impl<'a> Cells<'a> {
    fn new(rows: &'a RecordBatch) -> Result<Self> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_null("NULL").with_display_error(true);
        let columns = rows.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &OPTIONS));
        Ok(Self { rows, columns: columns.collect::<Result<_, _>>()? })
    }

    fn text(&self, column: usize, row: usize) -> String {
        let text = self.columns[column].value(row).to_string();
        let values = self.rows.column(column);
        let is_null = values.is_null(row) || values.data_type().is_null();
        if !is_null && needs_quotes(&text) { format!("{text:?}") } else { text }
    }
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text == "NULL" || text.trim() != text || text.contains(['\n', '\r', '|', '"'])
}

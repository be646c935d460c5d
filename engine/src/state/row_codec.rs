//! Rows of columns to bytes and back.
//!
//! The bytes are Arrow's row format: equal rows have equal bytes, and bytes compare as the rows do under the columns' sort
//! options. Dictionaries come back as they went in. Used for keys, kept rows and kept accumulator states.

use arrow::array::ArrayRef;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, RowParser, Rows, SortField};

use crate::error::{Error, Result};
use crate::state::row_store::RowStore;
use crate::state::size::{UnitBytes, sample};

/// Turns rows of columns of fixed types into bytes and back.
#[derive(Debug)]
pub struct RowCodec {
    converter: RowConverter,
    parser: RowParser,
    types: Vec<DataType>,
}

impl RowCodec {
    /// A codec for columns of `types`, each ascending with NULL first.
    ///
    /// # Errors
    /// `Unsupported` if a type has no row format.
    pub fn try_new(types: Vec<DataType>) -> Result<Self> {
        let ordered = types.into_iter().map(|data_type| (data_type, SortOptions::default())).collect();
        Self::try_ordered(ordered)
    }

    /// A codec whose bytes order as the columns do under their sort options.
    ///
    /// # Errors
    /// `Unsupported` if a type has no row format.
    pub fn try_ordered(columns: Vec<(DataType, SortOptions)>) -> Result<Self> {
        let fields = columns.iter().map(|(data_type, o)| SortField::new_with_options(data_type.clone(), *o)).collect();
        let converter = RowConverter::new(fields).map_err(|e| Error::unsupported(e.to_string()))?;
        let parser = converter.parser();
        Ok(Self { converter, parser, types: columns.into_iter().map(|(data_type, _)| data_type).collect() })
    }

    /// The columns' types.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// The bytes of each of `rows` rows of `columns`.
    ///
    /// # Errors
    /// `Data` if the columns are not of this codec's types.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<Rows> {
        if self.types.is_empty() {
            let mut empty = self.converter.empty_rows(rows, 0);
            (0..rows).for_each(|_| empty.push(self.parser.parse(&[])));
            return Ok(empty);
        }
        let mut typed = Vec::with_capacity(columns.len());
        for (column, data_type) in columns.iter().zip(&self.types) {
            // Field names inside nested types may differ; the row format looks at the types alone.
            let same = column.data_type().equals_datatype(data_type);
            typed.push(if same { column.clone() } else { cast(column, data_type)? });
        }
        Ok(self.converter.convert_columns(&typed)?)
    }

    /// The columns of rows that this codec encoded.
    ///
    /// # Errors
    /// `Data` if the bytes hold what the types do not allow.
    pub fn decode<'a>(&'a self, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let columns = self.converter.convert_rows(rows.map(|bytes| self.parser.parse(bytes)))?;
        let typed = columns.into_iter().zip(&self.types).map(|(column, data_type)| {
            if column.data_type() == data_type { Ok(column) } else { Ok(cast(&column, data_type)?) }
        });
        typed.collect()
    }

    /// The length of a row whose values are of the size that values of their types are taken to have.
    pub fn row_bytes(&self) -> usize {
        let one: Vec<_> = self.types.iter().map(sample).collect();
        self.encode(&one, 1).map_or(0, |rows| rows.row_len(0))
    }

    /// What such a row takes in a [`RowStore`].
    pub fn stored_bytes(&self) -> UnitBytes {
        RowStore::bytes_each(self.fixed_width(), self.row_bytes())
    }

    /// The length of every row in bytes, if it does not depend on the values.
    pub fn fixed_width(&self) -> Option<usize> {
        let fixed = |t: &DataType| t.is_primitive() || matches!(t, DataType::Boolean | DataType::FixedSizeBinary(_));
        if !self.types.iter().all(fixed) {
            return None;
        }
        let nulls: Vec<_> = self.types.iter().map(|t| arrow::array::new_null_array(t, 1)).collect();
        self.encode(&nulls, 1).ok().map(|rows| rows.row_len(0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, DictionaryArray, Int64Array, StringArray, StringViewArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn columns_come_back_as_they_went_in() {
        let dictionary: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(3), None, Some(-1)])),
            Arc::new(StringViewArray::from(vec![Some("x"), Some(""), None])),
            Arc::new(dictionary),
        ];
        let codec = RowCodec::try_new(columns.iter().map(|c| c.data_type().clone()).collect()).expect("types");
        let rows = codec.encode(&columns, 3).expect("rows");
        let back = codec.decode(rows.iter().map(|row| row.data())).expect("decode");
        for (before, after) in columns.iter().zip(&back) {
            assert_eq!(before.data_type(), after.data_type());
            assert_eq!(&cast(before, &DataType::Utf8).expect("text"), &cast(after, &DataType::Utf8).expect("text"));
        }
        assert_eq!(codec.fixed_width(), None);
        let numbers = RowCodec::try_new(vec![DataType::Int64, DataType::Boolean]).expect("types");
        assert_eq!(numbers.fixed_width(), Some(11));
    }

    #[test]
    fn bytes_follow_the_sort_options() {
        let descending = SortOptions { descending: true, nulls_first: false };
        let codec = RowCodec::try_ordered(vec![(DataType::Utf8, descending)]).expect("types");
        let column: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
        let rows = codec.encode(&[column], 3).expect("rows");
        let mut order = vec![0, 1, 2];
        order.sort_by_key(|i| rows.row(*i));
        assert_eq!(order, [2, 0, 1]);
    }

    #[test]
    fn no_columns_make_empty_rows() {
        let codec = RowCodec::try_new(Vec::new()).expect("types");
        assert_eq!(codec.encode(&[], 4).expect("rows").num_rows(), 4);
        assert_eq!(codec.fixed_width(), Some(0));
    }
}

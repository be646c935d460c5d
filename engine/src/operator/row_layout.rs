//! How an operator that keeps rows under keys writes them: the columns it orders by first, then the others.
//!
//! A column that is in the key is left out, unless its bits can differ while its values are equal (floats): those come back as
//! they came in. Columns go in as the input has them and come out as the input has them.

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use arrow::row::Rows;

use super::keyed::Keys;
use crate::error::Result;
use crate::state::canonical::has_floats;
use crate::state::row_codec::RowCodec;

/// Ascending, NULL last: as Postgres orders where nothing is said.
const TIES: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The layout of kept rows.
#[derive(Debug)]
pub(super) struct RowLayout {
    columns: usize,
    keys: Vec<usize>,
    /// The input columns in a row, those ordered by first.
    kept: Vec<usize>,
    codec: RowCodec,
    order: RowCodec,
    order_columns: Vec<usize>,
}

/// Rows written down.
#[derive(Debug)]
pub(super) struct EncodedRows {
    rows: Rows,
    order: Option<Rows>,
}

impl EncodedRows {
    /// A row's bytes. They compare as the rows do.
    pub fn row(&self, row: usize) -> &[u8] {
        self.rows.row(row).data()
    }

    /// How many of a row's bytes are the columns that rows are ordered by; 0 if that was not asked for.
    pub fn order_length(&self, row: usize) -> usize {
        self.order.as_ref().map_or(0, |order| order.row_len(row))
    }
}

impl RowLayout {
    /// The layout for rows of `input` under the key columns `keys`, ordered by `order`, ties by the other columns.
    pub fn try_new(input: &SchemaRef, keys: &[usize], order: &[(usize, SortOptions)]) -> Result<Self> {
        let data_type = |column: usize| input.field(column).data_type().clone();
        let mut sorted: Vec<(usize, SortOptions)> = Vec::new();
        for (column, options) in order {
            if sorted.iter().all(|(other, _)| other != column) {
                sorted.push((*column, *options));
            }
        }
        let order_columns: Vec<usize> = sorted.iter().map(|(column, _)| *column).collect();
        let order = RowCodec::try_ordered(sorted.iter().map(|(column, o)| (data_type(*column), *o)).collect())?;
        let in_key = |column: &usize| keys.contains(column) && !has_floats(input.field(*column).data_type());
        let rest = (0..input.fields().len()).filter(|column| !order_columns.contains(column) && !in_key(column));
        sorted.extend(rest.map(|column| (column, TIES)));
        Ok(Self {
            columns: input.fields().len(),
            keys: keys.to_vec(),
            codec: RowCodec::try_ordered(sorted.iter().map(|(column, o)| (data_type(*column), *o)).collect())?,
            kept: sorted.into_iter().map(|(column, _)| column).collect(),
            order,
            order_columns,
        })
    }

    /// The key columns of an input's columns.
    pub fn keys(&self, columns: &[ArrayRef]) -> Vec<ArrayRef> {
        self.keys.iter().map(|key| columns[*key].clone()).collect()
    }

    /// Writes `rows` rows of the input's columns; with `measure_order`, also how long the ordered part is.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize, measure_order: bool) -> Result<EncodedRows> {
        let pick = |of: &[usize]| of.iter().map(|column| columns[*column].clone()).collect::<Vec<_>>();
        let order = measure_order.then(|| self.order.encode(&pick(&self.order_columns), rows)).transpose()?;
        Ok(EncodedRows { rows: self.codec.encode(&pick(&self.kept), rows)?, order })
    }

    /// The input's columns of rows and the slots of their keys.
    pub fn decode<'a>(
        &self,
        keys: &Keys,
        slots: impl Iterator<Item = u32>,
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<ArrayRef>> {
        let key_columns = keys.columns(slots)?;
        let kept = self.codec.decode(rows.collect::<Vec<_>>().into_iter())?;
        let find = |column: usize| match self.kept.iter().position(|kept| *kept == column) {
            Some(place) => kept[place].clone(),
            None => {
                let place = self.keys.iter().position(|key| *key == column);
                key_columns[place.expect("a column is kept or in the key")].clone()
            }
        };
        Ok((0..self.columns).map(find).collect())
    }

    /// The codec of kept rows.
    pub fn codec(&self) -> &RowCodec {
        &self.codec
    }

    /// The length of every row in bytes, if it does not depend on the values.
    pub fn fixed_width(&self) -> Option<usize> {
        self.codec.fixed_width()
    }
}

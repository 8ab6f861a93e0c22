//! Rows to Arrow batches as Delta wants them.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Int64Builder, RecordBatch, StringBuilder,
        TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use yibiao_records::{Column, ColumnType, SchemaError, TableSchema, Value, cells::CellRef};

use crate::Error;

/// The Arrow type of a column in a Delta table: Delta knows only microseconds.
pub fn delta_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => other.arrow(),
    }
}

/// The Arrow schema of a lake table, with the titles as comments; everything is nullable.
pub fn delta_schema(table: &TableSchema) -> SchemaRef {
    let field = |column: &Column| {
        let mut title = column.title.clone();
        if let Some(unit) = &column.unit {
            title = format!("{title}（{unit}）");
        }
        let field = Field::new(&column.name, delta_type(column.column_type), true);
        if title.is_empty() { field } else { field.with_metadata([("comment".to_owned(), title)].into()) }
    };
    Arc::new(Schema::new(table.columns.iter().map(field).collect::<Vec<_>>()))
}

/// Rows in the order of the table's columns as one batch; what a row lacks at its end is null.
pub fn batch<'a>(table: &TableSchema, rows: &[impl AsRef<[Value]> + 'a]) -> Result<RecordBatch, Error> {
    let mut builder = RowsBuilder::new(table);
    for row in rows {
        row.as_ref().iter().for_each(|value| builder.push(value.into()));
        builder.end_row()?;
    }
    builder.finish()
}

/// Makes a batch cell by cell, so that nothing is copied twice.
#[derive(Debug)]
pub struct RowsBuilder {
    table: String,
    schema: SchemaRef,
    columns: Vec<(Column, Cells)>,
    /// The column of the next cell.
    next: usize,
    rows: usize,
    /// The first cell of the row that does not fit its column.
    wrong: Option<SchemaError>,
}

impl RowsBuilder {
    pub fn new(table: &TableSchema) -> Self {
        let columns =
            table.columns.iter().map(|column| (column.clone(), Cells::new(column.column_type))).collect();
        Self {
            table: table.name.clone(),
            schema: delta_schema(table),
            columns,
            next: 0,
            rows: 0,
            wrong: None,
        }
    }

    /// The row's next cell.
    pub fn push(&mut self, cell: CellRef<'_>) {
        if let Some((column, cells)) = self.columns.get_mut(self.next)
            && !cells.push(cell)
        {
            cells.push(CellRef::Null);
            self.wrong.get_or_insert_with(|| SchemaError::Type {
                column: column.name.clone(),
                expected: column.column_type,
                value: cell.into(),
            });
        }
        self.next += 1;
    }

    /// Null in the row's columns before this one that got no cell.
    pub fn pad_to(&mut self, column: usize) {
        while self.next < column {
            self.push(CellRef::Null);
        }
    }

    /// Ends the row. After an error the batch is of no use.
    pub fn end_row(&mut self) -> Result<(), Error> {
        let expected = self.columns.len();
        self.pad_to(expected);
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong.into());
        }
        let found = std::mem::take(&mut self.next);
        if found > expected {
            return Err(SchemaError::Width { table: self.table.clone(), found, expected }.into());
        }
        self.rows += 1;
        Ok(())
    }

    pub fn width(&self) -> usize {
        self.columns.len()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows so far; it begins anew.
    pub fn finish(&mut self) -> Result<RecordBatch, Error> {
        self.rows = 0;
        let columns = self.columns.iter_mut().map(|(_, cells)| cells.finish()).collect();
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|source| Error::Arrow {
            doing: "making a batch for",
            table: self.table.clone(),
            source,
        })
    }
}

/// One column's cells.
#[derive(Debug)]
enum Cells {
    Text(StringBuilder),
    Int(Int64Builder),
    Decimal(Decimal128Builder),
    Bool(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Cells {
    fn new(column_type: ColumnType) -> Self {
        let arrow = delta_type(column_type);
        match column_type {
            ColumnType::Text => Cells::Text(StringBuilder::new()),
            ColumnType::Int => Cells::Int(Int64Builder::new()),
            ColumnType::Decimal => Cells::Decimal(Decimal128Builder::new().with_data_type(arrow)),
            ColumnType::Bool => Cells::Bool(BooleanBuilder::new()),
            ColumnType::Date => Cells::Date(Date32Builder::new()),
            ColumnType::Timestamp => {
                Cells::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(arrow))
            }
        }
    }

    /// False where the cell is of another type; then nothing was added.
    fn push(&mut self, cell: CellRef<'_>) -> bool {
        match (self, cell) {
            (Cells::Text(builder), CellRef::Text(v)) => builder.append_value(v),
            (Cells::Text(builder), CellRef::Null) => builder.append_null(),
            (Cells::Int(builder), CellRef::Int(v)) => builder.append_value(v),
            (Cells::Int(builder), CellRef::Null) => builder.append_null(),
            (Cells::Decimal(builder), CellRef::Decimal(v)) => builder.append_value(i128::from(v)),
            (Cells::Decimal(builder), CellRef::Null) => builder.append_null(),
            (Cells::Bool(builder), CellRef::Bool(v)) => builder.append_value(v),
            (Cells::Bool(builder), CellRef::Null) => builder.append_null(),
            (Cells::Date(builder), CellRef::Date(v)) => builder.append_value(v),
            (Cells::Date(builder), CellRef::Null) => builder.append_null(),
            // What microseconds cannot say is null.
            (Cells::Timestamp(builder), CellRef::Timestamp(v)) => {
                builder.append_option(v.checked_mul(1_000));
            }
            (Cells::Timestamp(builder), CellRef::Null) => builder.append_null(),
            _ => return false,
        }
        true
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Cells::Text(builder) => Arc::new(builder.finish()),
            Cells::Int(builder) => Arc::new(builder.finish()),
            Cells::Decimal(builder) => Arc::new(builder.finish()),
            Cells::Bool(builder) => Arc::new(builder.finish()),
            Cells::Date(builder) => Arc::new(builder.finish()),
            Cells::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::compute::cast;
    use proptest::prelude::*;
    use yibiao_records::schema;

    use super::*;

    const TYPES: [ColumnType; 6] = [
        ColumnType::Text,
        ColumnType::Int,
        ColumnType::Decimal,
        ColumnType::Bool,
        ColumnType::Date,
        ColumnType::Timestamp,
    ];

    fn table() -> TableSchema {
        let columns =
            TYPES.iter().enumerate().map(|(n, of)| Column::new(&format!("c{n}"), *of, "")).collect();
        TableSchema { name: "t".into(), columns }
    }

    fn row() -> impl Strategy<Value = Vec<Value>> {
        let of = |column_type: ColumnType| {
            let value = match column_type {
                ColumnType::Text => "\\PC{0,5}".prop_map(Value::Text).boxed(),
                ColumnType::Int => any::<i64>().prop_map(Value::Int).boxed(),
                ColumnType::Decimal => any::<i64>().prop_map(Value::Decimal).boxed(),
                ColumnType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
                ColumnType::Date => any::<i32>().prop_map(Value::Date).boxed(),
                ColumnType::Timestamp => any::<i64>().prop_map(Value::Timestamp).boxed(),
            };
            prop_oneof![1 => Just(Value::Null), 3 => value]
        };
        (TYPES.map(of), 0..=TYPES.len()).prop_map(|(values, width)| {
            let mut row = Vec::from(values);
            row.truncate(width);
            row
        })
    }

    proptest! {
        /// Against one column after the other, cast to what Delta wants.
        #[test]
        fn rows_become_the_columns_that_they_are_made_of(rows in prop::collection::vec(row(), 0..20)) {
            let table = table();
            let made = batch(&table, &rows).unwrap();
            for (index, column) in table.columns.iter().enumerate() {
                let values = rows.iter().map(|row| row.get(index).unwrap_or(&Value::Null));
                let wanted = schema::array(column, values).unwrap();
                let wanted = cast(&wanted, &delta_type(column.column_type)).unwrap();
                prop_assert_eq!(made.column(index), &wanted);
            }
        }
    }

    #[test]
    fn a_cell_of_another_type_and_a_row_that_is_too_long_are_errors() {
        let error = batch(&table(), &[vec![Value::Int(1)]]).unwrap_err().to_string();
        assert!(error.contains("c0"), "{error}");
        let error = batch(&table(), &[vec![Value::Null; 7]]).unwrap_err().to_string();
        assert!(error.contains('7'), "{error}");
    }
}

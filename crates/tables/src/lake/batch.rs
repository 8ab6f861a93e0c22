//! Rows to Arrow batches as Delta wants them.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use yibiao_records::{Column, ColumnType, TableSchema, Value, schema};

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

/// Rows that all have the table's columns, in its order, as one batch.
pub fn batch<'a>(table: &TableSchema, rows: &[impl AsRef<[Value]> + 'a]) -> Result<RecordBatch, Error> {
    let columns = table
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let null = &Value::Null;
            let values = rows.iter().map(|row| row.as_ref().get(index).unwrap_or(null));
            let array = schema::array(column, values)?;
            convert(table, array, &delta_type(column.column_type))
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(delta_schema(table), columns).map_err(|source| Error::Arrow {
        doing: "making a batch for",
        table: table.name.clone(),
        source,
    })
}

fn convert(table: &TableSchema, array: ArrayRef, wanted: &DataType) -> Result<ArrayRef, Error> {
    if array.data_type() == wanted {
        return Ok(array);
    }
    cast(&array, wanted).map_err(|source| Error::Arrow {
        doing: "converting a column of",
        table: table.name.clone(),
        source,
    })
}

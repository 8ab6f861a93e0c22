//! The table that says what the others are, in the users' language.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use datafusion::{catalog::TableProvider, common::Result, datasource::MemTable};

use crate::lake::Lake;

pub const NAME: &str = "catalogue";

/// One row a column of every table.
pub fn table(lake: &Lake) -> Result<Arc<dyn TableProvider>> {
    let rows: Vec<_> = lake
        .tables()
        .flat_map(|table| table.schema.columns.iter().map(move |column| (table, column)))
        .collect();
    let text = |values: Vec<Option<String>>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("table_name", text(rows.iter().map(|(table, _)| Some(table.name.clone())).collect())),
        ("table_title", text(rows.iter().map(|(table, _)| Some(table.title.clone())).collect())),
        ("column_name", text(rows.iter().map(|(_, column)| Some(column.name.clone())).collect())),
        ("column_title", text(rows.iter().map(|(_, column)| Some(column.title.clone())).collect())),
        (
            "type",
            text(rows.iter().map(|(_, c)| Some(format!("{:?}", c.column_type).to_lowercase())).collect()),
        ),
        ("unit", text(rows.iter().map(|(_, column)| column.unit.clone()).collect())),
        (
            "personal",
            Arc::new(rows.iter().map(|(_, column)| Some(column.personal)).collect::<BooleanArray>()),
        ),
    ];
    let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    debug_assert_eq!(schema.field(0).data_type(), &DataType::Utf8);
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect())?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

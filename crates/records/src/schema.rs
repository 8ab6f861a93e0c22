//! Columns, fact kinds and tables, and their Arrow form.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanBuilder, Date32Builder, Decimal128Builder, Int64Builder,
        StringBuilder, TimestampMillisecondBuilder,
    },
    datatypes::{
        DataType, Date32Type, Decimal128Type, Field, Int64Type, Schema, SchemaRef, TimeUnit,
        TimestampMillisecondType,
    },
};
use serde::{Deserialize, Serialize};

use crate::Value;

/// A value that does not fit its column.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("column {column} is {expected:?} and cannot hold {value:?}")]
    Type { column: String, expected: ColumnType, value: Value },
    #[error("a row of {table} has {found} cells, its schema {expected}")]
    Width { table: String, found: usize, expected: usize },
    #[error("column {column} has the Arrow type {found}, which is not that of {expected:?}")]
    Arrow { column: String, found: DataType, expected: ColumnType },
}

/// The types that cells have, in every fact and table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    Text,
    Int,
    /// Thousandths; `DECIMAL(18, 3)` in tables.
    Decimal,
    Bool,
    Date,
    /// Milliseconds, UTC.
    Timestamp,
}

impl ColumnType {
    pub fn arrow(self) -> DataType {
        match self {
            ColumnType::Text => DataType::Utf8,
            ColumnType::Int => DataType::Int64,
            ColumnType::Decimal => DataType::Decimal128(18, 3),
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Date => DataType::Date32,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        }
    }

    /// Whether a column of this type may hold `value`; null always may.
    pub fn admits(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (_, Value::Null)
                | (ColumnType::Text, Value::Text(_))
                | (ColumnType::Int, Value::Int(_))
                | (ColumnType::Decimal, Value::Decimal(_))
                | (ColumnType::Bool, Value::Bool(_))
                | (ColumnType::Date, Value::Date(_))
                | (ColumnType::Timestamp, Value::Timestamp(_))
        )
    }
}

/// One column of a fact kind or table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// In the users' language.
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub unit: Option<String>,
    /// Never leaves for a centre.
    #[serde(default)]
    pub personal: bool,
}

impl Column {
    pub fn new(name: &str, column_type: ColumnType, title: &str) -> Self {
        Self { name: name.into(), column_type, title: title.into(), unit: None, personal: false }
    }
}

/// What a feed's records become: `pipelines/facts/<name>.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactKind {
    pub name: String,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub description: String,
    /// The payload, beside what every fact has (place, validity, provenance).
    pub columns: Vec<Column>,
}

impl FactKind {
    /// `std.water`
    pub fn std_topic(&self) -> String {
        format!("std.{}", self.name)
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// All fact kinds by name.
#[derive(Debug, Clone, Default)]
pub struct FactKinds(BTreeMap<String, Arc<FactKind>>);

impl FactKinds {
    /// Of two kinds with one name the later stays.
    pub fn new(kinds: impl IntoIterator<Item = FactKind>) -> Self {
        Self(kinds.into_iter().map(|kind| (kind.name.clone(), Arc::new(kind))).collect())
    }

    pub fn get(&self, name: &str) -> Option<&Arc<FactKind>> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<FactKind>> {
        self.0.values()
    }
}

/// A fused table or change log: a name and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    pub name: String,
    pub columns: Vec<Column>,
}

impl TableSchema {
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    pub fn arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(arrow_field).collect::<Vec<_>>()))
    }

    /// Rows to Arrow columns, in the order of the schema.
    pub fn arrays(&self, rows: &[&[Value]]) -> Result<Vec<ArrayRef>, SchemaError> {
        if let Some(row) = rows.iter().find(|row| row.len() != self.columns.len()) {
            return Err(SchemaError::Width {
                table: self.name.clone(),
                found: row.len(),
                expected: self.columns.len(),
            });
        }
        self.columns
            .iter()
            .enumerate()
            .map(|(index, column)| array(column, rows.iter().map(|row| &row[index])))
            .collect()
    }
}

/// The nullable Arrow field of a column.
pub fn arrow_field(column: &Column) -> Field {
    Field::new(&column.name, column.column_type.arrow(), true)
}

/// One column's values as an Arrow array.
pub fn array<'a>(column: &Column, values: impl Iterator<Item = &'a Value>) -> Result<ArrayRef, SchemaError> {
    let wrong = |value: &Value| SchemaError::Type {
        column: column.name.clone(),
        expected: column.column_type,
        value: value.clone(),
    };
    macro_rules! build {
        ($builder:expr, $($pattern:pat => $to:expr),+) => {{
            let mut builder = $builder;
            for value in values {
                match value {
                    Value::Null => builder.append_null(),
                    $($pattern => builder.append_value($to),)+
                    other => return Err(wrong(other)),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match column.column_type {
        ColumnType::Text => build!(StringBuilder::new(), Value::Text(v) => v),
        ColumnType::Int => build!(Int64Builder::new(), Value::Int(v) => *v),
        ColumnType::Decimal => build!(
            Decimal128Builder::new().with_data_type(DataType::Decimal128(18, 3)),
            Value::Decimal(v) => i128::from(*v)
        ),
        ColumnType::Bool => build!(BooleanBuilder::new(), Value::Bool(v) => *v),
        ColumnType::Date => build!(Date32Builder::new(), Value::Date(v) => *v),
        ColumnType::Timestamp => build!(
            TimestampMillisecondBuilder::new().with_timezone("UTC"),
            Value::Timestamp(v) => *v
        ),
    })
}

/// The cell at `row` of an array that [`array`] made.
pub fn value_at(column: &Column, array: &dyn Array, row: usize) -> Result<Value, SchemaError> {
    if array.data_type() != &column.column_type.arrow() {
        return Err(SchemaError::Arrow {
            column: column.name.clone(),
            found: array.data_type().clone(),
            expected: column.column_type,
        });
    }
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.column_type {
        ColumnType::Text => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        ColumnType::Int => Value::Int(array.as_primitive::<Int64Type>().value(row)),
        ColumnType::Decimal => Value::Decimal(array.as_primitive::<Decimal128Type>().value(row) as i64),
        ColumnType::Bool => Value::Bool(array.as_boolean().value(row)),
        ColumnType::Date => Value::Date(array.as_primitive::<Date32Type>().value(row)),
        ColumnType::Timestamp => {
            Value::Timestamp(array.as_primitive::<TimestampMillisecondType>().value(row))
        }
    })
}

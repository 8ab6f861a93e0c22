//! A contract's names as indices, once, so that no record is decoded by looking names up.

use std::collections::HashMap;

use yibiao_records::{ColumnType, Value};

use crate::contract::{ColumnSource, Contract, Otherwise};

/// Indices of fields by their use.
#[derive(Debug)]
pub(super) struct Plan {
    pub key: Vec<usize>,
    pub address: Vec<usize>,
    pub address_required: bool,
    pub place_name: Option<usize>,
    pub external_id: Option<usize>,
    pub city: Option<usize>,
    pub default_city: Option<String>,
    pub valid_from: Vec<usize>,
    pub valid_to: Option<usize>,
    pub withdrawn: Option<(usize, Vec<String>)>,
    pub columns: Vec<(ColumnType, Source)>,
    /// Per field: never gets past the door.
    pub dropped: Vec<bool>,
    /// Per field: its values are not repeated in messages.
    pub quiet: Vec<bool>,
}

#[derive(Debug)]
pub(super) enum Source {
    Field(usize),
    Mapped { field: usize, map: HashMap<String, Value>, otherwise: Otherwise },
    Constant(Value),
}

impl Plan {
    pub fn of(contract: &Contract) -> Self {
        let index =
            |name: &String| contract.field(name).expect("invariant: a checked contract names its own fields");
        let place = contract.place.clone().unwrap_or_default();
        let fact = &contract.fact;
        let columns = fact.columns.iter().map(|column| {
            let source = match &column.source {
                ColumnSource::Absent => Source::Constant(Value::Null),
                ColumnSource::Constant(value) => Source::Constant(value.clone()),
                ColumnSource::Field { name, map, .. } if map.is_empty() => Source::Field(index(name)),
                ColumnSource::Field { name, map, otherwise } => Source::Mapped {
                    field: index(name),
                    map: map.iter().map(|(from, to)| (from.clone(), code(column.column_type, to))).collect(),
                    otherwise: *otherwise,
                },
            };
            (column.column_type, source)
        });
        let privacy = &contract.privacy;
        Self {
            key: contract.key_fields(),
            address: place.address.iter().map(index).collect(),
            address_required: place.address_required,
            place_name: place.name.as_ref().map(index),
            external_id: place.external_id.as_ref().map(index),
            city: place.city.as_ref().map(index),
            default_city: place.area.city,
            valid_from: fact.valid_from.iter().map(index).collect(),
            valid_to: fact.valid_to.as_ref().map(index),
            withdrawn: fact
                .withdrawn
                .as_ref()
                .map(|withdrawn| (index(&withdrawn.field), withdrawn.when.clone())),
            columns: columns.collect(),
            dropped: contract.fields.iter().map(|field| privacy.drop.contains(&field.name)).collect(),
            quiet: contract
                .fields
                .iter()
                .map(|field| privacy.pseudonymises(&field.name) || privacy.restrict.contains(&field.name))
                .collect(),
        }
    }
}

fn code(column_type: ColumnType, code: &str) -> Value {
    match column_type {
        ColumnType::Bool => Value::Bool(code == "true"),
        _ => Value::Text(code.to_owned()),
    }
}

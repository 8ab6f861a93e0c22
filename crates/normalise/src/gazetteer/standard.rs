//! Facts of places and names in the form in which the gazetteer is built.

use yibiao_address::{Level, NameCategory, NameChange, StandardAddress, Status};
use yibiao_records::{FactKind, PlaceId, Value};

use crate::Error;

/// Separates aliases and former names, in Latin and in Chinese writing.
const SEPARATORS: [char; 4] = [';', '；', '、', ','];

/// Finds the columns of the two kinds once.
#[derive(Debug)]
pub struct Columns {
    place: [usize; PLACE.len()],
    name: [usize; NAME.len()],
}

const PLACE: [&str; 15] = [
    "address",
    "level",
    "status",
    "aliases",
    "city",
    "county",
    "township",
    "community",
    "road",
    "number",
    "compound",
    "building",
    "unit",
    "room",
    "division_code",
];
const NAME: [&str; 6] = ["category", "name", "former_names", "county", "township", "status"];

impl Columns {
    pub fn new(place: &FactKind, name: &FactKind) -> Result<Self, Error> {
        Ok(Self { place: find(place, PLACE)?, name: find(name, NAME)? })
    }

    pub fn standard_address(&self, place: PlaceId, payload: &[Value]) -> StandardAddress {
        let text = |of: &str| {
            let index = PLACE.iter().position(|name| *name == of).expect("invariant: a column of PLACE");
            text(payload, self.place[index])
        };
        // A list of compounds may tell no more than a name and a line of address: the roads are in the line then. As a
        // column the name would say that the row is structured, and the line would not be read.
        let beside = ["road", "number", "building", "unit", "room"];
        let (compound, name) = match text("compound").trim() {
            name if !name.is_empty()
                && !text("address").trim().is_empty()
                && beside.iter().all(|of| text(of).trim().is_empty()) =>
            {
                ("", Some(name.to_owned()))
            }
            name => (name, None),
        };
        StandardAddress {
            place: place.get() as u64,
            level: Level::named(text("level")).unwrap_or_default(),
            status: Status::named(text("status")).unwrap_or_default(),
            city: text("city").to_owned(),
            county: text("county").to_owned(),
            township: text("township").to_owned(),
            community: text("community").to_owned(),
            division_code: text("division_code").to_owned(),
            road: text("road").to_owned(),
            number: text("number").to_owned(),
            compound: compound.to_owned(),
            name,
            building: text("building").to_owned(),
            unit: text("unit").to_owned(),
            room: text("room").to_owned(),
            aliases: split(text("aliases")),
            address: text("address").to_owned(),
            ..StandardAddress::default()
        }
    }

    /// None for a name of neither roads nor compounds.
    pub fn name_change(&self, payload: &[Value]) -> Option<NameChange> {
        let text = |index: usize| text(payload, self.name[index]);
        Some(NameChange {
            category: match text(0) {
                "road" => NameCategory::Road,
                "compound" => NameCategory::Compound,
                _ => return None,
            },
            name: text(1).to_owned(),
            former: split(text(2)),
            county: text(3).to_owned(),
            township: text(4).to_owned(),
            withdrawn: text(5) == "withdrawn",
        })
    }
}

fn find<const N: usize>(kind: &FactKind, names: [&'static str; N]) -> Result<[usize; N], Error> {
    let mut found = [0; N];
    for (slot, column) in found.iter_mut().zip(names) {
        *slot =
            kind.column(column).ok_or_else(|| Error::GazetteerColumn { kind: kind.name.clone(), column })?;
    }
    Ok(found)
}

fn text(payload: &[Value], column: usize) -> &str {
    payload.get(column).and_then(Value::as_text).unwrap_or_default()
}

fn split(text: &str) -> Vec<String> {
    text.split(SEPARATORS).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use yibiao_records::{Column, ColumnType};

    use super::*;

    fn kind(name: &str, columns: &[&str]) -> FactKind {
        FactKind {
            name: name.into(),
            title: String::new(),
            description: String::new(),
            columns: columns.iter().map(|name| Column::new(name, ColumnType::Text, "")).collect(),
        }
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = Columns::new(&kind("place", &PLACE[1..]), &kind("place_name", &NAME)).unwrap_err();
        assert!(error.to_string().contains("'address'"), "{error}");
    }

    #[test]
    fn of_a_compound_with_a_name_and_a_line_alone_the_line_is_read() {
        let columns = Columns::new(&kind("place", &PLACE), &kind("place_name", &NAME)).unwrap();
        let place = PlaceId::derive("police/standard-addresses", "1");
        let column = |of: &str| PLACE.iter().position(|name| *name == of).unwrap();
        let mut payload = vec![Value::Null; PLACE.len()];
        payload[column("compound")] = Value::Text("锦绣花园".into());
        payload[column("address")] = Value::Text("(江宁)望月大街160号".into());
        let address = columns.standard_address(place, &payload);
        assert_eq!((address.name.as_deref(), address.compound.as_str()), (Some("锦绣花园"), ""));
        payload[column("road")] = Value::Text("望月大街".into());
        let address = columns.standard_address(place, &payload);
        assert_eq!((address.name, address.compound.as_str()), (None, "锦绣花园"));
    }

    #[test]
    fn aliases_are_split_at_every_separator_in_use() {
        let columns = Columns::new(&kind("place", &PLACE), &kind("place_name", &NAME)).unwrap();
        let mut payload = vec![Value::Null; PLACE.len()];
        payload[3] = Value::Text("锦绣花园;锦绣新村；老望月厂宿舍".into());
        payload[1] = Value::Text("dwelling".into());
        payload[2] = Value::Text("withdrawn".into());
        let place = PlaceId::derive("police/standard-addresses", "1");
        let address = columns.standard_address(place, &payload);
        assert_eq!(address.aliases, ["锦绣花园", "锦绣新村", "老望月厂宿舍"]);
        assert_eq!((address.level, address.status), (Level::Dwelling, Status::Withdrawn));
        assert_eq!(address.place, place.get() as u64);
    }
}

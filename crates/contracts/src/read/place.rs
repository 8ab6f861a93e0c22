//! `yibiao.place`: where a record says where.

use yibiao_records::ColumnType;

use super::field_named;
use crate::{
    contract::{Area, Field, PlaceMapping, Privacy},
    problem::Sink,
    yaml::{Kind, Node, Section},
};

/// The province that this installation is for, where the contract does not say.
const DEFAULT_PROVINCE: &str = "江苏省";

/// Outer None: problems. Inner None: the feed says nothing about where, on purpose.
pub(super) fn read(
    node: &Node,
    fields: &[Field],
    privacy: &Privacy,
    sink: &mut Sink<'_>,
) -> Option<Option<PlaceMapping>> {
    if node.text() == Some("none") {
        return Some(None);
    }
    let mut section = Section::open(node, "yibiao.place", sink)?;
    let usable = |name: &str, line: u32, sink: &mut Sink<'_>| {
        let index = field_named(fields, name, line, "yibiao.place", sink)?;
        if fields[index].field_type != ColumnType::Text {
            sink.report(
                line,
                format!("yibiao.place names '{name}', which is no text"),
                "declare it as logicalType: string",
            );
        }
        if privacy.removes(name) {
            sink.report(
                line,
                format!("yibiao.place names '{name}', which yibiao.privacy takes out"),
                "an address is kept or dropped, not both",
            );
        }
        Some(name.to_owned())
    };
    let address: Vec<String> = section
        .texts("address", sink)
        .into_iter()
        .filter_map(|(name, line)| usable(name, line, sink))
        .collect();
    let mut one = |key, sink: &mut Sink<'_>| {
        let (name, line) = section.text(key, sink)?;
        usable(name, line, sink)
    };
    let (name, external_id, city) = (one("name", sink), one("external_id", sink), one("city", sink));
    if address.is_empty() && name.is_none() && external_id.is_none() {
        sink.report(
            section.line(),
            "yibiao.place gives neither address, name nor external_id",
            "name at least one field, or write `value: none`",
        );
    }
    let address_required = match section.node("address_required").map(|node| (&node.kind, node.line)) {
        None => !address.is_empty(),
        Some((Kind::Bool(required), _)) => *required,
        Some((_, line)) => {
            sink.report(line, "yibiao.place.address_required is not true or false", "write true or false");
            true
        }
    };
    let area = area(section.node("area"), sink);
    section.finish(sink);
    Some(Some(PlaceMapping { address, address_required, name, external_id, city, area }))
}

fn area(node: Option<&Node>, sink: &mut Sink<'_>) -> Area {
    let default = Area { province: DEFAULT_PROVINCE.into(), city: None, county: None };
    let Some(mut section) = node.and_then(|node| Section::open(node, "yibiao.place.area", sink)) else {
        return default;
    };
    let mut one = |key, sink: &mut Sink<'_>| section.text(key, sink).map(|(text, _)| text.to_owned());
    let area = Area {
        province: one("province", sink).unwrap_or(default.province),
        city: one("city", sink),
        county: one("county", sink),
    };
    if area.county.is_some() && area.city.is_none() {
        sink.report(section.line(), "yibiao.place.area gives a county without its city", "add the city");
    }
    section.finish(sink);
    area
}

//! Where a feed's facts lie: the feed defines places, names them, or tells an address that is resolved.

use yibiao_address::{DivisionId, Divisions, Level};
use yibiao_contracts::{Contract, Decoded};
use yibiao_records::{FactKind, FeedId, PlaceId, Reason, Value};

use crate::{
    Error,
    decode::Refusal,
    diff::{Located, level_named},
};

/// The kind whose facts are the standard addresses.
pub const PLACE_KIND: &str = "place";
/// The kind whose facts are names of roads and compounds.
pub const NAME_KIND: &str = "place_name";

/// How a feed's records come to their place.
#[derive(Debug, Clone)]
pub enum PlaceSource {
    /// Its records are the standard addresses: the place's id follows from the feed's own.
    Defines(Defines),
    /// Its records are names of roads and compounds: a name is a place of its own.
    Names(Names),
    /// Its records tell an address, or the id of a standard address.
    Resolves(Resolves),
}

#[derive(Debug, Clone)]
pub struct Defines {
    authority: FeedId,
    level: usize,
    division_code: Option<usize>,
    /// Columns that name divisions, from the deepest up.
    names: Vec<usize>,
    province: Option<DivisionId>,
}

#[derive(Debug, Clone)]
pub struct Names {
    authority: FeedId,
    county: Option<usize>,
    township: Option<usize>,
    /// Where names of counties are looked for, as several cities have a 鼓楼区.
    area: Option<DivisionId>,
}

#[derive(Debug, Clone)]
pub struct Resolves {
    /// A coarser place is not enough for the feed's facts.
    pub level_min: Level,
    /// The feed whose standard addresses an external place id names.
    pub authority: Option<FeedId>,
    /// The city that a record lies in if it does not say so.
    pub city: Option<String>,
}

impl PlaceSource {
    /// By the contract's fact kind. `authority` is the feed that defines places, if there is one.
    pub fn new(contract: &Contract, kind: &FactKind, authority: Option<&FeedId>) -> Result<Self, Error> {
        let no_place = |missing| Error::NoPlace { feed: contract.feed.to_string(), missing };
        let place = contract.place.as_ref().ok_or_else(|| no_place("no address and no id"))?;
        let divisions = Divisions::bundled();
        let area = |name: &str| divisions.area(name);
        let smallest =
            [place.area.county.as_deref(), place.area.city.as_deref(), Some(place.area.province.as_str())];
        match kind.name.as_str() {
            PLACE_KIND => Ok(Self::Defines(Defines {
                authority: contract.feed.clone(),
                level: kind
                    .column("level")
                    .ok_or(Error::GazetteerColumn { kind: kind.name.clone(), column: "level" })?,
                division_code: kind.column("division_code"),
                names: ["community", "township", "county", "city", "province"]
                    .iter()
                    .filter_map(|column| kind.column(column))
                    .collect(),
                province: area(&place.area.province),
            })),
            NAME_KIND => Ok(Self::Names(Names {
                authority: contract.feed.clone(),
                county: kind.column("county"),
                township: kind.column("township"),
                area: smallest.into_iter().flatten().filter(|name| !name.is_empty()).find_map(area),
            })),
            _ if place.address.is_empty() && place.external_id.is_none() => {
                Err(no_place("neither address nor id"))
            }
            kind => Ok(Self::Resolves(Resolves {
                level_min: level_min(kind),
                authority: authority.cloned(),
                city: place.area.city.clone(),
            })),
        }
    }

    /// Whether records wait for a gazetteer.
    pub fn needs_gazetteer(&self) -> bool {
        matches!(self, Self::Resolves(_))
    }
}

/// How deep the place of a fact must be: what is metered or registered belongs to one dwelling, what happens or
/// has its seat somewhere may be told of a whole compound.
fn level_min(kind: &str) -> Level {
    match kind {
        "water" | "electricity" | "gas" | "registration" => Level::Dwelling,
        _ => Level::Compound,
    }
}

impl Defines {
    /// The record's own place.
    pub fn locate(&self, decoded: &Decoded) -> Result<Located, Refusal> {
        let text = |column: usize| decoded.payload.get(column).and_then(Value::as_text).unwrap_or_default();
        let level = level_named(text(self.level)).ok_or_else(|| {
            Refusal::new(
                Reason::BadValue,
                Some("level"),
                format!("地址级别“{}”不在值域内 (unknown level)", text(self.level)),
            )
        })?;
        let code = match self.division_code.map(text).filter(|code| !code.trim().is_empty()) {
            Some(code) => division_code(code).ok_or_else(|| {
                Refusal::new(
                    Reason::BadValue,
                    Some("division_code"),
                    format!("行政区划代码“{code}”不存在，应为 6、9 或 12 位现行代码 (no such division)"),
                )
            })?,
            None => self.by_names(&text).ok_or_else(|| {
                let detail = "行政区划代码为空，且省、市、区县、街道名称不能确定所属区划 (no division code, and the names do not tell)";
                Refusal::new(Reason::MissingValue, Some("division_code"), detail)
            })?,
        };
        if let Some(province) = self.province
            && let Some(found) = covering(code)
            && !Divisions::bundled().within(found, province)
        {
            let divisions = Divisions::bundled();
            let detail = format!(
                "行政区划代码 {code:012} 属于{}，不在{}内 (of another province)",
                line_name(found),
                divisions.shown_name(province)
            );
            return Err(Refusal::new(Reason::OtherProvince, Some("division_code"), detail));
        }
        let external = decoded.external_place_id.as_deref().unwrap_or(&decoded.source_key);
        Ok(Located {
            place: PlaceId::derive(self.authority.as_str(), external),
            level,
            provisional: false,
            division_code: code,
            match_reason: "defined",
            confidence: 1.0,
        })
    }

    /// The deepest division that the names tell of, each looked for within those above it.
    fn by_names<'a>(&self, text: &impl Fn(usize) -> &'a str) -> Option<u64> {
        let divisions = Divisions::bundled();
        let found = self
            .names
            .iter()
            .rev()
            .map(|&column| text(column))
            .filter(|name| !name.is_empty())
            .fold(self.province, |above, name| one_within(divisions, name, above).or(above))?;
        (divisions.get(found).level >= Level::City).then(|| divisions.get(found).code)
    }
}

impl Names {
    /// The name's own place, in the township or county that it is said to lie in.
    pub fn locate(&self, decoded: &Decoded) -> Result<Located, Refusal> {
        let divisions = Divisions::bundled();
        let text = |column: Option<usize>| {
            column.and_then(|column| decoded.payload.get(column)).and_then(Value::as_text).unwrap_or_default()
        };
        let (county, township) = (text(self.county), text(self.township));
        let counties = named_within(divisions, county, &self.area.map_or(vec![], |area| vec![area]));
        let townships = if counties.is_empty() && !county.is_empty() {
            Vec::new()
        } else {
            let above = if counties.is_empty() { self.area.into_iter().collect() } else { counties.clone() };
            named_within(divisions, township, &above)
        };
        // Of several namesakes (both 南京 and 徐州 have a 鼓楼区) the division that holds them all: the name is a place
        // of its own, the division only tells whose area it is.
        let found = [townships, counties].iter().find_map(|namesakes| holding(divisions, namesakes));
        let Some(found) = found else {
            let detail = if county.is_empty() && township.is_empty() {
                "所在区县和街道均为空 (neither county nor township is given)".to_owned()
            } else {
                format!(
                    "所在区县“{county}”、街道“{township}”均不是现行或曾用区划名称 (no division of these names)"
                )
            };
            return Err(Refusal::new(Reason::BadValue, Some("county"), detail));
        };
        let external = decoded.external_place_id.as_deref().unwrap_or(&decoded.source_key);
        Ok(Located {
            place: PlaceId::derive(self.authority.as_str(), external),
            level: "name",
            provisional: false,
            division_code: divisions.get(found).code,
            match_reason: "defined",
            confidence: 1.0,
        })
    }
}

/// The one division that bears this name, today or once, within `area`. Several that lie in one another count as
/// the widest: 鼓楼 may be a district and a township in it.
fn one_within(divisions: &Divisions, name: &str, area: Option<DivisionId>) -> Option<DivisionId> {
    match named_within(divisions, name, &area.into_iter().collect::<Vec<_>>())[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// The divisions that bear this name, today or once, within any of `areas` (none: anywhere), without those that lie
/// in one another.
fn named_within(divisions: &Divisions, name: &str, areas: &[DivisionId]) -> Vec<DivisionId> {
    if name.is_empty() {
        return Vec::new();
    }
    let inside = |id: &DivisionId| areas.is_empty() || areas.iter().any(|&area| divisions.within(*id, area));
    let mut found = match areas {
        [] => divisions.named(name),
        _ => areas.iter().flat_map(|&area| divisions.named_within(name, area)).collect(),
    };
    if found.is_empty() {
        let successors =
            divisions.former(name).into_iter().flat_map(|former| former.successors.iter().copied());
        found = successors.filter(inside).collect();
    }
    // A division stands before all that lies in it.
    found.sort_unstable();
    found.dedup();
    let mut widest: Vec<DivisionId> = Vec::with_capacity(found.len());
    for id in found {
        if widest.last().is_none_or(|&last| !divisions.within(id, last)) {
            widest.push(id);
        }
    }
    widest
}

/// The deepest division that all of these lie in.
fn holding(divisions: &Divisions, all: &[DivisionId]) -> Option<DivisionId> {
    let first = *all.first()?;
    divisions.line(first).find(|&above| all.iter().all(|&id| divisions.within(id, above)))
}

/// Today's division with this code, as 12 digits: the code itself, or the deepest known division it lies in
/// where a community is newer than the table.
fn division_code(code: &str) -> Option<u64> {
    let code = code.trim();
    if !matches!(code.len(), 6 | 9 | 12) || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = code.parse::<u64>().ok()? * 10u64.pow(12 - code.len() as u32);
    covering(number).map(|_| number)
}

/// The deepest known division that a 12-digit code lies in, at least its county.
fn covering(code: u64) -> Option<DivisionId> {
    let digits = format!("{code:012}");
    [12, 9, 6].iter().find_map(|&length| Divisions::bundled().id_by_code(&digits[..length]))
}

/// `广东省深圳市`
fn line_name(id: DivisionId) -> String {
    let divisions = Divisions::bundled();
    let mut names: Vec<&str> = divisions
        .line(id)
        .map(|id| divisions.get(id))
        .filter(|division| division.level <= Level::County)
        .map(|division| division.name)
        .collect();
    names.reverse();
    names.concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(payload: &[&str]) -> Decoded {
        Decoded {
            source_key: "DM-1".into(),
            address: None,
            place_name: None,
            city: None,
            external_place_id: Some("DM-1".into()),
            valid_from_ms: 0,
            valid_to_ms: None,
            withdrawn: false,
            payload: payload.iter().map(|text| Value::Text((*text).into())).collect(),
        }
    }

    fn names() -> Names {
        let area = Divisions::bundled().area("江苏省");
        Names {
            authority: "civil-affairs/place-names".parse().unwrap(),
            county: Some(0),
            township: Some(1),
            area,
        }
    }

    #[test]
    fn a_name_lies_in_its_township_or_county_or_in_what_holds_all_namesakes() {
        let code = |county, township| {
            names().locate(&named(&[county, township])).map(|located| located.division_code)
        };
        assert_eq!(code("玄武区", "梅园新村街道"), Ok(320_102_002_000));
        assert_eq!(code("玄武区", ""), Ok(320_102_000_000));
        assert_eq!(code("玄武区", "没有街道"), Ok(320_102_000_000));
        assert_eq!(code("鼓楼区", ""), Ok(320_000_000_000));
        assert_eq!(code("鼓楼区", "宁海路街道"), Ok(320_106_001_000));
        assert_eq!(code("白下区", ""), Ok(320_104_000_000));
        assert_eq!(code("没有区", "").unwrap_err().reason, Reason::BadValue);
        assert_eq!(code("", "").unwrap_err().reason, Reason::BadValue);
    }

    fn defines() -> Defines {
        Defines {
            authority: "police/standard-addresses".parse().unwrap(),
            level: 0,
            division_code: Some(1),
            names: vec![3, 2],
            province: Divisions::bundled().area("江苏省"),
        }
    }

    #[test]
    fn a_standard_address_has_a_level_and_a_division_of_its_province() {
        let locate = |row: &[&str]| {
            let located = defines().locate(&named(row)).map_err(|refusal| refusal.reason);
            located.map(|located| (located.level, located.division_code))
        };
        assert_eq!(locate(&["dwelling", "320106", "", ""]), Ok(("dwelling", 320_106_000_000)));
        assert_eq!(locate(&["dwelling", "320106002003", "", ""]), Ok(("dwelling", 320_106_002_003)));
        assert_eq!(locate(&["unit", "", "南京市", "鼓楼区"]), Ok(("unit", 320_106_000_000)));
        assert_eq!(locate(&["unit", "", "", ""]), Err(Reason::MissingValue));
        assert_eq!(locate(&["unit", "32010", "", ""]), Err(Reason::BadValue));
        assert_eq!(locate(&["unit", "999999", "", ""]), Err(Reason::BadValue));
        assert_eq!(locate(&["unit", "440304", "", ""]), Err(Reason::OtherProvince));
        assert_eq!(locate(&["storey", "320106", "", ""]), Err(Reason::BadValue));
    }

    #[test]
    fn an_id_follows_from_the_feed_and_its_own_id() {
        let located = defines().locate(&named(&["unit", "320106", "", ""])).unwrap();
        assert_eq!(located.place, PlaceId::derive("police/standard-addresses", "DM-1"));
        assert!(!located.provisional);
    }
}

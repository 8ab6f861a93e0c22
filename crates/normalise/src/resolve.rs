//! From an address to its place, by the gazetteer in force.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};
use yibiao_address::{Answer, Divisions, Level, Memo, PlaceView, Query, Reason as Match, Scratch, Status};
use yibiao_contracts::Decoded;
use yibiao_records::{PlaceId, Reason};

use crate::{
    decode::Refusal,
    diff::{Located, level_named},
    gazetteer::Edition,
    source::Resolves,
};

/// Where does it lie? What a record asks the gazetteer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question<'a> {
    /// Of a standard address: nothing else counts then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    city: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(default)]
    address: Cow<'a, str>,
}

impl<'a> Question<'a> {
    pub fn of(feed: &'a Resolves, decoded: &'a Decoded) -> Self {
        let borrowed = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        if feed.authority.is_some() && decoded.external_place_id.is_some() {
            let id = borrowed(&decoded.external_place_id);
            return Self { id, city: None, name: None, address: Cow::Borrowed("") };
        }
        Self {
            id: None,
            city: borrowed(&decoded.city).or(borrowed(&feed.city)),
            name: borrowed(&decoded.place_name),
            address: Cow::Borrowed(decoded.address.as_deref().unwrap_or_default()),
        }
    }

    fn query(&self) -> Query<'_> {
        Query { text: &self.address, city: self.city.as_deref(), name: self.name.as_deref() }
    }

    /// Equal for questions that are; never 0.
    pub fn hash(&self) -> u128 {
        let salt = self.id.as_ref().map_or(0, |id| xxh3_64(id.as_bytes()) | 1);
        Memo::<()>::key(&self.query(), salt).max(1)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: texts are JSON")
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Question<'static>> {
        serde_json::from_slice(bytes).ok()
    }
}

/// Whether another gazetteer may answer otherwise than by this refusal.
pub fn may_be_found_later(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AddressNotFound
            | Reason::AddressAmbiguous
            | Reason::AddressTooCoarse
            | Reason::OutsideArea
            | Reason::PlaceWithdrawn
            | Reason::UnknownPlace
    )
}

/// One thread's way to places: scratch space, and the places of the addresses that came before.
pub struct Places {
    scratch: Scratch,
    found: Memo<Result<Found, Refusal>>,
    kept: Memo<()>,
}

impl Places {
    pub fn new(cache_addresses_max: usize) -> Self {
        Self {
            scratch: Scratch::default(),
            found: Memo::new(cache_addresses_max),
            kept: Memo::new(cache_addresses_max),
        }
    }

    /// Whether a question was not asked before in this process, as far as is remembered.
    pub fn is_new(&mut self, asked: u128) -> bool {
        let is_new = self.kept.get(asked).is_none();
        if is_new {
            self.kept.put(asked, ());
        }
        is_new
    }

    /// The place of a record that begins to hold at `valid_from_ms`: by its id of a standard address if it tells one,
    /// else by its address. `asked` is the question's hash.
    ///
    /// # Errors
    /// A refusal with a reason and, in its detail, the candidates and what would decide between them.
    pub fn locate(
        &mut self,
        edition: &Edition,
        feed: &Resolves,
        question: &Question<'_>,
        asked: u128,
        valid_from_ms: i64,
    ) -> Result<Located, Refusal> {
        if let (Some(id), Some(authority)) = (&question.id, &feed.authority) {
            let found = by_id(edition, feed, PlaceId::derive(authority.as_str(), id), id)?;
            return found.at(edition, valid_from_ms);
        }
        let query = question.query();
        if query.text.trim().is_empty() && query.name.is_none_or(|name| name.trim().is_empty()) {
            return Err(Refusal::new(Reason::EmptyAddress, None, "地址为空 (the address is empty)"));
        }
        let salt = u64::from(edition.short()) << 8 | feed.level_min as u64;
        let key = asked ^ xxh3_128(&salt.to_le_bytes());
        let found = match self.found.get(key) {
            Some(found) => found.clone(),
            None => {
                let answer = edition.resolver().resolve(&query, &mut self.scratch);
                let found = judge(edition, feed, &answer);
                self.found.put(key, found.clone());
                found
            }
        };
        found?.at(edition, valid_from_ms)
    }
}

/// A place, whatever the day.
#[derive(Debug, Clone, Copy)]
struct Found {
    located: Located,
    /// The moment (ms) from which the place is no more; [`i64::MIN`] where it is not known.
    ended_at_ms: Option<i64>,
}

impl Found {
    /// The place, if it was there when the record begins to hold.
    fn at(self, edition: &Edition, valid_from_ms: i64) -> Result<Located, Refusal> {
        let Some(ended_at_ms) = self.ended_at_ms.filter(|at_ms| *at_ms <= valid_from_ms) else {
            return Ok(self.located);
        };
        let name = name_of(edition, self.located.place.get() as u64);
        let since = match chrono::DateTime::from_timestamp_millis(ended_at_ms) {
            Some(at) if ended_at_ms > i64::MIN => format!("自 {} ", at.to_rfc3339()),
            _ => String::new(),
        };
        let detail = format!(
            "标准地址“{name}”{since}已注销，记录在其后 (the standard address was withdrawn before the record)"
        );
        Err(Refusal::new(Reason::PlaceWithdrawn, None, detail))
    }
}

/// Of a withdrawn place the moment; of another None.
fn ended_at_ms(edition: &Edition, view: &PlaceView<'_>) -> Option<i64> {
    let withdrawn = view.status == Status::Withdrawn;
    withdrawn.then(|| place_id(view.place).and_then(|place| edition.ended().at_ms(place)).unwrap_or(i64::MIN))
}

/// Whether an answer is a place that the feed's facts can lie in. Where the room or the building is in doubt but
/// what holds it is certain, and deep enough for the feed, the fact lies there: a dispute in a compound whose building
/// nobody knows is still a dispute in that compound.
fn judge(edition: &Edition, feed: &Resolves, answer: &Answer) -> Result<Found, Refusal> {
    let refuse =
        |reason: Reason, words: &str| Err(Refusal::new(reason, None, explain(edition, answer, words)));
    let holds = answer.within.and_then(|place| edition.place(place));
    let within = holds.as_ref().filter(|view| view.level >= feed.level_min);
    let (place, level, confidence) = match (answer.place, within) {
        (Some(place), _) => (place, answer.level, answer.confidence),
        (None, Some(view)) => (view.place, view.level, WITHIN_CONFIDENCE),
        (None, None) => {
            let (reason, words) = why_not(answer.reason);
            return refuse(reason, words);
        }
    };
    if level < feed.level_min {
        let words = format!(
            "地址只能确定到{}，需要到{}，请补充楼栋、单元和户室 (too coarse: give building, unit and room)",
            chinese(level),
            chinese(feed.level_min)
        );
        return refuse(Reason::AddressTooCoarse, &words);
    }
    // A provisional room has no life cycle of its own: that of its building counts.
    let ended_at_ms = edition.place(place).or(holds).and_then(|view| ended_at_ms(edition, &view));
    let Some(division_code) = answer.division_code else {
        return refuse(
            Reason::AddressNotFound,
            "标准地址所属行政区划未知，请补全标准地址 (the division of the standard address is not known)",
        );
    };
    let (Some(place), Some(level)) = (place_id(place), level_named(level.as_str())) else {
        return refuse(Reason::AddressTooCoarse, "地址级别未知 (of no known level)");
    };
    let provisional = answer.provisional && answer.place.is_some();
    let match_reason = answer.reason.as_str();
    let located = Located { place, level, provisional, division_code, match_reason, confidence };
    Ok(Found { located, ended_at_ms })
}

/// Of a fact that lies where its room or building is in doubt.
const WITHIN_CONFIDENCE: f32 = 0.8;

/// Why there is no place, in the words of the quarantine.
fn why_not(reason: Match) -> (Reason, &'static str) {
    match reason {
        Match::Empty => (Reason::EmptyAddress, "地址为空 (the address is empty)"),
        Match::OtherProvince => (Reason::OtherProvince, "地址属于外省 (of another province)"),
        Match::OutsideArea => (
            Reason::OutsideArea,
            "本省内，但不在标准地址库覆盖范围 (outside the area of the standard addresses)",
        ),
        Match::Ambiguous => (
            Reason::AddressAmbiguous,
            "地址对应多个地点，请补充区县、街道、小区、楼栋或单元 (several places fit: name the missing level)",
        ),
        Match::NoSuchBuilding => (
            Reason::AddressNotFound,
            "小区存在，但标准地址中没有这一楼栋，请核对楼栋号或补登标准地址 (the compound is known, the building is not)",
        ),
        _ => (
            Reason::AddressNotFound,
            "标准地址库中未找到，请补登标准地址或别名 (not among the standard addresses)",
        ),
    }
}

/// The place of a standard address that the record names by its id.
fn by_id(edition: &Edition, feed: &Resolves, place: PlaceId, id: &str) -> Result<Found, Refusal> {
    let refuse = |reason: Reason, words: String| Err(Refusal::new(reason, None, words));
    let Some(view) = edition.place(place.get() as u64) else {
        return refuse(
            Reason::UnknownPlace,
            format!("地址编码“{id}”不在标准地址库中 (no such standard address)"),
        );
    };
    if view.level < feed.level_min {
        let words = format!(
            "地址编码“{id}”是{}，需要到{} (too coarse)",
            chinese(view.level),
            chinese(feed.level_min)
        );
        return refuse(Reason::AddressTooCoarse, words);
    }
    let (Some(division_code), Some(level)) = (view.division_code, level_named(view.level.as_str())) else {
        return refuse(
            Reason::UnknownPlace,
            format!("地址编码“{id}”所属行政区划未知 (its division is not known)"),
        );
    };
    let located = Located {
        place,
        level,
        provisional: false,
        division_code,
        match_reason: "place_id",
        confidence: 1.0,
    };
    Ok(Found { located, ended_at_ms: ended_at_ms(edition, &view) })
}

/// Ids of provisional places have bit 62 set and are positive all the same.
fn place_id(id: u64) -> Option<PlaceId> {
    i64::try_from(id).ok().and_then(PlaceId::new)
}

fn chinese(level: Level) -> &'static str {
    match level {
        Level::Unknown => "未知",
        Level::Province => "省",
        Level::City => "市",
        Level::County => "区县",
        Level::Township => "街道",
        Level::Community => "社区",
        Level::Compound => "小区",
        Level::Building => "楼栋",
        Level::Unit => "单元",
        Level::Dwelling => "户室",
    }
}

/// How many candidates a refusal names.
const CANDIDATES: usize = 3;

/// The words, and the candidates: their names and divisions.
fn explain(edition: &Edition, answer: &Answer, words: &str) -> String {
    let mut text = words.to_owned();
    let candidates: Vec<String> = answer
        .candidates
        .iter()
        .take(CANDIDATES)
        .map(|candidate| name_of(edition, candidate.place_id))
        .collect();
    if !candidates.is_empty() {
        text.push_str("；候选：");
        text.push_str(&candidates.join("、"));
    }
    text
}

/// `鼓楼区锦绣花园3幢`: what the gazetteer calls a place, from its county down.
fn name_of(edition: &Edition, place: u64) -> String {
    let mut parts = Vec::new();
    let mut next = Some(place);
    let mut code = None;
    while let Some(view) = next.and_then(|place| edition.place(place)) {
        parts.push(match view.level {
            Level::Building => format!("{}幢", view.name),
            Level::Unit => format!("{}单元", view.name),
            Level::Dwelling => format!("{}室", view.name),
            _ => view.name.to_owned(),
        });
        code = code.or(view.division_code);
        next = view.parent.filter(|_| parts.len() < 8);
    }
    let county = code
        .and_then(|code| Divisions::bundled().by_code(&(code / 1_000_000).to_string()))
        .map(|division| division.name.to_owned())
        .unwrap_or_default();
    parts.push(county);
    parts.reverse();
    parts.concat()
}

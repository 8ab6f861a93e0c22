//! What a rule's result means for the warnings of a place.
//!
//! | the newest warning of the rule here | the rule holds | then |
//! |---|---|---|
//! | none, or cleared | yes | raised; it names the earlier one |
//! | firing | yes, and severity or an `update_when` column differs | updated |
//! | firing | yes | stays |
//! | firing | no | cleared |
//! | none, or cleared | no | nothing |

use std::sync::Arc;

use yibiao_records::{PlaceId, TableSchema, Value};
use yibiao_tables::shard::Alarm;

use crate::rules::{Hit, Rule, in_words, placeholders};

/// What happens to a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    Raise,
    Update,
    Clear,
}

impl Transition {
    /// The warning's state in its table.
    pub fn state(self) -> &'static str {
        match self {
            Transition::Raise => "raised",
            Transition::Update => "updated",
            Transition::Clear => "cleared",
        }
    }
}

/// What must differ for a firing warning to be updated.
pub fn update_key(rule: &Rule, hit: &Hit) -> String {
    let columns = rule.update_when.iter().map(|column| hit.number(column).map(in_words).unwrap_or_default());
    columns.collect::<Vec<_>>().join("\u{1f}")
}

/// The decision of the table above, with the alarm as it is afterwards.
pub fn decide(
    name: &Arc<str>,
    alarm: Option<&Alarm>,
    now: Option<(i64, String)>,
) -> Option<(Transition, Alarm)> {
    let firing = alarm.filter(|alarm| alarm.firing);
    match (firing, now) {
        (None, Some((severity, update_key))) => {
            let ordinal = alarm.map_or(0, |alarm| alarm.ordinal) + 1;
            let alarm = Alarm { rule: name.clone(), ordinal, firing: true, severity, update_key };
            Some((Transition::Raise, alarm))
        }
        (Some(alarm), Some((severity, update_key))) => {
            let differs = alarm.severity != severity || alarm.update_key != update_key;
            differs.then(|| (Transition::Update, Alarm { severity, update_key, ..alarm.clone() }))
        }
        (Some(alarm), None) => Some((Transition::Clear, Alarm { firing: false, ..alarm.clone() })),
        (None, None) => None,
    }
}

/// The same rule, place and ordinal is the same warning, on every machine.
pub fn id(rule: &str, place: PlaceId, ordinal: u32) -> String {
    let text = format!("{rule}\u{1f}{place}\u{1f}{ordinal}");
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

/// The sentence, its braces filled from the rule's columns, then from the place's row.
pub fn message(rule: &Rule, hit: &Hit, schema: &TableSchema, row: &[Value]) -> String {
    let mut text = rule.message.clone();
    for name in placeholders(&rule.message) {
        let found = match hit.number(name) {
            Some(value) => in_words(value),
            None if name == "severity" => hit.severity.to_string(),
            None => match schema.column(name).and_then(|index| row.get(index)) {
                Some(value) => in_words(&crate::facts::json(value)),
                None => "未知".into(),
            },
        };
        text = text.replace(&format!("{{{name}}}"), &found);
    }
    text
}

/// What a row of `warnings` is made of.
pub struct Content<'a> {
    pub rule: &'a Rule,
    pub place: PlaceId,
    /// Of `places`.
    pub schema: &'a TableSchema,
    pub row: &'a [Value],
    pub hit: &'a Hit,
    pub evidence: String,
}

/// The row of a warning that was raised, or updated at `at_ms`; `before` is its row so far.
pub fn row(content: &Content<'_>, alarm: &Alarm, at_ms: i64, before: Option<&[Value]>) -> Vec<Value> {
    let of_place = |name: &str| {
        content.schema.column(name).and_then(|index| content.row.get(index)).cloned().unwrap_or_default()
    };
    let text = |text: &str| Value::Text(text.to_owned());
    let raised_at = before.map_or(Value::Timestamp(at_ms), |row| row[RAISED_AT].clone());
    let previous = match alarm.ordinal {
        0 | 1 => Value::Null,
        ordinal => Value::Text(id(&alarm.rule, content.place, ordinal - 1)),
    };
    let address = match of_place("address") {
        Value::Null => of_place("compound"),
        address => address,
    };
    vec![
        Value::Text(id(&alarm.rule, content.place, alarm.ordinal)),
        text(&alarm.rule),
        text(&content.rule.version),
        Value::Int(content.place.get()),
        of_place("division_code"),
        of_place("county"),
        address,
        text(if before.is_some() { Transition::Update.state() } else { Transition::Raise.state() }),
        Value::Int(alarm.severity),
        Value::Text(message(content.rule, content.hit, content.schema, content.row)),
        Value::Text(content.evidence.clone()),
        raised_at,
        Value::Timestamp(at_ms),
        Value::Null,
        previous,
    ]
}

const STATE: usize = 7;
const RAISED_AT: usize = 11;
const UPDATED_AT: usize = 12;
const CLEARED_AT: usize = 13;

/// The row of a warning that is cleared at `at_ms`, but not before it was raised: a late fact may clear it that is of an
/// earlier day. Its sentence and evidence stay those of when it last held.
pub fn cleared(mut before: Vec<Value>, at_ms: i64) -> Vec<Value> {
    let at_ms = match before[RAISED_AT] {
        Value::Timestamp(raised_ms) => at_ms.max(raised_ms),
        _ => at_ms,
    };
    before[STATE] = Value::Text(Transition::Clear.state().into());
    before[UPDATED_AT] = Value::Timestamp(at_ms);
    before[CLEARED_AT] = Value::Timestamp(at_ms);
    before
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_warning_is_raised_updated_cleared_and_raised_again_under_a_new_id() {
        let name: Arc<str> = "r".into();
        let hit = |severity, key: &str| Some((severity, key.to_owned()));
        assert_eq!(decide(&name, None, None), None);
        let (raised, alarm) = decide(&name, None, hit(2, "a")).unwrap();
        assert_eq!((raised, alarm.ordinal, alarm.firing), (Transition::Raise, 1, true));
        assert_eq!(decide(&name, Some(&alarm), hit(2, "a")), None);
        let (updated, alarm) = decide(&name, Some(&alarm), hit(2, "b")).unwrap();
        assert_eq!((updated, alarm.ordinal), (Transition::Update, 1));
        let (updated, alarm) = decide(&name, Some(&alarm), hit(3, "b")).unwrap();
        assert_eq!((updated, alarm.severity), (Transition::Update, 3));
        let (cleared, alarm) = decide(&name, Some(&alarm), None).unwrap();
        assert_eq!((cleared, alarm.firing), (Transition::Clear, false));
        assert_eq!(decide(&name, Some(&alarm), None), None);
        let (again, alarm) = decide(&name, Some(&alarm), hit(2, "a")).unwrap();
        assert_eq!((again, alarm.ordinal), (Transition::Raise, 2));
        let place = PlaceId::new(7).unwrap();
        assert_ne!(id("r", place, 1), id("r", place, 2));
        assert_eq!(id("r", place, 1).len(), 32);
    }
}

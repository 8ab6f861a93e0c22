//! The expected outcomes of a sample.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use yibiao_records::{FactKind, Reason, Value};

use crate::{
    Admitted, Decoded, Error, Reject,
    date::{self, Forms},
    key::KEY_SEPARATOR,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    #[serde(default)]
    never_stored: Vec<String>,
    records: Vec<Outcome>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outcome {
    #[serde(default)]
    accepted: Option<Accepted>,
    #[serde(default)]
    rejected: Option<String>,
    #[serde(default)]
    field: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Accepted {
    key: Option<Vec<String>>,
    address: Option<String>,
    place_name: Option<String>,
    city: Option<String>,
    external_place_id: Option<String>,
    valid_from: Option<String>,
    valid_to: Option<String>,
    withdrawn: Option<bool>,
    payload: BTreeMap<String, serde_json::Value>,
}

impl Expected {
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
        serde_saphyr::from_str(&text)
            .map_err(|error| Error::Sample { path: path.into(), detail: error.to_string() })
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Adds how the outcome differs from the expected one.
    pub fn compare(
        &self,
        index: usize,
        outcome: &Result<Decoded, Reject>,
        kind: &FactKind,
        zone_minutes: i32,
        mismatches: &mut Vec<String>,
    ) {
        let Some(wanted) = self.records.get(index) else { return };
        match (&wanted.accepted, &wanted.rejected, outcome) {
            (Some(accepted), None, Ok(decoded)) => accepted.compare(decoded, kind, zone_minutes, mismatches),
            (None, Some(code), Err(reject)) => {
                if Reason::from_code(code).is_none() {
                    mismatches.push(format!("'{code}' is no reason's code"));
                } else if reject.reason.code() != code
                    || (wanted.field.is_some() && wanted.field != reject.field)
                {
                    let field =
                        wanted.field.as_ref().map(|field| format!(" in '{field}'")).unwrap_or_default();
                    mismatches.push(format!("expected to be rejected as {code}{field}, but it is: {reject}"));
                }
            }
            (Some(_), None, Err(reject)) => {
                mismatches.push(format!("expected to be accepted, but rejected: {reject}"))
            }
            (None, Some(code), Ok(_)) => {
                mismatches.push(format!("expected to be rejected as {code}, but accepted"))
            }
            _ => mismatches.push("its expected outcome is neither `accepted` nor `rejected`".into()),
        }
    }

    /// Adds each text of `never_stored` that is in what would be stored.
    pub fn search(
        &self,
        admitted: &Admitted<'_>,
        outcome: &Result<Decoded, Reject>,
        mismatches: &mut Vec<String>,
    ) {
        let decoded = format!("{outcome:?}");
        for text in &self.never_stored {
            let inside = |bytes: &[u8]| bytes.windows(text.len().max(1)).any(|part| part == text.as_bytes());
            if inside(&admitted.value) || inside(&admitted.key) || decoded.contains(text.as_str()) {
                mismatches.push("a text of never_stored came past the door".into());
            }
        }
    }
}

impl Accepted {
    fn compare(&self, decoded: &Decoded, kind: &FactKind, zone_minutes: i32, mismatches: &mut Vec<String>) {
        let mut differs = |what: &str, wanted: &str, found: &str| {
            if wanted != found {
                mismatches.push(format!("{what}: expected '{wanted}', found '{found}'"));
            }
        };
        if let Some(parts) = &self.key {
            differs("key", &parts.join(" | "), &decoded.source_key.replace(KEY_SEPARATOR, " | "));
        }
        for (what, wanted, found) in [
            ("address", &self.address, &decoded.address),
            ("place_name", &self.place_name, &decoded.place_name),
            ("city", &self.city, &decoded.city),
            ("external_place_id", &self.external_place_id, &decoded.external_place_id),
        ] {
            if let Some(wanted) = wanted {
                differs(what, wanted, found.as_deref().unwrap_or("nothing"));
            }
        }
        for (what, wanted, found) in [
            ("valid_from", &self.valid_from, Some(decoded.valid_from_ms)),
            ("valid_to", &self.valid_to, decoded.valid_to_ms),
        ] {
            if let Some(wanted) = wanted {
                let ms = date::parse(wanted, Forms::CALENDAR).ok().map(|moment| moment.to_ms(zone_minutes));
                let shown = |ms: Option<i64>| {
                    ms.map_or_else(|| "nothing".into(), |ms| Value::Timestamp(ms).to_string())
                };
                differs(what, &shown(ms), &shown(found));
            }
        }
        if let Some(withdrawn) = self.withdrawn {
            differs("withdrawn", &withdrawn.to_string(), &decoded.withdrawn.to_string());
        }
        for (name, wanted) in &self.payload {
            let Some(index) = kind.column(name) else {
                differs("payload", name, "no such column");
                continue;
            };
            let found = &decoded.payload[index];
            let shown = if found.is_null() { "null".to_owned() } else { found.to_string() };
            let wanted = match (wanted, found) {
                (serde_json::Value::String(text), Value::Timestamp(_)) => date::parse(text, Forms::CALENDAR)
                    .map_or_else(
                        |_| text.clone(),
                        |moment| Value::Timestamp(moment.to_ms(zone_minutes)).to_string(),
                    ),
                (serde_json::Value::String(text), _) => text.clone(),
                (other, _) => other.to_string(),
            };
            differs(name, &wanted, &shown);
        }
    }
}

//! What changes between two versions of a contract, and for whom it breaks.

use std::fmt;

use crate::contract::{ColumnSource, Contract, FactMapping, Field, Unknown};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Records that were accepted may be rejected, or consumers miss what they had, or more of persons is kept.
    pub breaking: bool,
    pub what: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", if self.breaking { "breaking" } else { "harmless" }, self.what)
    }
}

/// All changes from `old` to `new`, the breaking ones first.
pub fn diff(old: &Contract, new: &Contract) -> Vec<Change> {
    let mut changes = Changes(Vec::new());
    changes.ingest(old, new);
    changes.fields(old, new);
    changes.place(old, new);
    changes.fact(&old.fact, &new.fact);
    changes.privacy(old, new);
    changes.legal(old, new);
    changes.version(old, new);
    let mut changes = changes.0;
    changes.sort_by_key(|change| !change.breaking);
    changes
}

struct Changes(Vec<Change>);

impl Changes {
    fn breaking(&mut self, what: impl Into<String>) {
        self.0.push(Change { breaking: true, what: what.into() });
    }

    fn harmless(&mut self, what: impl Into<String>) {
        self.0.push(Change { breaking: false, what: what.into() });
    }

    fn when(&mut self, breaking: bool, what: String) {
        self.0.push(Change { breaking, what });
    }

    fn ingest(&mut self, old: &Contract, new: &Contract) {
        let (old, new) = (&old.ingest, &new.ingest);
        if old.form != new.form {
            self.breaking(format!("the form was {:?} and is {:?}", old.form, new.form));
        }
        if old.encoding != new.encoding {
            self.breaking(format!("the encoding was {} and is {}", old.encoding.name(), new.encoding.name()));
        }
        if old.zone_minutes != new.zone_minutes {
            self.breaking("times without a zone are read in another time zone");
        }
        if old.unknown != new.unknown {
            self.when(
                new.unknown == Unknown::Reject,
                format!("records with unknown columns: {:?}, was {:?}", new.unknown, old.unknown),
            );
        }
        for (what, old, new) in [
            ("record", old.max_record_bytes, new.max_record_bytes),
            ("field", old.max_field_bytes, new.max_field_bytes),
        ] {
            if old != new {
                self.when(new < old, format!("a {what} may have {new} bytes, had {old}"));
            }
        }
        if old.nulls != new.nulls {
            self.breaking("other texts mean that a field is empty");
        }
        match (&old.full_dump, &new.full_dump) {
            (None, Some(_)) => self.breaking("files are full dumps now: what is missing in one is withdrawn"),
            (Some(_), None) => {
                self.breaking("files are no full dumps any more: what is missing in one stays")
            }
            (Some(old), Some(new)) => {
                if old.files != new.files {
                    self.breaking("other files than before are full dumps");
                }
                if old.gone_max_percent != new.gone_max_percent {
                    let (old, new) = (old.gone_max_percent, new.gone_max_percent);
                    self.harmless(format!("a full dump may lack {new} % of what stands, was {old} %"));
                }
            }
            (None, None) => {}
        }
        if old.cursor != new.cursor {
            self.harmless("the source is asked for changes by other fields");
        }
    }

    fn fields(&mut self, old: &Contract, new: &Contract) {
        for field in &old.fields {
            match new.fields.iter().find(|other| other.name == field.name) {
                None => self.breaking(format!("the field '{}' is gone", field.name)),
                Some(other) => self.field(field, other),
            }
        }
        for field in new.fields.iter().filter(|field| old.field(&field.name).is_none()) {
            let breaking = field.required || !field.optional_column;
            let how = if breaking { "and must be in every record" } else { "and may be left out" };
            self.when(breaking, format!("the field '{}' is new {how}", field.name));
        }
    }

    fn field(&mut self, old: &Field, new: &Field) {
        let name = &new.name;
        if old.field_type != new.field_type {
            self.breaking(format!("'{name}' was {:?} and is {:?}", old.field_type, new.field_type));
        }
        if old.primary_key != new.primary_key {
            self.breaking(format!(
                "'{name}' changes its part in the primary key: all records become new ones"
            ));
        }
        if old.required != new.required {
            self.when(
                new.required,
                format!("'{name}' {}", if new.required { "must be filled" } else { "may be empty" }),
            );
        }
        if old.optional_column != new.optional_column {
            self.when(
                !new.optional_column,
                format!(
                    "the column '{name}' {} be missing",
                    if new.optional_column { "may" } else { "may not" }
                ),
            );
        }
        let tighter_minimum = new.minimum.is_some_and(|new| old.minimum.is_none_or(|old| new > old));
        let tighter_maximum = new.maximum.is_some_and(|new| old.maximum.is_none_or(|old| new < old));
        if (old.minimum, old.maximum) != (new.minimum, new.maximum) {
            let tighter = tighter_minimum || tighter_maximum;
            self.when(
                tighter,
                format!("the range of '{name}' is {}", if tighter { "narrower" } else { "wider" }),
            );
        }
        if old.max_length != new.max_length {
            let shorter = new.max_length.is_some_and(|new| old.max_length.is_none_or(|old| new < old));
            self.when(shorter, format!("'{name}' may be {}", if shorter { "less long" } else { "longer" }));
        }
        if old.forms != new.forms {
            let lost = old.forms.names().iter().any(|form| !new.forms.names().contains(form));
            self.when(lost, format!("'{name}' is read in the date forms {}", new.forms.names().join(", ")));
        }
        if old.title != new.title {
            self.harmless(format!("'{name}' is titled '{}'", new.title));
        }
    }

    fn place(&mut self, old: &Contract, new: &Contract) {
        match (&old.place, &new.place) {
            (old, new) if old == new => {}
            (Some(old), Some(new)) => {
                if (&old.address, &old.name, &old.external_id, &old.city)
                    != (&new.address, &new.name, &new.external_id, &new.city)
                {
                    self.breaking("the place is read from other fields: records may move to other places");
                }
                if old.address_required != new.address_required {
                    self.when(new.address_required, "whether an address must be given".into());
                }
                if old.area != new.area {
                    self.breaking("the default area is another: records may move to other places");
                }
            }
            _ => self.breaking("whether records have a place"),
        }
    }

    fn fact(&mut self, old: &FactMapping, new: &FactMapping) {
        if old.kind != new.kind {
            self.breaking(format!("records become {}, were {}", new.kind, old.kind));
            return;
        }
        if (&old.valid_from, &old.valid_to, &old.withdrawn)
            != (&new.valid_from, &new.valid_to, &new.withdrawn)
        {
            self.breaking("since when a record holds, or whether, is read otherwise");
        }
        for column in &new.columns {
            let before =
                old.columns.iter().find(|other| other.column == column.column).map(|other| &other.source);
            match (before, &column.source) {
                (Some(before), after) if before == after => {}
                (None | Some(ColumnSource::Absent), _) => {
                    self.harmless(format!("the column '{}' is filled", column.column))
                }
                (_, ColumnSource::Absent) => {
                    self.breaking(format!("the column '{}' is no longer filled", column.column))
                }
                (
                    Some(ColumnSource::Field { name, map, .. }),
                    ColumnSource::Field { name: new_name, map: new_map, .. },
                ) if name == new_name && map.iter().all(|(from, to)| new_map.get(from) == Some(to)) => {
                    self.harmless(format!("the column '{}' knows more values", column.column));
                }
                _ => self.breaking(format!("the column '{}' is filled otherwise", column.column)),
            }
        }
    }

    fn privacy(&mut self, old: &Contract, new: &Contract) {
        for field in &new.fields {
            let (before, after) = (old.privacy.removes(&field.name), new.privacy.removes(&field.name));
            match (before, after) {
                (true, false) => {
                    self.breaking(format!("'{}' was kept from being stored and is stored", field.name))
                }
                (false, true) => self.harmless(format!("'{}' is no longer stored", field.name)),
                _ => {}
            }
        }
    }

    fn legal(&mut self, old: &Contract, new: &Contract) {
        for purpose in old.legal.purposes.iter().filter(|purpose| !new.legal.purposes.contains(purpose)) {
            self.breaking(format!("the purpose '{purpose}' is no longer granted"));
        }
        for purpose in new.legal.purposes.iter().filter(|purpose| !old.legal.purposes.contains(purpose)) {
            self.harmless(format!("the purpose '{purpose}' is granted"));
        }
        if old.legal.until != new.legal.until {
            self.when(
                new.legal.until < old.legal.until,
                format!("it is granted until {}, was {}", new.legal.until, old.legal.until),
            );
        }
    }

    /// A breaking change asks for a new major version, every other one for a new version.
    fn version(&mut self, old: &Contract, new: &Contract) {
        let parts =
            |version: &str| -> Vec<u32> { version.split('.').filter_map(|part| part.parse().ok()).collect() };
        let (old_parts, new_parts) = (parts(&old.version), parts(&new.version));
        if self.0.is_empty() {
            return;
        }
        let breaks = self.0.iter().any(|change| change.breaking);
        if breaks && new_parts.first() <= old_parts.first() {
            self.breaking(format!(
                "version {} follows {}: a breaking change needs a new first number",
                new.version, old.version
            ));
        } else if new_parts <= old_parts {
            self.breaking(format!(
                "version {} follows {}: a change needs a new version",
                new.version, old.version
            ));
        }
    }
}

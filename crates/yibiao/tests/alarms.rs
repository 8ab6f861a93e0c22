//! Holds alarms, program and operator's page together: an alarm over a metric that nothing writes never fires, and one
//! without instructions helps nobody. Whether each fires when it should is tested by `promtool test rules`; that the
//! catalogue is what `/metrics` shows, by end_to_end.rs.
#![allow(clippy::unwrap_used)]

#[path = "alarms/promql.rs"]
mod promql;
#[path = "alarms/source.rs"]
mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use promql::{Matcher, Selector, selectors};
use serde_json::Value;
use yibiao_records::{Fault, Reason};
use yibiao_serve::metrics::{CATALOGUE, STAGES};

const RULES: &str = "deploy/alerts/yibiao.rules.yaml";
const TESTS: [&str; 2] = ["deploy/alerts/yibiao.test.yaml", "deploy/alerts/yibiao-week.test.yaml"];
const DASHBOARD: &str = "deploy/dashboards/yibiao.json";
const PAGE: &str = "docs/operations.md";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).unwrap()
}

fn labels() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    CATALOGUE.iter().map(|described| (described.name, described.labels.iter().copied().collect())).collect()
}

/// All rules that have this key (`alert` or `record`).
fn rules(key: &str) -> Vec<Value> {
    let groups = yaml(RULES)["groups"].as_array().unwrap().clone();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
    rules.filter(|rule| rule.get(key).is_some()).collect()
}

/// Headings as GitHub makes anchors of them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}

#[test]
fn the_catalogue_is_what_the_source_writes() {
    let catalogue = labels();
    let mut written = BTreeSet::new();
    for metric in source::metrics(&path("crates")) {
        let known = catalogue
            .get(metric.name.as_str())
            .unwrap_or_else(|| panic!("{} of {} is not in the catalogue", metric.name, metric.file));
        for label in &metric.labels {
            assert!(known.contains(label.as_str()), "{}: the catalogue lacks its label {label}", metric.name);
        }
        written.insert(metric.name);
    }
    let described: BTreeSet<String> = catalogue.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(written, described, "left: written by the source, right: in the catalogue");
}

/// Names with what may follow them, as in a regular expression of alternatives.
fn are_known(alternatives: &str, known: &[&str]) -> bool {
    alternatives.split('|').all(|value| match value.strip_suffix(".*") {
        Some(beginning) => known.iter().any(|known| known.starts_with(beginning)),
        None => known.contains(&value),
    })
}

#[test]
fn alarms_look_only_at_what_the_program_shows() {
    let catalogue = labels();
    let codes = [Fault::OPERATOR, Fault::OUTSIDE, Fault::BAD_INPUT, Fault::OURS].map(Fault::code);
    let reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).chain(["unchanged"]).collect();
    let mut seen = 0;
    for rule in rules("expr") {
        let expr = rule["expr"].as_str().unwrap();
        for selector in selectors(expr) {
            seen += 1;
            let name = selector.name.as_str();
            let known = catalogue.get(name);
            assert!(known.is_some() || selector.is_recorded(), "nothing writes {name}: {expr}");
            for Matcher { label, value } in &selector.matchers {
                assert!(
                    known.is_none_or(|known| known.contains(label.as_str())),
                    "{name} has no label {label}: {expr}"
                );
                let values: &[&str] = match label.as_str() {
                    "stage" => STAGES,
                    "code" => &codes,
                    "reason" => &reasons,
                    other => panic!("whether {other} has the value {value} is not known"),
                };
                assert!(are_known(value, values), "{label} is never {value}: {expr}");
            }
        }
        for label in promql::grouping(expr) {
            let is_known =
                label == "instance" || catalogue.values().any(|labels| labels.contains(label.as_str()));
            assert!(is_known, "no metric has the label {label}: {expr}");
        }
    }
    assert!(seen > 40, "{seen} selectors were found");
}

#[test]
fn recorded_series_are_used_as_they_are_named() {
    let recorded: BTreeSet<String> =
        rules("record").iter().map(|rule| rule["record"].as_str().unwrap().to_owned()).collect();
    let used = |text: &str| -> BTreeSet<String> {
        let selectors = selectors(text).into_iter().filter(Selector::is_recorded);
        selectors.map(|selector| selector.name).collect()
    };
    let in_rules = rules("expr").iter().flat_map(|rule| used(rule["expr"].as_str().unwrap())).collect();
    assert_eq!(recorded, in_rules, "left: recorded, right: used by a rule");
    assert!(used(&text(DASHBOARD)).is_subset(&recorded), "the dashboard shows what is not recorded");
}

#[test]
fn every_alarm_says_how_urgent_it_is_in_two_languages_and_has_instructions_and_a_test() {
    let anchors = anchors(&text(PAGE));
    let tests: String = TESTS.iter().map(|name| text(name)).collect();
    let alarms = rules("alert");
    assert!(alarms.len() > 20, "{} alarms", alarms.len());
    for alarm in &alarms {
        let name = alarm["alert"].as_str().unwrap();
        let severity = alarm["labels"]["severity"].as_str().unwrap();
        assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
        let annotation = |key: &str| alarm["annotations"][key].as_str().unwrap_or_default();
        assert!(annotation("summary").is_ascii() && !annotation("summary").is_empty(), "{name}");
        assert!(!annotation("summary_zh").is_ascii(), "{name}");
        let anchor = annotation("runbook").strip_prefix("docs/operations.md#").unwrap_or_default();
        assert_eq!(anchor, name.to_lowercase(), "{name}");
        assert!(anchors.contains(anchor), "{PAGE} has no section {name}");
        let fires = format!("- alertname: {name}\n");
        let fires = tests.split(&fires).skip(1).any(|test| {
            let test = test.split("- alertname:").next().unwrap_or_default();
            test.contains("exp_labels")
        });
        assert!(fires, "no test lets {name} fire");
    }
    let names: BTreeSet<String> =
        alarms.iter().map(|alarm| alarm["alert"].as_str().unwrap().to_lowercase()).collect();
    let sections = anchors.iter().filter(|anchor| anchor.starts_with("yibiao"));
    assert_eq!(sections.cloned().collect::<BTreeSet<_>>(), names, "a section without its alarm");
}

#[test]
fn the_page_and_the_dashboard_name_the_metrics_that_there_are() {
    let catalogue = labels();
    let page = text(PAGE);
    for (name, labels) in &catalogue {
        // Of the form | `name` | `stage` `feed` | …
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{PAGE} does not have {name}"));
        let told: BTreeSet<&str> = row
            .split('|')
            .nth(2)
            .unwrap()
            .split('`')
            .map(str::trim)
            .filter(|label| !label.is_empty())
            .collect();
        assert_eq!(told, *labels, "{PAGE}: labels of {name}");
    }
    for file in [PAGE, DASHBOARD] {
        let text = text(file).replace("\\\"", "\"");
        for selector in selectors(&text).into_iter().filter(|selector| !selector.is_recorded()) {
            let known = catalogue
                .get(selector.name.as_str())
                .unwrap_or_else(|| panic!("{file}: nothing writes {}", selector.name));
            for matcher in selector.matchers {
                assert!(
                    known.contains(matcher.label.as_str()),
                    "{file}: {} of {}",
                    matcher.label,
                    selector.name
                );
            }
        }
    }
}

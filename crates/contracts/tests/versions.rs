//! What is said about two versions of a contract.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{contract, contract_of};
use yibiao_contracts::diff;

/// The changes from the repository's contract to the altered one, one a line.
fn changes(feed: &str, alter: impl Fn(String) -> String) -> Vec<String> {
    diff(&contract(feed), &contract_of(feed, alter)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_contract_does_not_differ_from_itself() {
    assert_eq!(changes("police/housing-registrations", |text| text), Vec::<String>::new());
}

#[test]
fn a_wider_range_and_a_known_value_more_are_harmless() {
    let found = changes("police/standard-addresses", |text| {
        text.replace("version: 1.1.0", "version: 1.2.0")
            .replace("注销: withdrawn", "注销: withdrawn, 拆除: withdrawn")
    });
    assert_eq!(found, ["harmless: the column 'status' knows more values"]);
    let found = changes("utilities/water-readings", |text| {
        text.replace("version: 1.0.0", "version: 1.0.1").replace("maximum: 100000", "maximum: 200000")
    });
    assert_eq!(found, ["harmless: the range of '用水量（吨）' is wider"]);
}

#[test]
fn what_rejects_more_or_keeps_more_of_persons_breaks_and_needs_a_new_major_version() {
    let found = changes("police/housing-registrations", |text| {
        text.replace(
            "drop: [landlord_id_card, landlord_phone]",
            "drop: [landlord_id_card]\n      restrict: [landlord_phone]",
        )
        .replace("version: 1.0.0", "version: 1.1.0")
    });
    assert_eq!(
        found,
        [
            "breaking: 'landlord_phone' was kept from being stored and is stored",
            "breaking: version 1.1.0 follows 1.0.0: a breaking change needs a new first number"
        ]
    );
    let found = changes("utilities/gas-readings", |text| {
        text.replace("encoding: gb18030", "encoding: utf-8")
            .replace("      - name: 表型\n        logicalType: string\n", "")
            .replace("2030-12-31", "2029-12-31")
            .replace("minimum: 0", "minimum: 1")
            .replace("version: 1.0.0", "version: 2.0.0")
    });
    assert_eq!(
        found,
        [
            "breaking: the encoding was gb18030 and is utf-8",
            "breaking: the range of '用气量(方)' is narrower",
            "breaking: the field '表型' is gone",
            "breaking: it is granted until 2029-12-31, was 2030-12-31"
        ]
    );
}

#[test]
fn a_change_without_a_new_version_is_told() {
    let found = changes("utilities/water-readings", |text| {
        text.replace("出租房屋安全, 独居关怀", "出租房屋安全, 独居关怀, 漏水排查")
    });
    assert_eq!(
        found,
        [
            "breaking: version 1.0.0 follows 1.0.0: a change needs a new version",
            "harmless: the purpose '漏水排查' is granted"
        ]
    );
}

//! Bad input and its outcomes, and what decoding never does.
#![allow(clippy::unwrap_used)]

mod fixture;

use std::cell::RefCell;

use fixture::{contract, contract_of, decode, kinds};
use proptest::prelude::*;
use yibiao_contracts::Reject;
use yibiao_records::{Reason, Value};

const WATER_HEADER: &str = "户号,用水地址,抄表日期,用水量（吨）,水表状态";

fn gbk(text: &str) -> Vec<u8> {
    encoding_rs::GBK.encode(text).0.into_owned()
}

fn water(record: &[u8], header: &str) -> Result<yibiao_contracts::Decoded, Reject> {
    decode(&contract("utilities/water-readings"), record, Some(&gbk(header)))
}

fn refused(result: Result<yibiao_contracts::Decoded, Reject>) -> (Reason, Option<String>) {
    let reject = result.unwrap_err();
    assert!(!reject.detail.is_empty());
    (reject.reason, reject.field)
}

#[test]
fn bad_input_has_its_reason_and_its_field() {
    let field = |name: &str| Some(name.to_owned());
    let good = gbk("W1,样例路1号,2025/11/3,1,正常");
    assert!(water(&good, WATER_HEADER).is_ok());
    assert_eq!(refused(water(b"W1,\xff\xff,2025/11/3,1,x", WATER_HEADER)), (Reason::Undecodable, None));
    assert_eq!(
        refused(water(&gbk("W1,样例路1号,1,正常"), "户号,用水地址,用水量（吨）,水表状态")),
        (Reason::MissingColumn, field("抄表日期"))
    );
    assert_eq!(
        refused(water(&gbk("W1,样例路1号,2025/11/3,1,正常,张测试"), &format!("{WATER_HEADER},户主姓名"))),
        (Reason::UnknownColumn, field("户主姓名"))
    );
    assert_eq!(
        refused(water(&gbk("W1,样例路1号,2025-02-30,1,正常"), WATER_HEADER)),
        (Reason::BadDate, field("抄表日期"))
    );
    assert_eq!(
        refused(water(&gbk("W1,样例路1号,2025/11/3,－1,正常"), WATER_HEADER)),
        (Reason::OutOfRange, field("用水量（吨）"))
    );
    assert_eq!(
        refused(water(&gbk("W1,　,2025/11/3,1,正常"), WATER_HEADER)),
        (Reason::EmptyAddress, field("用水地址"))
    );
    assert_eq!(
        refused(water(&gbk(",样例路1号,2025/11/3,1,正常"), WATER_HEADER)),
        (Reason::MissingKey, field("户号"))
    );
    assert_eq!(refused(water(&gbk("W1,样例路1号,2025/11/3,1"), WATER_HEADER)), (Reason::Malformed, None));
    assert_eq!(
        refused(decode(&contract("utilities/water-readings"), &good, None)),
        (Reason::Malformed, None)
    );
}

#[test]
fn a_field_of_ten_megabytes_is_refused_by_its_length_alone() {
    let contract = contract("utilities/electricity-readings");
    let record = format!(
        r#"{{"meter_no":"E1","service_address":"{}","reading_date":"2025-11-03","kwh":1}}"#,
        "x".repeat(10 << 20)
    );
    assert_eq!(refused(decode(&contract, record.as_bytes(), None)), (Reason::TooLarge, None));
    let record = format!(
        r#"{{"meter_no":"E1","service_address":"{}","reading_date":"2025-11-03","kwh":1}}"#,
        "x".repeat(3 << 10)
    );
    assert_eq!(
        refused(decode(&contract, record.as_bytes(), None)),
        (Reason::TooLarge, Some("service_address".into()))
    );
}

#[test]
fn columns_may_come_in_any_order_and_in_other_widths() {
    let decoded =
        water(&gbk("1,正常,样例路1号,W1,20251103,"), "用水量(吨),水表状态,用水地址,户号,抄表日期,").unwrap();
    assert_eq!(decoded.payload, [Value::Decimal(1000)]);
    assert_eq!(decoded.source_key, "W1\u{1f}2025-11-03");
}

#[test]
fn one_decoder_reads_files_with_different_headers() {
    let mut decoder = contract("utilities/water-readings").decoder(&kinds()).unwrap();
    let (a, b) = (gbk(WATER_HEADER), gbk("抄表日期,户号,用水地址,水表状态,用水量（吨）"));
    for _ in 0..3 {
        let one = decoder.decode(&gbk("W1,样例路1号,2025/11/3,1,正常"), Some(&a)).unwrap();
        let other = decoder.decode(&gbk("2025/11/3,W1,样例路1号,正常,1"), Some(&b)).unwrap();
        assert_eq!(one, other);
    }
}

#[test]
fn unknown_columns_are_ignored_where_the_contract_says_so() {
    let contract = contract_of("utilities/electricity-readings", |text| {
        text.replace("unknown: reject", "unknown: ignore")
    });
    let record =
        br#"{"meter_no":"E1","extra":{"a":[1]},"service_address":"x","reading_date":"2025-11-03","kwh":1.5}"#;
    assert_eq!(decode(&contract, record, None).unwrap().payload, [Value::Decimal(1500)]);
}

#[test]
fn a_message_of_another_schema_is_told_from_a_broken_one() {
    let contract = contract("grid/hazard-reports");
    // Field 9; field 5 as text; an open length.
    assert_eq!(refused(decode(&contract, b"\x0a\x01a\x48\x01", None)).0, Reason::WrongSchema);
    assert_eq!(refused(decode(&contract, b"\x0a\x01a\x2a\x01x", None)).0, Reason::WrongSchema);
    assert_eq!(refused(decode(&contract, b"\x0a\x7fa", None)).0, Reason::Malformed);
    assert_eq!(refused(decode(&contract, b"\x0a\x02\xff\xfe", None)).0, Reason::Undecodable);
    assert_eq!(refused(decode(&contract, b"", None)).0, Reason::MissingKey);
}

#[test]
fn nulls_of_the_contract_are_nothing() {
    let contract = contract_of("utilities/water-readings", |text| {
        text.replace("max_record: 8KiB", "nulls: [\"-\", 无]")
    });
    let header = gbk(WATER_HEADER);
    assert_eq!(
        refused(decode(&contract, &gbk("W1,无,2025/11/3,1,－"), Some(&header))).0,
        Reason::EmptyAddress
    );
    assert_eq!(refused(decode(&contract, &gbk("W1,x,2025/11/3,-,"), Some(&header))).0, Reason::MissingValue);
}

#[test]
fn a_value_of_a_restricted_field_is_not_in_the_reason() {
    let contract = fixture::csv_feed("restrict: [姓名]");
    let contract = yibiao_contracts::Contract {
        fields: contract
            .fields
            .iter()
            .cloned()
            .map(|mut field| {
                if field.name == "姓名" {
                    field.field_type = yibiao_records::ColumnType::Int
                }
                field
            })
            .collect(),
        ..contract
    };
    let reject =
        decode(&contract, "1,张测试,x,2025-11-03".as_bytes(), Some("编号,姓名,地址,日期".as_bytes()))
            .unwrap_err();
    assert_eq!(reject.reason, Reason::BadNumber);
    assert!(!reject.detail.contains("张"));
}

#[test]
fn a_record_that_says_that_it_holds_no_longer_is_withdrawn() {
    let contract = contract_of("utilities/water-readings", |text| {
        text.replace(
            "      valid_from: 抄表日期",
            "      valid_from: 抄表日期\n      withdrawn: { field: 水表状态, when: [销户, 拆除] }",
        )
    });
    let header = gbk(WATER_HEADER);
    for (status, withdrawn) in [("正常", false), (" 销户 ", true), ("", false)] {
        let record = gbk(&format!("W1,样例路1号,2025/11/3,1,{status}"));
        assert_eq!(decode(&contract, &record, Some(&header)).unwrap().withdrawn, withdrawn, "{status}");
    }
}

#[test]
fn a_decoder_is_not_made_for_a_fact_kind_that_is_not_there() {
    let error = contract("utilities/water-readings").decoder(&Default::default()).unwrap_err();
    assert!(error.to_string().contains("'water'"), "{error}");
}

const FEEDS: [&str; 9] = [
    "police/standard-addresses",
    "police/housing-registrations",
    "civil-affairs/place-names",
    "civil-affairs/organisations",
    "justice/mediation-cases",
    "utilities/water-readings",
    "utilities/electricity-readings",
    "utilities/gas-readings",
    "grid/hazard-reports",
];

/// The repository's samples, to be broken.
fn samples() -> Vec<(usize, Vec<u8>, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for (index, feed) in FEEDS.iter().enumerate() {
        let contract = contract(feed);
        let extension = match contract.ingest.form {
            yibiao_contracts::Form::Csv(_) => "csv",
            yibiao_contracts::Form::Json => "jsonl",
            yibiao_contracts::Form::Xlsx(_) => "xlsx",
            yibiao_contracts::Form::Protobuf(_) => "binpb",
        };
        let path = fixture::pipelines().join(format!("feeds/{feed}.sample.{extension}"));
        for record in yibiao_contracts::sample::read_records(&contract, &path).unwrap() {
            all.push((index, record.value, record.columns));
        }
    }
    all
}

#[test]
fn any_bytes_and_any_broken_sample_have_an_outcome_and_one_key() {
    let kinds = kinds();
    let stages: Vec<_> = FEEDS
        .iter()
        .map(|feed| RefCell::new((contract(feed).door(), contract(feed).decoder(&kinds).unwrap())))
        .collect();
    let samples = samples();
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 3000, ..Default::default() });
    let broken = (
        any::<prop::sample::Index>(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        any::<prop::sample::Index>(),
        any::<bool>(),
    );
    runner
        .run(&broken, |(which, flips, cut, with_columns)| {
            let (feed, value, columns) = &samples[which.index(samples.len())];
            let mut value = value.clone();
            for (at, byte) in flips {
                if !value.is_empty() {
                    let at = at.index(value.len());
                    value[at] = byte;
                }
            }
            if cut.index(4) == 0 {
                value.truncate(cut.index(value.len() + 1));
            }
            let columns = columns.as_deref().filter(|_| with_columns || cut.index(3) > 0);
            let (door, decoder) = &mut *stages[*feed].borrow_mut();
            let once = door.admit(&value, columns);
            let twice = door.admit(&once.value, columns);
            prop_assert_eq!(&once.value, &twice.value);
            prop_assert_eq!(&once.key, &twice.key);
            prop_assert_eq!(once.withheld, twice.withheld);
            if let Ok(decoded) = decoder.decode(&once.value, columns) {
                prop_assert_eq!(decoded.source_key.as_bytes(), &once.key[..]);
                prop_assert!(!once.withheld);
            }
            Ok(())
        })
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..Default::default() })]

    #[test]
    fn random_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..200), columns in prop::option::of(prop::collection::vec(any::<u8>(), 0..80))) {
        let kinds = kinds();
        for feed in ["utilities/gas-readings", "police/housing-registrations", "grid/hazard-reports"] {
            let contract = contract(feed);
            let mut door = contract.door();
            let admitted = door.admit(&value, columns.as_deref());
            let _ = contract.decoder(&kinds).unwrap().decode(&admitted.value, columns.as_deref());
        }
    }

    #[test]
    fn whole_decimals_come_back_exactly(thousandths in 0i64..=100_000_000, width in 0usize..3) {
        let text = Value::Decimal(thousandths).to_string();
        let text: String = match width {
            0 => text,
            1 => text.chars().map(|c| char::from_u32(c as u32 + 0xfee0).unwrap()).collect(),
            _ => format!("\"{text}\""),
        };
        let decoded = water(&gbk(&format!("W1,样例路1号,2025/11/3,{text},正常")), WATER_HEADER).unwrap();
        prop_assert_eq!(&decoded.payload[0], &Value::Decimal(thousandths));
    }
}

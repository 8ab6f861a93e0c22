//! Every kind of bad input has its outcome, its message, and a place in accounts that balance.

use yibiao_records::Reason;

use crate::support::{Bench, DISPUTES, ELECTRICITY, POLICE, Raw, dispute, reading};

const GOOD: &str = "南京市鼓楼区上海路12号青禾新村1幢1单元101室";

#[test]
fn each_bad_reading_is_quarantined_with_its_reason_and_the_good_ones_pass() {
    let mut bench = Bench::new(ELECTRICITY);
    let long = "长".repeat(4 << 10);
    let cases: Vec<(Vec<u8>, Option<Reason>)> = vec![
        (reading("E1", GOOD, "2025-11-03", "3.5").into(), None),
        (b"\xff\xfe{\"meter_no\"".to_vec(), Some(Reason::Undecodable)),
        (b"{\"meter_no\":\"E2\",".to_vec(), Some(Reason::Malformed)),
        (
            br#"{"meter_no":"E3","service_address":"x","reading_date":"2025-11-03"}"#.to_vec(),
            Some(Reason::MissingColumn),
        ),
        (
            reading("E4", GOOD, "2025-11-03", "1").replace("}", r#","colour":"red"}"#).into(),
            Some(Reason::UnknownColumn),
        ),
        (reading("E5", GOOD, "2025-02-30", "1").into(), Some(Reason::BadDate)),
        (reading("E6", GOOD, "2025-11-03", "-1").into(), Some(Reason::OutOfRange)),
        (reading("E7", GOOD, "2025-11-03", r#""约1""#).into(), Some(Reason::BadNumber)),
        (reading("E8", "", "2025-11-03", "1").into(), Some(Reason::EmptyAddress)),
        (reading("E9", "广东省深圳市南山区科技路1号", "2025-11-03", "1").into(), Some(Reason::OtherProvince)),
        (reading("E10", &long, "2025-11-03", "1").into(), Some(Reason::TooLarge)),
        (vec![b'x'; 10 << 20], Some(Reason::TooLarge)),
        (
            reading("E11", "南京市鼓楼区不存在路999号虚无花园1幢101室", "2025-11-03", "1").into(),
            Some(Reason::AddressNotFound),
        ),
        (
            reading("E12", "南京市云杉花园1幢1单元101室", "2025-11-03", "1").into(),
            Some(Reason::AddressAmbiguous),
        ),
        (
            reading("E13", "南京市鼓楼区上海路12号青禾新村", "2025-11-03", "1").into(),
            Some(Reason::AddressTooCoarse),
        ),
        (
            reading("E14", "南京市鼓楼区上海路12号青禾新村2幢1单元102室", "2025-11-03", "1").into(),
            Some(Reason::PlaceWithdrawn),
        ),
        (reading("E15", "青禾新村2-1-201", "2025-11-03", "1").into(), None),
    ];
    let records: Vec<Raw> = cases.iter().map(|(value, _)| Raw::new(&bench.contract, value, None)).collect();
    bench.send(&records);
    let expected: Vec<Reason> = cases.iter().filter_map(|(_, reason)| *reason).collect();
    assert_eq!(bench.reasons(), expected);
    assert_eq!(bench.outcomes(), [17, 2, 15, 0]);
    let details = |reason: Reason| {
        let rejection =
            bench.sent.refused.iter().find(|rejection| rejection.reason == reason.code()).unwrap();
        (rejection.offset, rejection.detail.clone())
    };
    let (offset, ambiguous) = details(Reason::AddressAmbiguous);
    assert_eq!(offset, 13);
    assert!(
        ambiguous.contains("玄武区") && ambiguous.contains("秦淮区") && ambiguous.contains("云杉花园"),
        "{ambiguous}"
    );
    assert!(details(Reason::AddressTooCoarse).1.contains("户室"));
    for rejection in &bench.sent.refused {
        assert_eq!(rejection.topic, "raw.utilities.electricity-readings");
        assert!(rejection.contract_version == "1.0.0" && rejection.gazetteer_version.len() == 16);
        assert!(rejection.detail.chars().count() <= 401, "a header has a limit");
    }
}

#[test]
fn a_record_whose_personal_fields_could_not_be_dropped_is_quarantined_as_withheld() {
    let mut bench = Bench::new("police/housing-registrations");
    let raw = bench.json(r#"{"registration_id":"R1","landlord_phone":"13900000000""#);
    assert!(!String::from_utf8_lossy(raw.value.as_deref().unwrap()).contains("139"));
    bench.send(&[raw]);
    assert_eq!(bench.reasons(), [Reason::Withheld]);
}

#[test]
fn a_record_of_which_only_the_beginning_came_is_too_large() {
    let mut bench = Bench::new(ELECTRICITY);
    let mut raw = bench.json(&reading("E1", GOOD, "2025-11-03", "1"));
    raw.provenance.truncated = true;
    bench.send(&[raw]);
    assert_eq!(bench.reasons(), [Reason::TooLarge]);
}

#[test]
fn a_message_of_another_schema_is_quarantined() {
    let mut bench = Bench::new("grid/hazard-reports");
    // Field 2 as a number, and a field that the schema does not have.
    bench.send(&[
        Raw::new(&bench.contract, [0x10, 0x05, 0x98, 0x06, 0x01], None),
        Raw::new(&bench.contract, [0xff; 7], None),
    ]);
    for reason in bench.reasons() {
        assert!(matches!(reason, Reason::WrongSchema | Reason::Malformed), "{reason}");
    }
    assert_eq!(bench.outcomes(), [2, 0, 2, 0]);
}

#[test]
fn csv_in_another_encoding_or_with_other_columns_is_quarantined() {
    let mut bench = Bench::new("utilities/water-readings");
    let gbk = |text: &str| encoding_rs::GBK.encode(text).0.into_owned();
    let header = gbk("户号,用水地址,抄表日期,用水量（吨）,水表状态");
    let row = |values: &str| Raw::new(&bench.contract, gbk(values), Some(&header));
    let good = row("W1,鼓楼区青禾新村１幢１单元１０１室,2025年11月3日,０．３５,正常");
    let cut = row("W2,鼓楼区青禾新村1幢1单元101室,2025/11/3");
    let impossible = row("W3,鼓楼区青禾新村1幢1单元101室,2025/11/31,1,正常");
    let broken = Raw::new(
        &bench.contract,
        [b"W4,".as_slice(), &[0x81, 0xff, 0xff], b",2025/11/3,1,".as_slice()].concat(),
        Some(&header),
    );
    let lacks = gbk("户号,用水地址,抄表日期,水表状态");
    let missing =
        Raw::new(&bench.contract, gbk("W5,鼓楼区青禾新村1幢1单元101室,2025/11/3,正常"), Some(&lacks));
    let headless = Raw::new(&bench.contract, gbk("W6,鼓楼区青禾新村1幢1单元101室,2025/11/3,1,正常"), None);
    bench.send(&[good, cut, impossible, broken, missing, headless]);
    assert_eq!(
        bench.reasons(),
        [Reason::Malformed, Reason::BadDate, Reason::Undecodable, Reason::MissingColumn, Reason::Malformed]
    );
    assert_eq!(bench.outcomes(), [6, 1, 5, 0]);
}

#[test]
fn a_standard_address_needs_a_level_and_a_division_that_exist() {
    let mut bench = Bench::new(POLICE);
    let header = "地址编码,标准地址,行政区划代码,省,市,区县,街道,社区,道路,门牌号,小区名称,楼栋,单元,户室,地址级别,状态,别名,更新时间";
    let row = |id: &str, code: &str, level: &str| {
        let values = format!(
            "{id},南京市鼓楼区上海路12号青禾新村,{code},江苏省,南京市,鼓楼区,,,上海路,12号,青禾新村,,,,{level},在用,,2025-11-01 08:00:00"
        );
        Raw::new(&bench.contract, values, Some(header.as_bytes()))
    };
    bench.send(&[
        row("1", "320106", "小区"),
        row("2", "329999", "小区"),
        row("3", "440304", "小区"),
        row("4", "", "小区"),
        row("5", "320106", "洞穴"),
    ]);
    assert_eq!(bench.reasons(), [Reason::BadValue, Reason::OtherProvince, Reason::BadValue]);
    assert_eq!(bench.outcomes(), [5, 2, 3, 0]);
    let facts = bench.sent.in_order(&bench.kinds);
    assert_eq!((facts[0].level.as_str(), facts[0].division_code.as_str()), ("compound", "320106000000"));
    assert_eq!(facts[0].place, crate::support::place("1"));
    assert_eq!(facts[1].division_code, "320106000000", "by its names, where the code is empty");
}

#[test]
fn a_dispute_may_lie_in_a_compound_but_a_reading_may_not() {
    let mut bench = Bench::new(DISPUTES);
    let raw = [
        bench.json(&dispute("C1", "南京市鼓楼区上海路12号青禾新村")),
        bench.json(&dispute("C2", "南京市鼓楼区上海路12号青禾新村77幢")),
        bench.json(&dispute("C3", "南京市云杉花园")),
    ];
    bench.send(&raw);
    assert_eq!(bench.reasons(), [Reason::AddressAmbiguous]);
    let facts = bench.sent.in_order(&bench.kinds);
    let places: Vec<_> =
        facts.iter().map(|fact| (fact.place, fact.level.as_str(), fact.match_reason.as_str())).collect();
    let compound = crate::support::place("QH");
    assert_eq!(places[0].0, compound);
    assert_eq!(
        places[1],
        (compound, "compound", "no_such_building"),
        "the building is unknown, the compound is certain"
    );
}

#[test]
fn a_record_that_names_a_standard_address_by_its_id_needs_no_address() {
    let mut contract =
        yibiao_contracts::Contract::clone(&crate::support::contract(DISPUTES, &crate::support::kinds()));
    contract.place.as_mut().unwrap().external_id = Some("case_no".into());
    let mut bench = Bench::of(contract.into());
    let named = |id: &str| bench.json(&dispute(id, "无关"));
    let records = [named("QH-1-1-101"), named("NOWHERE"), named("QH-2-1-102"), named("QH")];
    bench.send(&records);
    assert_eq!(bench.reasons(), [Reason::UnknownPlace, Reason::PlaceWithdrawn]);
    let facts = bench.sent.in_order(&bench.kinds);
    assert_eq!(
        (facts[0].place, facts[0].match_reason.as_str()),
        (crate::support::place("QH-1-1-101"), "place_id")
    );
    assert_eq!((facts[1].place, facts[1].level.as_str()), (crate::support::place("QH"), "compound"));
}

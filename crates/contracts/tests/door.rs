//! What the door lets through, and what it never does.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{contract, contract_of, csv_feed, json_feed};
use proptest::prelude::*;
use yibiao_contracts::PseudonymKeys;
use yibiao_records::Reason;

#[test]
fn bytes_without_personal_fields_pass_untouched_whatever_they_are() {
    let mut door = contract("utilities/water-readings").door();
    for value in [&b"W1,\xff\xff,x"[..], b"", b"\"open"] {
        let admitted = door.admit(value, Some(b"a,b"));
        assert_eq!(admitted.value.as_ref(), value);
        assert!(!admitted.withheld && admitted.key.starts_with(b"?"));
    }
}

#[test]
fn one_record_written_in_two_ways_has_one_key() {
    let mut door = contract("utilities/electricity-readings").door();
    let one = door.admit(br#"{"meter_no":"E1","reading_date":"2025/11/3"}"#, None).key;
    let other = door.admit("{\"reading_date\":\"20251103\",\"meter_no\":\" Ｅ１\"}".as_bytes(), None).key;
    assert_eq!(one, other);
    assert_eq!(String::from_utf8(one).unwrap(), "E1\u{1f}2025-11-03");
}

#[test]
fn dropped_cells_are_blank_and_every_other_byte_stays() {
    let contract = csv_feed("drop: [姓名]");
    let header = "编号,姓名,地址,日期".as_bytes();
    for (before, after) in [
        ("1,张三测试,甲路1号,2025-11-03", "1,,甲路1号,2025-11-03"),
        ("1,\"张三,\"\"测试\"\"\", 甲路1号 ,2025-11-03", "1,, 甲路1号 ,2025-11-03"),
        ("1,,甲路1号,2025-11-03", "1,,甲路1号,2025-11-03"),
    ] {
        let mut door = contract.door();
        let admitted = door.admit(before.as_bytes(), Some(header));
        assert_eq!(std::str::from_utf8(&admitted.value).unwrap(), after);
        assert_eq!(admitted.key, b"1");
        assert_eq!(admitted.columns.as_deref(), Some(header));
    }
}

#[test]
fn a_personal_column_is_found_wherever_the_file_has_it() {
    let contract = csv_feed("drop: [姓名]");
    let admitted = contract
        .door()
        .admit("甲路1号,2025-11-03,张三测试,1".as_bytes(), Some("地址,日期,　姓名,编号".as_bytes()))
        .value
        .into_owned();
    assert_eq!(String::from_utf8(admitted).unwrap(), "甲路1号,2025-11-03,,1");
}

#[test]
fn a_record_that_cannot_be_read_is_withheld_where_fields_are_dropped() {
    let contract = csv_feed("drop: [姓名]");
    let header = "编号,姓名,地址,日期".as_bytes();
    let large = format!("1,张三测试,{},2025-11-03", "路".repeat(9000));
    for (value, columns, reason) in [
        ("1,张三测试".as_bytes(), Some(header), Reason::Withheld),
        ("1,\"张三测试,甲路1号,2025-11-03".as_bytes(), Some(header), Reason::Withheld),
        ("1,张三测试,甲路1号,2025-11-03,多".as_bytes(), Some(header), Reason::Withheld),
        ("1,张三测试,甲路1号,2025-11-03".as_bytes(), None, Reason::Withheld),
        // The personal column under another name.
        ("1,张三测试,甲路1号,2025-11-03".as_bytes(), Some("编号,人,地址,日期".as_bytes()), Reason::Withheld),
        (large.as_bytes(), Some(header), Reason::TooLarge),
    ] {
        let mut door = contract.door();
        let admitted = door.admit(value, columns);
        assert!(admitted.withheld);
        let note = std::str::from_utf8(&admitted.value).unwrap();
        assert!(note.starts_with("{\"withheld\":") && !note.contains("张三"), "{note}");
        assert_eq!(fixture::decode(&contract, &admitted.value, columns).unwrap_err().reason, reason);
    }
}

#[test]
fn a_broken_record_with_an_unregistered_personal_column_is_withheld_in_every_feed() {
    let cases = contract("justice/mediation-cases");
    for (value, withheld) in [
        (r#"{"case_no":"1","parties":["张测试","#, true),
        (r#"{"case_no":"1","extra":{"姓名" : "张"#, true),
        (r#"{"case_no":"1","category":"邻里"#, false),
    ] {
        let admitted = cases.door().admit(value.as_bytes(), None).value.into_owned();
        assert_eq!(admitted != value.as_bytes(), withheld, "{value}");
        assert!(!withheld || !String::from_utf8(admitted).unwrap().contains('张'));
    }
    let gas = contract("utilities/gas-readings");
    let header = |columns: &str| encoding_rs::GB18030.encode(columns).0.into_owned();
    let (plain, extra) =
        (header("燃气户号;地址;日期;用气量(方);表型"), header("燃气户号;地址;日期;用气量(方);表型;联系电话"));
    assert!(!gas.door().admit(b"G1;x;2025-11-03", Some(&plain)).withheld);
    assert!(gas.door().admit(b"G1;x;2025-11-03;13800000000", Some(&extra)).withheld);
}

#[test]
fn nothing_hides_in_what_looks_like_a_note() {
    let contract = json_feed("drop: [phone]", "");
    let value = br#"{"withheld":"malformed","length":1,"hash":"00000000000000000000000000000000","phone":"13800000000"}"#;
    let admitted = contract.door().admit(value, None);
    assert!(!admitted.value.windows(5).any(|part| part == b"13800"));
    assert!(!admitted.withheld);
}

#[test]
fn dropped_members_are_removed_however_their_name_is_written() {
    let contract = json_feed("drop: [phone]", "");
    for (before, after) in [
        (
            r#"{"id":"1","phone":"138","address":"甲路","day":"2025-11-03"}"#,
            r#"{"id":"1","address":"甲路","day":"2025-11-03"}"#,
        ),
        (r#"{ "phone" : "138" , "id":"1" }"#, r#"{"id":"1" }"#),
        (r#"{ "id" : "1", "phone" : "138" }"#, r#"{ "id" : "1" }"#),
        (r#"{"id":"1","phone":{"a":"138"}}"#, r#"{"id":"1"}"#),
        (r#"{"id":"1","\u0070hone":"138"}"#, r#"{"id":"1"}"#),
        (r#"{"id":"1","PHONE":"138","phone":"139"}"#, r#"{"id":"1"}"#),
        (r#"{"phone":"138"}"#, r#"{}"#),
        // Undeclared, personal by name or by what lies within: emptied, so that the name is still told.
        (r#"{"id":"1","contact_phone":"138"}"#, r#"{"id":"1","contact_phone":null}"#),
        (r#"{"id":"1","extra":[{"Phone":"138"}]}"#, r#"{"id":"1","extra":null}"#),
        (r#"{"id":"1","extra":[{"size":3}]}"#, r#"{"id":"1","extra":[{"size":3}]}"#),
    ] {
        let mut door = contract.door();
        let admitted = door.admit(before.as_bytes(), None);
        assert_eq!(std::str::from_utf8(&admitted.value).unwrap(), after);
    }
}

#[test]
fn json_in_gbk_is_guarded_too() {
    let contract = json_feed("drop: [phone]", "encoding: gbk\n      ");
    // 昞 is D5 5C in GB18030: its second byte is a backslash.
    let text = r#"{"id":"1","address":"昞路","phone":"138","day":"2025-11-03"}"#;
    let (bytes, _, _) = encoding_rs::GBK.encode(text);
    let admitted = contract.door().admit(&bytes, None).value.into_owned();
    let (back, _, _) = encoding_rs::GBK.decode(&admitted);
    assert_eq!(back, r#"{"id":"1","address":"昞路","day":"2025-11-03"}"#);
    assert_eq!(fixture::decode(&contract, &admitted, None).unwrap().address.as_deref(), Some("昞路"));
}

#[test]
fn protobuf_fields_are_cut_out_of_the_bytes() {
    let contract = contract_of("grid/hazard-reports", |text| {
        text.replace(
            "  - property: yibiao.legal",
            "  - property: yibiao.privacy\n    value: { drop: [note] }\n  - property: yibiao.legal",
        )
    });
    let value = b"\x0a\x02H1\x12\x01a\x1a\x01b\x20\xd0\x86\x03\x28\x03\x32\x06canary";
    let admitted = contract.door().admit(value, None);
    assert_eq!(admitted.value.as_ref(), b"\x0a\x02H1\x12\x01a\x1a\x01b\x20\xd0\x86\x03\x28\x03");
    assert_eq!(admitted.key, b"H1");
    assert!(contract.door().admit(b"\x0a\x02H", None).withheld);
}

#[test]
fn pseudonyms_replace_identifiers_and_without_a_key_nothing_is_kept() {
    let contract = json_feed("pseudonymise: [{ field: phone, purpose: rental }]", "");
    let value = br#"{"id":"1","address":"x","phone":"13800000000","day":"2025-11-03"}"#;
    let keyless = contract.door().admit(value, None).value.into_owned();
    assert_eq!(std::str::from_utf8(&keyless).unwrap(), r#"{"id":"1","address":"x","day":"2025-11-03"}"#);
    assert!(contract.door_with_keys(&PseudonymKeys::default()).is_err());
    let keys = PseudonymKeys::new([("rental".to_owned(), vec![7; 32])]).unwrap();
    let mut door = contract.door_with_keys(&keys).unwrap();
    let once = door.admit(value, None).value.into_owned();
    let text = String::from_utf8(once.clone()).unwrap();
    assert!(text.contains("\"phone\":\"sm3:") && !text.contains("138000"), "{text}");
    assert_eq!(door.admit(&once, None).value.as_ref(), once);
}

const CANARY: &str = "CANARY320106";

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..Default::default() })]

    #[test]
    fn passing_twice_is_passing_once_and_a_dropped_value_never_passes_csv(
        cells in prop::collection::vec("[a-z,\" 路;\r\n]{0,6}", 4),
        quoted in prop::collection::vec(any::<bool>(), 4),
        order in Just(["编号", "姓名", "地址", "日期"]).prop_shuffle(),
        cut in 0usize..60,
    ) {
        let contract = csv_feed("drop: [姓名]");
        let header = order.join(",");
        let record: Vec<String> = order.iter().zip(cells.iter().zip(&quoted)).map(|(name, (cell, quoted))| {
            let cell = if *name == "姓名" { format!("{cell}{CANARY}{cell}") } else { cell.clone() };
            if *quoted { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
        }).collect();
        let record = record.join(",");
        // Sometimes cut off, wherever it is.
        let record = if cut < record.len() { &record.as_bytes()[..record.len() - cut] } else { record.as_bytes() };
        let mut door = contract.door();
        let once = door.admit(record, Some(header.as_bytes()));
        let twice = door.admit(&once.value, Some(header.as_bytes()));
        prop_assert_eq!(&once.value, &twice.value);
        prop_assert_eq!(once.withheld, twice.withheld);
        if !once.key.starts_with(b"?") || once.withheld {
            prop_assert_eq!(&once.key, &twice.key);
        }
        // Only loose quotes can move a cell's content into another cell: the source itself then says so.
        let well_formed = cells.iter().zip(&quoted).all(|(cell, quoted)| *quoted || !cell.contains([',', '"', '\r', '\n']));
        if well_formed {
            prop_assert!(!String::from_utf8_lossy(&once.value).contains(CANARY));
        }
    }

    #[test]
    fn a_dropped_value_never_passes_json(
        names in prop::collection::vec("[a-z\\\\\"{}\\[\\], :]{0,5}", 0..5),
        texts in prop::collection::vec("[a-z\\\\\"{}\\[\\], :路]{0,9}", 0..5),
        at in 0usize..5,
        cut in 0usize..30,
    ) {
        let contract = json_feed("drop: [phone]", "unknown: ignore\n      ");
        let mut members: Vec<String> = names.iter().zip(&texts).map(|(name, text)| {
            format!("{}:{}", serde_json::to_string(name).unwrap(), serde_json::to_string(text).unwrap())
        }).collect();
        members.insert(at.min(members.len()), format!("\"phone\":[{{\"x\":\"{CANARY}\"}},\"{CANARY}\"]"));
        let record = format!("{{{}}}", members.join(", "));
        let record = if cut < 10 { &record.as_bytes()[..record.len() - cut] } else { record.as_bytes() };
        let mut door = contract.door();
        let once = door.admit(record, None);
        prop_assert!(!String::from_utf8_lossy(&once.value).contains(CANARY));
        let twice = door.admit(&once.value, None);
        prop_assert_eq!(&once, &yibiao_contracts::Admitted { value: std::borrow::Cow::Borrowed(&once.value), ..twice.clone() });
        prop_assert_eq!(&once.value, &twice.value);
        let decoded = format!("{:?}", fixture::decode(&contract, &once.value, None));
        prop_assert!(!decoded.contains(CANARY));
    }
}

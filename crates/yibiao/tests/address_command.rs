//! `yibiao address` as its users call it.
#![allow(clippy::unwrap_used)]

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

fn yibiao(args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_yibiao"))
        .arg("address")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(out.status.success(), "{args:?}");
    out.stdout
}

fn lines(bytes: &[u8]) -> Vec<serde_json::Value> {
    String::from_utf8(bytes.to_vec())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const ADDRESSES: [&str; 4] =
    ["江苏省南京市鼓楼区上海路12号青禾新村25幢2单元402室", "", "青禾新村２５－２－４０２", "(((\u{202e}😀"];

#[test]
fn the_same_addresses_parse_the_same_from_lines_csv_json_and_parquet() {
    let expected = lines(&yibiao(&["parse"], format!("{}\n", ADDRESSES.join("\n")).as_bytes()));
    assert_eq!(expected.len(), ADDRESSES.len());
    assert_eq!(expected[0]["room"]["value"], "402");

    let csv: String = ADDRESSES.iter().enumerate().map(|(n, address)| format!("{n};{address}\n")).collect();
    let csv = format!("编号;地址\n{csv}");
    let from_csv =
        yibiao(&["parse", "--format", "csv", "--delimiter", ";", "--column", "地址"], csv.as_bytes());
    assert_eq!(lines(&from_csv), expected);

    let json: String =
        ADDRESSES.iter().map(|address| format!("{}\n", serde_json::json!({ "address": address }))).collect();
    assert_eq!(lines(&yibiao(&["parse", "--format", "jsonl"], json.as_bytes())), expected);

    let parquet = yibiao(&["parse", "--format", "jsonl", "--output", "parquet"], json.as_bytes());
    assert_eq!(lines(&yibiao(&["parse", "--format", "parquet"], &parquet)), expected);
}

#[test]
fn resolving_answers_every_line_in_its_place_also_those_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let places = dir.path().join("places.tsv");
    std::fs::write(&places, "place_id\tcity\tname\taddress\nP1\t南京市\t青禾新村\t鼓楼区上海路12号\n")
        .unwrap();
    let places: &Path = &places;
    let queries = "{\"city\":\"南京市\",\"name\":\"青禾新村\",\"address\":\"鼓楼区上海路12号\"}\nnot json\n\
                   {\"address\":\"\\ud800\"}\n";
    let args = ["resolve", "--places", places.to_str().unwrap()];
    let answers = lines(&yibiao(&args, queries.as_bytes()));
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0]["place_id"], "P1");
    assert!(answers[1]["place_id"].is_null() && answers[1]["error"].as_str().unwrap().contains("line 2"));
    assert!(answers[2]["place_id"].is_null() && answers[2].get("error").is_none());
}

//! The sample test itself: it tells what differs, and what cannot be read.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{contract, kinds, pipelines};
use yibiao_contracts::try_files;

#[test]
fn a_wrong_expectation_is_told_by_record_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let expected = folder.path().join("expected.yaml");
    let text = "never_stored: [W0000001]
records:
  - accepted: { key: [W0000001, 2025-11-04], valid_from: 2025-11-03, payload: { amount: 0.36, colour: red } }
  - rejected: bad_date
  - accepted: {}
  - { rejected: out_of_range, field: 水表状态 }
  - accepted: {}
  - rejected: no_such_reason
";
    std::fs::write(&expected, text).unwrap();
    let sample = pipelines().join("feeds/utilities/water-readings.sample.csv");
    let report =
        try_files(&contract("utilities/water-readings"), &kinds(), &sample, Some(&expected)).unwrap();
    assert!(!report.is_as_expected());
    let shown = report.to_string();
    for part in [
        "3 accepted, 7 rejected",
        "the sample has 10 records, 6 are expected",
        "record 1: key: expected 'W0000001 | 2025-11-04', found 'W0000001 | 2025-11-03'",
        "record 1: amount: expected '0.36', found '0.35'",
        "record 1: payload: expected 'colour', found 'no such column'",
        "record 1: a text of never_stored came past the door",
        "record 2: expected to be rejected as bad_date, but accepted",
        "record 4: expected to be rejected as out_of_range in '水表状态', but it is: out_of_range in '用水量（吨）'",
        "record 5: expected to be accepted, but rejected: bad_date in '抄表日期'",
        "record 6: 'no_such_reason' is no reason's code",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(!shown.contains("record 3"), "{shown}");
}

#[test]
fn a_truncated_workbook_or_message_is_an_error_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    for (feed, extension) in [("civil-affairs/organisations", "xlsx"), ("grid/hazard-reports", "binpb")] {
        let whole = std::fs::read(pipelines().join(format!("feeds/{feed}.sample.{extension}"))).unwrap();
        let path = folder.path().join(format!("cut.{extension}"));
        std::fs::write(&path, &whole[..whole.len() - 30]).unwrap();
        let error = try_files(&contract(feed), &kinds(), &path, None).unwrap_err();
        assert!(error.to_string().contains("cut."), "{error}");
        assert_eq!(error.fault(), yibiao_records::Fault::OPERATOR);
    }
}

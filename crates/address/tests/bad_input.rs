//! Any text at all gets an answer, and any file that is no gazetteer is refused with what is wrong.
//! The same properties are fuzzed in `fuzz/`; what a fuzzer finds stays here as a case.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use yibiao_address::{
    Divisions, Error, Folded, Gazetteer, GazetteerBuilder, Language, Level, Query, Resolver, Scratch,
    StandardAddress, fold, match_pair, parse,
};

/// What texts are made of, and what they should not be made of.
const PIECES: [&str; 58] = [
    "江苏省",
    "南京市",
    "鼓楼区",
    "白下区",
    "华侨路街道",
    "慈悲社社区",
    "云栖路",
    "12号",
    "青禾新村",
    "25幢",
    "2单元",
    "402室",
    "二楼",
    "十",
    "百",
    "〇",
    "之",
    "附",
    "甲",
    "弄",
    "村",
    "区",
    "县",
    "镇",
    "组",
    "层",
    "中国",
    "省",
    "市",
    "东",
    "单",
    "元",
    "号",
    "路",
    "街",
    "门",
    "第",
    "对面",
    "300米",
    "1",
    "-",
    "—",
    "(",
    "）",
    "#",
    "/",
    " ",
    "\t",
    "\u{3000}",
    ".",
    "·",
    "a",
    "O",
    "Ⅻ",
    "⑳",
    "\u{202e}",
    "𠮷",
    "\u{0}",
];

const ODD: [&str; 22] = [
    "",
    " ",
    "\u{0}",
    "\u{feff}",
    "\r\n",
    "\u{1b}[31m上海路12号\u{1b}[0m",
    "\u{202e}号21路海上\u{202c}",
    "\u{200b}\u{200d}\u{fe0f}",
    "\u{fffd}\u{fffd}\u{fffd}号",
    "\u{10ffff}\u{e000}",
    "上海路\u{301}12\u{301}号",
    "12345678901234567890",
    "0000000000",
    "１２３－４５６",
    "-1",
    "3.14159",
    "١٢ شارع الملك، الرياض",
    "ул. Ленина, д. 12, кв. 3",
    "서울특별시 종로구 세종대로 12",
    "東京都千代田区丸の内1丁目",
    "123 Main St, Apt 4B",
    "🏠🏠🏠12号🏠",
];

static GAZETTEER: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small");
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    for (place, (building, room)) in (1..).zip([("25幢", "402室"), ("25幢", "403室"), ("26幢", "101室")])
    {
        builder
            .add(StandardAddress {
                place,
                level: Level::Dwelling,
                city: "南京市".into(),
                county: "鼓楼区".into(),
                road: "云栖路".into(),
                number: "12号".into(),
                compound: "青禾新村".into(),
                building: building.into(),
                unit: "2单元".into(),
                room: room.into(),
                ..StandardAddress::default()
            })
            .unwrap();
    }
    builder.finish(&path).unwrap();
    (folder, path)
});

fn resolver() -> Resolver {
    Resolver::new(Arc::new(Gazetteer::open(&GAZETTEER.1).unwrap()))
}

/// Everything that can be asked about a text, with what must hold of every answer.
fn ask_everything(resolver: &Resolver, text: &str) {
    let mut folded = Folded::default();
    fold(text, &mut folded);
    let once = folded.text();
    fold(&once, &mut folded);
    assert_eq!(folded.text(), once, "folding twice is folding once: {text:?}");

    let parsed = parse(text, Divisions::bundled(), None);
    assert_eq!(parsed.text, text);
    let chars = text.chars().count() as u32;
    let p = &parsed;
    let areas = [&p.province, &p.city, &p.county, &p.township, &p.community];
    let others = [&p.group, &p.road, &p.number, &p.compound, &p.building, &p.unit, &p.floor, &p.room];
    let spans = areas.into_iter().flatten().filter_map(|a| a.span);
    for [start, end] in spans.chain(others.into_iter().flatten().map(|e| e.span)) {
        assert!(start < end && end <= chars, "[{start}, {end}) of {chars} characters: {text:?}");
    }

    let mut scratch = Scratch::default();
    for (text, name) in [(text, None), (text, Some(text)), ("青禾新村25幢", Some(text))] {
        for city in [None, Some("南京市"), Some(text)] {
            let answer = resolver.resolve(&Query { text, city, name }, &mut scratch);
            assert!((0.0..=1.0).contains(&answer.confidence), "{text:?}");
            assert_eq!(answer.place.is_some(), answer.confidence > 0.0, "{text:?}");
        }
    }
    assert!(match_pair(text, "南京市鼓楼区云栖路12号") <= 2);
    assert!(match_pair(text, text) <= 2);
}

#[test]
fn odd_texts_are_answered() {
    let resolver = resolver();
    for text in ODD {
        ask_everything(&resolver, text);
        ask_everything(&resolver, &format!("南京市鼓楼区{text}青禾新村{text}25幢{text}402室{text}"));
        let query = Query { text, city: None, name: None };
        assert!(!resolver.explain(&query, Language::Chinese).is_empty());
        assert!(!resolver.explain(&query, Language::English).is_empty());
    }
}

#[test]
fn what_is_no_utf8_is_answered_once_it_was_read_with_replacements() {
    let resolver = resolver();
    for bytes in [&b"\xff\xfe\x00"[..], b"\xe5\x8f", b"\xc0\x80", b"\xed\xa0\x80\xed\xb0\x80", &[0x80; 40]] {
        ask_everything(&resolver, &String::from_utf8_lossy(bytes));
        let within = [&b"\xe5\x8f\xb7"[..], bytes, "云栖路12号".as_bytes()].concat();
        ask_everything(&resolver, &String::from_utf8_lossy(&within));
    }
}

#[test]
fn ten_thousand_spaces_are_no_address_and_hide_none() {
    let spaces = " ".repeat(10_000);
    let resolver = resolver();
    ask_everything(&resolver, &spaces);
    let text = format!("{spaces}南京市{spaces}鼓楼区{spaces}青禾新村{spaces}25幢2单元402室{spaces}");
    let query = Query { text: &text, city: None, name: None };
    assert_eq!(resolver.resolve(&query, &mut Scratch::default()).place, Some(1));
    let room = parse(&text, Divisions::bundled(), None).room.unwrap();
    assert_eq!((room.value.as_str(), room.span), ("402", [40_016, 40_020]));
}

/// Ten seconds are plenty for what is linear, without optimisation and on a busy machine; what is not takes minutes.
const LONG_TEXT_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_megabyte_of_anything_is_answered_in_linear_time() {
    let resolver = resolver();
    let mut scratch = Scratch::default();
    for piece in ["号", "1", " ", "村", "青禾新村", "云栖路12号", "1-", "\u{202e}"] {
        let text = piece.repeat((1 << 20) / piece.len());
        let start = Instant::now();
        parse(&text, Divisions::bundled(), None);
        assert!(start.elapsed() < LONG_TEXT_LIMIT, "parse {piece:?}: {:?}", start.elapsed());
        let start = Instant::now();
        resolver.resolve(&Query { text: &text, city: Some("南京市"), name: None }, &mut scratch);
        assert!(start.elapsed() < LONG_TEXT_LIMIT, "resolve {piece:?}: {:?}", start.elapsed());
    }
}

fn open(bytes: &[u8]) -> Result<Gazetteer, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    match Gazetteer::open(&path) {
        Ok(gazetteer) => Ok(gazetteer),
        Err(Error::Damaged { problem, .. }) => Err(problem),
        // An empty file cannot be mapped everywhere.
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn foreign_files_are_refused_with_what_is_wrong() {
    let good = std::fs::read(&GAZETTEER.1).unwrap();
    assert!(open(&good).is_ok());
    assert!(open(b"").unwrap_err().contains("too few"));
    assert!(open(b"YIBIAOGZ").unwrap_err().contains("too few"));
    assert!(open(&b"PK\x03\x04".repeat(1_000)).unwrap_err().contains("not a gazetteer"));
    assert!(open("南京市鼓楼区\n".repeat(1_000).as_bytes()).unwrap_err().contains("not a gazetteer"));
    assert!(open(&vec![0; 10_000]).unwrap_err().contains("not a gazetteer"));
    let mut other = good.clone();
    other[8] = 99;
    assert!(open(&other).unwrap_err().contains("format 99"));
    assert!(
        Gazetteer::open(Path::new("/nowhere/at/all")).unwrap_err().to_string().contains("/nowhere/at/all")
    );
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let good = std::fs::read(&GAZETTEER.1).unwrap();
    for length in (0..good.len().min(600)).chain((600..good.len().saturating_sub(8)).step_by(97)) {
        let problem = open(&good[..length]).unwrap_err();
        assert!(problem.contains("too few") || problem.contains("cut short"), "{length}: {problem}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_mixture_of_pieces_is_answered(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24)) {
        ask_everything(&resolver(), &pieces.concat());
    }

    #[test]
    fn any_characters_at_all_are_answered(text in any::<String>()) {
        ask_everything(&resolver(), &text);
    }

    #[test]
    fn flipped_bytes_are_noticed_or_lie_between_the_sections(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let good = std::fs::read(&GAZETTEER.1).unwrap();
        let mut bytes = good.clone();
        for (at, by) in flips {
            bytes[at.index(good.len())] ^= by;
        }
        if let Ok(gazetteer) = open(&bytes) {
            let query = Query { text: "青禾新村25幢2单元402室", city: Some("南京市"), name: None };
            let answer = Resolver::new(Arc::new(gazetteer)).resolve(&query, &mut Scratch::default());
            prop_assert_eq!(answer.place, Some(1));
        }
    }
}

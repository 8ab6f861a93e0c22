//! Every span lies in the text and shows its words; a pair is none, partial or the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yibiao_address::{Divisions, match_pair, parse};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let divisions = Divisions::bundled();
    // A first line is the feed's own area, a second the text.
    let (area, text) = text.split_once('\n').unwrap_or(("", &text));
    let p = parse(text, divisions, divisions.area(area));
    assert_eq!(p.text, text);
    let chars: Vec<char> = text.chars().collect();
    for area in [&p.province, &p.city, &p.county, &p.township, &p.community].into_iter().flatten() {
        if let Some([start, end]) = area.span {
            assert!(start < end && end as usize <= chars.len());
        }
        if let Some(code) = &area.code {
            assert!(divisions.id_by_code(code).is_some(), "{code}");
        }
    }
    for element in [&p.group, &p.road, &p.number, &p.compound, &p.building, &p.unit, &p.floor, &p.room]
        .into_iter()
        .flatten()
    {
        let [start, end] = element.span;
        assert!(start < end);
        assert_eq!(chars[start as usize..end as usize].iter().collect::<String>(), element.text);
    }
    assert!(match_pair(area, text) <= 2);
});

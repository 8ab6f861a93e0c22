//! The hot path allocates nothing per record: memory grows to the longest text once, and is used again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use yibiao_address::{
    Divisions, Folded, Gazetteer, GazetteerBuilder, Level, Parser, Query, Resolver, Scratch, StandardAddress,
    fold,
};

struct Counting;

thread_local! {
    /// Allocations of this thread.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

/// Every part of the parser is reached: all levels, namesakes, contradictions, unknown names, traditional forms, numerals
/// that are settled more than once, chains, ranges, names appended.
const TEXTS: [&str; 16] = [
    "江苏省南京市鼓楼区华侨路街道慈悲社社区上海路12号云栖新村25幢2单元402室",
    "江寧區　雲棲新村２５—４O２",
    "西湖区转塘街道望月路8弄3号松涛大厦B座12层1203",
    "鼓楼区云栖花园二期十二栋二单元四〇二室",
    "徐州市张庄村3组",
    "中国浙江省杭州市浙江省杭州市西湖区青禾科技园3号楼A座",
    "南京市白下区上海路12-1号附3号对面望月超市",
    "苏州市姑苏区工业园区松涛路与竹海路交叉口云栖大厦旁",
    "上海市广东路145弄55号",
    "null 市辖区 青禾镇望月村五组18号",
    "云栖花园21702",
    "青禾塘松涛南路88-33号 望月商贸城2975号",
    "北京北京市东城区东华门街道多福巷社区居委会",
    "吴县望月镇云栖农贸城青禾山路O0一0号",
    "收件地址浙江省绍兴县柯桥街道青禾公寓①幢404-411室",
    "",
];

#[test]
fn folding_allocates_nothing_once_its_memory_has_grown() {
    let mut folded = Folded::default();
    let mut all = || TEXTS.iter().for_each(|text| fold(text, &mut folded));
    all();
    assert_eq!(allocations(all), 0);
}

#[test]
fn parsing_allocates_nothing_once_its_memory_has_grown() {
    let divisions = Divisions::bundled();
    let areas = [None, divisions.area("南京市"), divisions.area("330106")];
    let mut parser = Parser::default();
    let mut elements = 0;
    let mut all = || {
        for (text, area) in TEXTS.iter().flat_map(|text| areas.map(|area| (text, area))) {
            let reading = parser.parse(text, divisions, area);
            let written = [&reading.road, &reading.compound, &reading.building, &reading.room];
            let written = written.into_iter().flatten().map(|e| e.value.chars().count());
            elements += written.sum::<usize>() + reading.residue().count();
        }
    };
    // The cities that are named are unpacked, and buffers grow.
    all();
    assert_eq!(allocations(all), 0);
    assert!(elements > 0);
}

#[test]
fn a_text_that_was_not_seen_before_allocates_nothing_either() {
    let divisions = Divisions::bundled();
    let mut parser = Parser::default();
    let text = |n: usize| format!("江苏省南京市鼓楼区上海路{}号云栖新村{}幢{}室", 100 + n, 10 + n, 400 + n);
    assert!(parser.parse(&text(0), divisions, None).road.is_some());
    let others: Vec<String> = (1..60).map(text).collect();
    let mut rooms = 0;
    let read = || {
        for text in &others {
            rooms += usize::from(parser.parse(text, divisions, None).room.is_some());
        }
    };
    assert_eq!(allocations(read), 0);
    assert_eq!(rooms, others.len());
}

/// Dwellings of two estates that share a name in two districts, and a list of compounds with free texts.
fn resolver(folder: &std::path::Path) -> Resolver {
    let divisions = Divisions::bundled();
    let mut builder = GazetteerBuilder::new(divisions);
    let mut place = 0;
    let mut add = |row: StandardAddress| {
        place += 1;
        builder.add(StandardAddress { place, city: "南京市".into(), ..row }).expect("a sound row");
    };
    for (county, road, compound) in
        [("鼓楼区", "云栖路", "青禾新村"), ("江宁区", "松涛路", "青禾新村"), ("鼓楼区", "松涛路", "望月苑")]
    {
        for (building, unit, room) in
            [("1幢", "1单元", "101室"), ("1幢", "2单元", "101室"), ("2幢", "", "402室")]
        {
            add(StandardAddress {
                level: Level::Dwelling,
                county: county.into(),
                road: road.into(),
                number: "12号".into(),
                compound: compound.into(),
                building: building.into(),
                unit: unit.into(),
                room: room.into(),
                ..StandardAddress::default()
            });
        }
    }
    for (name, address) in [("和风雅居", "江宁区稻香路8号与云栖路交叉口"), ("兰草家园(南区)", "梧桐街3-1号")]
    {
        let (name, address) = (Some(name.into()), address.into());
        add(StandardAddress { level: Level::Compound, name, address, ..StandardAddress::default() });
    }
    let path = folder.join("city.gazetteer");
    builder.finish(&path).expect("a folder that can be written");
    Resolver::new(Arc::new(Gazetteer::open(&path).expect("what was just built")))
}

#[test]
fn resolving_allocates_nothing_once_its_memory_has_grown() {
    let folder = tempfile::tempdir().expect("a folder");
    let resolver = resolver(folder.path());
    // Found, ambiguous, of two namesakes, a provisional room, no such building, a slip, a description, of elsewhere.
    let texts = [
        "南京市鼓楼区云栖路12号青禾新村1幢2单元101室",
        "鼓楼区青禾新村1幢101室",
        "青禾新村1-1-101",
        "江宁区青禾新村2幢403",
        "望月苑7幢101",
        "鼓楼区云栖路12号青和新村1幢",
        "稻香路与云栖路交叉口",
        "云栖路12号锦绣花园3幢",
        "北京市东城区青禾新村",
        "没有这个小区",
    ];
    let names = [None, Some("青禾新村(南苑)"), Some("和风雅居小区"), Some("兰草家园")];
    let mut scratch = Scratch::default();
    let mut found = 0;
    let mut all = || {
        for (text, name) in texts.iter().flat_map(|text| names.map(|name| (text, name))) {
            for city in [None, Some("南京市")] {
                let query = Query { text, city, name };
                found += usize::from(resolver.resolve(&query, &mut scratch).place.is_some());
            }
        }
    };
    all();
    assert_eq!(allocations(all), 0);
    assert!(found > 20, "{found} answers");
}

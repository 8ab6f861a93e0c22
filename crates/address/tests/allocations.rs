//! The hot path allocates nothing per record: memory grows to the longest text once, and is used again.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use yibiao_address::{Divisions, Folded, Parser, fold};

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

//! Excel workbooks.

use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};
use yibiao_connectors::Mode;

use crate::bench::{Bench, until_sent};

const HEADER: [&str; 7] = ["统一社会信用代码", "名称", "类型", "住所", "成立日期", "状态", "法定代表人"];

fn workbook(rows: std::ops::Range<u32>) -> Vec<u8> {
    let mut workbook = Workbook::new();
    workbook.add_worksheet().set_name("说明").unwrap().write(0, 0, "not this one").unwrap();
    let sheet = workbook.add_worksheet().set_name("社会组织").unwrap();
    for (column, name) in HEADER.iter().enumerate() {
        sheet.write(0, column as u16, *name).unwrap();
    }
    let date = Format::new().set_num_format("yyyy-mm-dd");
    for n in rows.clone() {
        let row = n - rows.start + 1;
        sheet.write(row, 0, format!("52320000MJ{n:08}")).unwrap();
        sheet.write(row, 1, format!("样例协会\"{n}\"")).unwrap();
        sheet.write(row, 2, 0.1 + 0.2).unwrap();
        sheet.write(row, 3, format!(" 鼓楼区样例路{n}号\n3幢 ")).unwrap();
        let day = ExcelDateTime::from_ymd(2015, 11, 3).unwrap();
        sheet.write_with_format(row, 4, &day, &date).unwrap();
        sheet.write(row, 5, "正常").unwrap();
        sheet.write(row, 6, format!("张样例{n}")).unwrap();
    }
    // Rows that only have formats.
    for row in 1..50 {
        sheet.write_blank(rows.end + row, 3, &date).unwrap();
    }
    workbook.save_to_buffer().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_objects_of_texts_and_ghost_rows_and_personal_cells_stay_behind() {
    let bench = Bench::start("civil-affairs/organisations").await;
    bench.write("organisations-0001.xlsx", workbook(0..3));
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 3);
    assert_eq!(
        bench.raw_texts().await[2],
        "{\"统一社会信用代码\":\"52320000MJ00000002\",\"名称\":\"样例协会\\\"2\\\"\",\"类型\":\"0.3\",\
         \"住所\":\"鼓楼区样例路2号\\n3幢\",\"成立日期\":\"2015-11-03\",\"状态\":\"正常\"}"
    );
    let raw = bench.raw().await;
    let mut rows: Vec<u64> =
        raw.iter().map(|message| message.provenance().unwrap().unwrap().position).collect();
    rows.sort();
    assert_eq!(rows, [2, 3, 4], "as the workbook counts");
    assert_eq!(bench.once(&bench.files()).await.unwrap().records, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_workbook_is_one_record_for_quarantine_and_the_next_file_is_read() {
    let bench = Bench::start("civil-affairs/organisations").await;
    let whole = workbook(0..500);
    bench.write("organisations-0001.xlsx", &whole[..whole.len() / 2]);
    bench.write("organisations-0002.xlsx", workbook(500..503));
    bench.write("organisations-0003.xlsx", "no workbook at all");
    let summary = bench.once(&bench.files()).await.unwrap();
    assert_eq!((summary.records, summary.truncated, summary.withheld), (5, 2, 2));

    // The department sends the first one again.
    bench.write("organisations-0001.xlsx", &whole);
    let running = bench.start_connector(&bench.files(), Mode::Follow);
    until_sent(&running, 500).await;
    assert_eq!(running.stop().await.withheld, 0);
}

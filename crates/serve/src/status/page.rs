//! The page, in Chinese, without anything from elsewhere.

use std::fmt::{Display, Write};

use super::{Feed, Status};

const STYLE: &str = "
:root{--ink:#1c2733;--soft:#5d6b7a;--line:#e3e8ee;--paper:#fff;--ground:#f4f6f9;--good:#12805c;--bad:#b3261e;--accent:#1f5fae}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf1;--soft:#93a1b0;--line:#2b3644;--paper:#17202b;--ground:#0f161e;--good:#4cc38a;--bad:#ff8a80;--accent:#7fb2f0}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.6 system-ui,'PingFang SC','Microsoft YaHei','Noto Sans CJK SC',sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}h1{font-size:24px;margin:0}h2{font-size:16px;margin:0 0 10px}
header{display:flex;flex-wrap:wrap;gap:6px 18px;align-items:baseline;margin-bottom:20px}header p{margin:0;color:var(--soft)}
section{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:16px 18px;margin-bottom:16px;overflow-x:auto}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}th{font-weight:500;color:var(--soft);text-align:right;white-space:nowrap}
th,td{padding:6px 10px;border-bottom:1px solid var(--line)}tr:last-child td{border-bottom:0}td{text-align:right}th:first-child,td:first-child{text-align:left;padding-left:0}
small{color:var(--soft)}code{font:13px ui-monospace,Menlo,Consolas,monospace;color:var(--accent);word-break:break-all}.good{color:var(--good)}.bad{color:var(--bad)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0}dt{color:var(--soft)}dd{margin:0}ul{margin:0;padding-left:20px}";

/// Rows whose sums are not wrong when they change while the page is read: it comes anew every 5 s.
pub fn render(status: &Status) -> String {
    let mut page = String::with_capacity(8 << 10);
    let title = escape(&status.title);
    let _ = write!(
        page,
        "<!doctype html><html lang=zh-CN><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>\
         <meta http-equiv=refresh content=5><title>{title}</title><style>{STYLE}</style><main><header><h1>{title}</h1>\
         <p>启动于 {}</p><p>{}</p></header>",
        escape(&status.started_at),
        if status.troubles.is_empty() {
            "<b class=good>运行正常</b>"
        } else {
            "<b class=bad>需要处理</b>"
        },
    );
    if !status.troubles.is_empty() {
        section(&mut page, "需要处理", |page| {
            page.push_str("<ul>");
            for trouble in &status.troubles {
                let _ = write!(page, "<li class=bad>{}</li>", escape(trouble));
            }
            page.push_str("</ul>");
        });
    }
    if !status.feeds.is_empty() {
        section(&mut page, "数据源：收到 = 采用 + 隔离 + 未变化 + 处理中", |page| {
            feeds(page, &status.feeds)
        });
    }
    if !status.shards.is_empty() {
        section(&mut page, "融合分片", |page| {
            let rows = status.shards.iter().map(|shard| {
                let behind = shard.last.saturating_sub(shard.based);
                vec![
                    format!("分片 {}", shard.shard),
                    number(shard.waiting),
                    number(shard.last),
                    number(shard.logged),
                    number(shard.based),
                    mark(
                        behind == 0,
                        if behind == 0 { "已同步".into() } else { format!("差 {}", number(behind)) },
                    ),
                ]
            });
            table(page, &["分片", "待融合", "最新变更", "已入变更表", "已入基础表", "湖表"], rows);
        });
    }
    if !status.tables.is_empty() {
        section(&mut page, "湖表", |page| {
            let rows = status.tables.iter().map(|table| {
                vec![
                    format!("{} <small><code>{}</code></small>", escape(&table.title), escape(&table.name)),
                    number(table.rows),
                ]
            });
            table(page, &["表", "行数"], rows);
        });
    }
    if !status.centres.is_empty() {
        section(&mut page, "数据中心：读取 = 交付 + 非本区 + 重复", |page| {
            let rows = status.centres.iter().map(|centre| {
                let state = match &centre.trouble {
                    None => mark(true, "正常".to_owned()),
                    Some(trouble) => mark(false, escape(trouble)),
                };
                vec![
                    format!("{} <small>{}</small>", escape(&centre.title), escape(&centre.area)),
                    number(centre.read),
                    number(centre.delivered),
                    number(centre.filtered),
                    number(centre.repeated),
                    number(centre.warnings),
                    state,
                ]
            });
            table(page, &["中心", "读取", "交付", "非本区", "重复", "预警消息", "状态"], rows);
        });
    }
    if !status.places.is_empty() {
        section(&mut page, "入口", |page| {
            page.push_str("<dl>");
            for (title, value) in &status.places {
                let _ = write!(page, "<dt>{}</dt><dd><code>{}</code></dd>", escape(title), escape(value));
            }
            page.push_str("</dl>");
        });
    }
    page.push_str("</main></html>\n");
    page
}

fn feeds(page: &mut String, feeds: &[Feed]) {
    let rows = feeds.iter().map(|feed| {
        vec![
            format!("{} <small>{}</small>", escape(&feed.title), escape(&feed.feed)),
            number(feed.received),
            number(feed.accepted),
            number(feed.quarantined),
            number(feed.unchanged),
            number(feed.waiting),
            mark(feed.balances(), if feed.balances() { "平衡" } else { "不平衡" }.to_owned()),
        ]
    });
    table(page, &["数据源", "收到", "采用", "隔离", "未变化", "处理中", "核对"], rows);
}

fn section(page: &mut String, title: &str, body: impl FnOnce(&mut String)) {
    let _ = write!(page, "<section><h2>{title}</h2>");
    body(page);
    page.push_str("</section>");
}

/// Cells are HTML already.
fn table(page: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    page.push_str("<table><tr>");
    for head in heads {
        let _ = write!(page, "<th>{head}</th>");
    }
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            let _ = write!(page, "<td>{cell}</td>");
        }
    }
    page.push_str("</table>");
}

fn mark(good: bool, text: impl Display) -> String {
    format!("<span class={}>{text}</span>", if good { "good" } else { "bad" })
}

/// 1234567 as 1,234,567.
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_groups_digits_and_shows_no_text_as_markup() {
        let status = Status {
            title: "一标 <b>".into(),
            feeds: vec![Feed { title: "用水".into(), received: 1_234_567, accepted: 1, ..Feed::default() }],
            ..Status::default()
        };
        let page = render(&status);
        assert!(page.contains("1,234,567") && page.contains("不平衡"));
        assert!(page.contains("一标 &lt;b&gt;") && !page.contains("一标 <b>"));
        assert_eq!(number(999), "999");
    }
}

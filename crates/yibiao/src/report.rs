//! Tables for people.

use std::{collections::BTreeMap, fmt::Write};

use yibiao_normalise::FeedAccount;
use yibiao_records::FeedId;

use crate::progress::grouped;

/// The accounting of all feeds: one line each, a sum, and whether it balances.
pub fn accounting(feeds: &BTreeMap<FeedId, FeedAccount>) -> String {
    let mut text = format!(
        "{:<32}{:>12}{:>12}{:>13}{:>12}  quarantined because\n",
        "feed", "received", "accepted", "quarantined", "unchanged"
    );
    let mut total = yibiao_normalise::Counts::default();
    let mut line = |name: &str, counts: &yibiao_normalise::Counts, reasons: bool| {
        let reasons = match reasons {
            true => {
                counts.reasons.iter().map(|(code, n)| format!("{code} {n}")).collect::<Vec<_>>().join(", ")
            }
            false => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name:<32}{:>12}{:>12}{:>13}{:>12}  {reasons}",
            grouped(counts.received),
            grouped(counts.accepted),
            grouped(counts.quarantined),
            grouped(counts.unchanged)
        );
    };
    for (feed, account) in feeds {
        total.add(&account.counts);
        line(feed.as_str(), &account.counts, true);
    }
    line("all", &total, false);
    let balances = feeds.values().all(|account| account.counts.balances());
    text.push_str(match balances {
        true => "received = accepted + quarantined + unchanged holds for every feed",
        false => "received = accepted + quarantined + unchanged DOES NOT HOLD: please report this",
    });
    text
}

/// The most memory that this process had at once; 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib << 10)
}

//! Event time is counted in days of Asia/Shanghai, which has had no summer time since 1991.

const OFFSET_MS: i64 = 8 * 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// Days since 1970-01-01 in Asia/Shanghai.
pub fn of_ms(ms: i64) -> i32 {
    ms.saturating_add(OFFSET_MS).div_euclid(DAY_MS).clamp(i64::from(i32::MIN / 2), i64::from(i32::MAX / 2))
        as i32
}

/// When the day begins in Asia/Shanghai, ms since the epoch, UTC.
pub fn begin_ms(day: i32) -> i64 {
    i64::from(day) * DAY_MS - OFFSET_MS
}

/// `2025-11-03`
pub fn text(ms: i64) -> String {
    yibiao_records::Value::Date(of_ms(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_sixteen_hours_of_the_day_before_in_utc() {
        assert_eq!(of_ms(0), 0);
        assert_eq!(of_ms(16 * 3_600_000), 1);
        assert_eq!(of_ms(16 * 3_600_000 - 1), 0);
        assert_eq!(begin_ms(1), 16 * 3_600_000);
        assert_eq!(text(-8 * 3_600_000 - 1), "1969-12-31");
        assert_eq!(of_ms(i64::MAX), i32::MAX / 2);
    }
}

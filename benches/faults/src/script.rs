//! What the departments send, from a seed: in which order, with what repeated, corrected, moved, late and broken. Addresses are
//! clean, so that what each record is about is known without a resolver.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

const COMPOUNDS: [(&str, &str, &str); 3] =
    [("云栖路", "12号", "青禾新村"), ("松涛路", "8号", "望月苑"), ("松涛路", "20号", "和风雅居")];
const CATEGORIES: [&str; 4] = ["燃气隐患", "群租隔断", "飞线充电", "消防通道堵塞"];
/// 2025-09-01, in days since 1970.
const FIRST_DAY: i32 = 20_332;
const DAYS: i32 = 60;
/// A keyed record is spoken of again and again.
const METERS: u32 = 40;
const REPORTS: u32 = 60;
const DWELLINGS: usize = 36;

/// One dwelling of the small city.
#[derive(Debug, Clone)]
pub struct Dwelling {
    pub code: String,
    pub compound: usize,
    pub building: u8,
    pub unit: u8,
    pub room: u16,
}

impl Dwelling {
    pub fn address(&self) -> String {
        let (road, number, name) = COMPOUNDS[self.compound];
        let Self { building, unit, room, .. } = self;
        format!("南京市鼓楼区{road}{number}{name}{building}幢{unit}单元{room}室")
    }

    /// The row of the police's standard addresses.
    pub fn row(&self) -> String {
        let (road, number, name) = COMPOUNDS[self.compound];
        let Self { code, building, unit, room, .. } = self;
        format!(
            "{code},江苏省{},320106,江苏省,南京市,鼓楼区,,,{road},{number},{name},{building}幢,{unit}单元,{room}室,户室,在用,,\
             2025-08-01 08:00:00",
            self.address()
        )
    }
}

pub const STANDARD_ADDRESSES: &str = "地址编码,标准地址,行政区划代码,省,市,区县,街道,社区,道路,门牌号,小区名称,楼栋,单元,户室,地址级别,状态,\
     别名,更新时间";
pub const WATER: &str = "户号,用水地址,抄表日期,用水量（吨）,水表状态";

pub fn city() -> Vec<Dwelling> {
    let doors = (0..COMPOUNDS.len()).flat_map(|compound| {
        (1..=2u8).flat_map(move |building| {
            (1..=2u8).flat_map(move |unit| {
                (1..=3u16).map(move |floor| (compound, building, unit, floor * 100 + 1))
            })
        })
    });
    let dwelling = |(n, (compound, building, unit, room))| Dwelling {
        code: format!("3201060001{n:06}"),
        compound,
        building,
        unit,
        room,
    };
    (1..).zip(doors).map(dwelling).take(DWELLINGS).collect()
}

/// What one record says, and of which dwelling (by its number in the city).
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// Hundredths of a cubic metre on one day.
    Water {
        meter: u32,
        day: i32,
        dwelling: usize,
        hundredths: u32,
    },
    Hazard {
        report: u32,
        day: i32,
        dwelling: usize,
        category: &'static str,
        severity: i32,
    },
    Registration {
        number: u32,
        dwelling: usize,
        rooms: i32,
        is_rental: bool,
        people: i32,
    },
    /// A reading that no contract lets in: why, and its line.
    Refused {
        meter: u32,
        line: String,
    },
}

/// A mediated dispute, which stands as long as the department's full dumps have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    pub number: u32,
    pub day: i32,
    pub dwelling: usize,
}

/// A moment's records.
#[derive(Debug, Clone, Default)]
pub struct Step {
    pub statements: Vec<Statement>,
    /// All cases that there are, if the department dumps them now.
    pub dump: Option<Vec<Case>>,
}

/// Dwellings that the police registers when half of everything was said: a whole building, and one room in another.
pub fn is_late(dwelling: usize) -> bool {
    dwelling == 4 || dwelling >= DWELLINGS - 6
}

/// Everything that is sent, in order.
pub fn script(seed: u64, steps: usize) -> Vec<Step> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut said: Vec<Statement> = Vec::new();
    let mut out = Vec::new();
    let mut cases = Vec::new();
    for step in 0..steps {
        let mut now = Step { dump: dump(&mut dice, step, steps, &mut cases), ..Step::default() };
        for _ in 0..dice.random_range(20..120) {
            let statement = statement(&mut dice, step, steps, &said);
            said.push(statement.clone());
            now.statements.push(statement);
        }
        out.push(now);
    }
    out
}

/// Some cases are new, some have moved, and some are gone.
fn dump(dice: &mut ChaCha8Rng, step: usize, steps: usize, cases: &mut Vec<Case>) -> Option<Vec<Case>> {
    cases.retain(|_| dice.random_bool(0.85));
    for case in cases.iter_mut() {
        if dice.random_bool(0.1) {
            case.dwelling = dice.random_range(0..DWELLINGS);
        }
    }
    for n in 0..dice.random_range(0..8) {
        let day = FIRST_DAY + (step as i32 + 1) * DAYS / steps as i32;
        // A number comes back now and then.
        let number = if dice.random_bool(0.2) { dice.random_range(0..8) } else { (step * 8 + n) as u32 };
        cases.retain(|case| case.number != number);
        cases.push(Case { number, day, dwelling: dice.random_range(0..DWELLINGS) });
    }
    dice.random_bool(0.6).then(|| cases.clone())
}

fn statement(dice: &mut ChaCha8Rng, step: usize, steps: usize, said: &[Statement]) -> Statement {
    // Sent once more, or corrected: another amount, or another dwelling.
    if dice.random_bool(0.25)
        && let Some(earlier) = said.choose(dice)
    {
        return match dice.random_range(0..3) {
            0 => earlier.clone(),
            1 => corrected(earlier.clone(), dice),
            _ => moved(earlier.clone(), dice),
        };
    }
    let dwelling = dice.random_range(0..DWELLINGS);
    // Days go on with the steps, and some records are late.
    let today = FIRST_DAY + (step as i32 + 1) * DAYS / steps as i32;
    let day = if dice.random_bool(0.2) {
        dice.random_range(FIRST_DAY..=today)
    } else {
        today - dice.random_range(0..3)
    };
    match dice.random_range(0..100) {
        0..60 => Statement::Water {
            meter: dice.random_range(0..METERS),
            day,
            dwelling,
            hundredths: dice.random_range(1..400),
        },
        60..85 => Statement::Hazard {
            report: dice.random_range(0..REPORTS),
            day,
            dwelling,
            category: CATEGORIES[dice.random_range(0..CATEGORIES.len())],
            severity: dice.random_range(1..=5),
        },
        85..95 => Statement::Registration {
            number: dice.random_range(0..DWELLINGS as u32),
            dwelling,
            rooms: dice.random_range(1..5),
            is_rental: dice.random_bool(0.4),
            people: dice.random_range(0..6),
        },
        _ => refused(dice, said.len() as u32),
    }
}

fn refused(dice: &mut ChaCha8Rng, n: u32) -> Statement {
    // A meter of its own, so that no good record is withdrawn by it.
    let meter = 900_000 + n;
    let line = match dice.random_range(0..4) {
        0 => format!("W{meter},,2025-10-01,1.5,正常"),
        1 => format!("W{meter},鼓楼区云栖路12号青禾新村1幢1单元101室,2025-10-01,很多,正常"),
        2 => format!("W{meter},鼓楼区无名路99号没有这个小区7幢1单元101室,2025-10-01,1.5,正常"),
        _ => format!("W{meter},鼓楼区云栖路12号青禾新村1幢1单元101室,2025-13-45,1.5,正常"),
    };
    Statement::Refused { meter, line }
}

fn corrected(statement: Statement, dice: &mut ChaCha8Rng) -> Statement {
    match statement {
        Statement::Water { meter, day, dwelling, .. } => {
            Statement::Water { meter, day, dwelling, hundredths: dice.random_range(1..400) }
        }
        Statement::Hazard { report, day, dwelling, category, .. } => {
            Statement::Hazard { report, day, dwelling, category, severity: dice.random_range(1..=5) }
        }
        Statement::Registration { number, dwelling, rooms, is_rental, .. } => {
            Statement::Registration { number, dwelling, rooms, is_rental, people: dice.random_range(0..6) }
        }
        refused @ Statement::Refused { .. } => refused,
    }
}

fn moved(statement: Statement, dice: &mut ChaCha8Rng) -> Statement {
    let to = dice.random_range(0..DWELLINGS);
    match statement {
        Statement::Water { meter, day, hundredths, .. } => {
            Statement::Water { meter, day, dwelling: to, hundredths }
        }
        Statement::Hazard { report, day, category, severity, .. } => {
            Statement::Hazard { report, day, dwelling: to, category, severity }
        }
        Statement::Registration { number, rooms, is_rental, people, .. } => {
            Statement::Registration { number, dwelling: to, rooms, is_rental, people }
        }
        refused @ Statement::Refused { .. } => refused,
    }
}

/// `2025-09-01`
pub fn date(day: i32) -> String {
    // Howard Hinnant's days_from_civil, backwards.
    let z = i64::from(day) + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) =
        (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_the_same_again_and_another_says_something_else() {
        let said = |seed| script(seed, 5).into_iter().flat_map(|s| s.statements).collect::<Vec<_>>();
        assert_eq!(said(1), said(1));
        assert_ne!(said(1), said(2));
        assert_eq!(date(FIRST_DAY), "2025-09-01");
    }
}

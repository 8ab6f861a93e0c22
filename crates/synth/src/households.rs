//! Who lives in a dwelling, and what a day there uses.
//!
//! ```text
//!  kind + rooms --> Household (occupants, registered, personal factors) --(day, weather, noise)--> m3, kWh, m3
//! ```
//!
//! Norms are those of the region: a person uses 100 to 130 litres of water a day at home, 1.2 kWh and 0.12 m3 of gas on
//! top of what the dwelling itself uses. The look-alikes each imitate a crowded rental in one or two utilities, never
//! in all of its marks (many people's water, power and gas; let; nearly nobody registered).

use chrono::{Datelike, NaiveDate, Weekday};
use serde::{Deserialize, Serialize};

use crate::dice::{Dice, Domain};

/// The truth about a dwelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Ordinary,
    /// Let to one to four people, properly or quietly: not a matter for a warning.
    SmallRental,
    /// Let by the bed: 6 to 16 people in 1 to 3 rooms, 0 to 2 of them registered.
    Crowded,
    /// Look-alike: 6 to 9 people, all registered.
    BigFamily,
    /// Look-alike: grandparents stay with the family; owners, more people than registered.
    Guests,
    /// Look-alike: a hair salon at home. Much water and power, little gas.
    Salon,
    /// Look-alike: meals cooked for sale. Much gas.
    HomeKitchen,
    /// Look-alike: a leaking pipe. Water day and night, nothing else.
    Leak,
    /// Look-alike: heated by electricity.
    ElectricHeating,
    /// Look-alike: heated by a gas boiler.
    GasHeating,
    /// Look-alike: a dormitory, everyone registered.
    Dorm,
    /// Look-alike: let by the night, full at weekends.
    ShortStay,
    /// Nobody, whoever is registered.
    Empty,
}

impl Kind {
    pub const ALL: [Kind; 13] = [
        Kind::Ordinary,
        Kind::SmallRental,
        Kind::Crowded,
        Kind::BigFamily,
        Kind::Guests,
        Kind::Salon,
        Kind::HomeKitchen,
        Kind::Leak,
        Kind::ElectricHeating,
        Kind::GasHeating,
        Kind::Dorm,
        Kind::ShortStay,
        Kind::Empty,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ordinary => "ordinary",
            Kind::SmallRental => "small_rental",
            Kind::Crowded => "crowded",
            Kind::BigFamily => "big_family",
            Kind::Guests => "guests",
            Kind::Salon => "salon",
            Kind::HomeKitchen => "home_kitchen",
            Kind::Leak => "leak",
            Kind::ElectricHeating => "electric_heating",
            Kind::GasHeating => "gas_heating",
            Kind::Dorm => "dorm",
            Kind::ShortStay => "short_stay",
            Kind::Empty => "empty",
        }
    }

    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Made to fool a rule that looks at one utility or at one register.
    pub fn is_look_alike(self) -> bool {
        !matches!(self, Kind::Ordinary | Kind::SmallRental | Kind::Crowded)
    }
}

const SHARES: [(Kind, f64); 13] = [
    (Kind::Ordinary, 67.5),
    (Kind::SmallRental, 15.0),
    (Kind::Crowded, 1.5),
    (Kind::BigFamily, 1.2),
    (Kind::Guests, 0.6),
    (Kind::Salon, 0.5),
    (Kind::HomeKitchen, 0.3),
    (Kind::Leak, 0.8),
    (Kind::ElectricHeating, 2.0),
    (Kind::GasHeating, 1.5),
    (Kind::Dorm, 0.3),
    (Kind::ShortStay, 0.6),
    (Kind::Empty, 8.2),
];

/// Of the dwellings in which families or tenants live and are known to, so many fall silent.
const SILENT: f64 = 0.004;

/// One dwelling's people and habits; kept for every dwelling, so it is small.
#[derive(Debug, Clone)]
pub(crate) struct Household {
    pub kind: Kind,
    /// Tenths of a square metre.
    pub area_tenths: u16,
    pub rooms: u8,
    /// Let, in truth.
    pub let_out: bool,
    /// Who lives there (outside the crowded days).
    pub occupants: u8,
    /// Who lives there on crowded days.
    pub crowd: u8,
    pub registered: u8,
    /// First and last crowded day; before 0 or from `days` on: begun before, or going on after, the plan.
    pub crowded_from: i16,
    pub crowded_to: i16,
    /// From this day on neither its water nor its electricity meter is read, though somebody lives there; `i16::MAX`: never.
    pub silent_from: i16,
    pub has_gas: bool,
    /// What a person here uses, against the norm.
    factors: [f32; 3],
    /// What the kind adds: a shop's water, a leak's flow, in the utility's unit a day at full load.
    extra: [f32; 3],
    /// Weekend against weekday.
    weekend: f32,
    away_from: i16,
    away_days: u8,
    leak_from: i16,
    closed_on: u8,
}

impl Household {
    pub fn draw(seed: u64, dwelling: u32, days: u32) -> Household {
        let mut dice = Dice::new(seed, Domain::Household, u64::from(dwelling));
        let kind = dice.weighted(&SHARES);
        let days = days as i16;
        let mut home = Household {
            kind,
            area_tenths: 0,
            rooms: 0,
            let_out: matches!(kind, Kind::SmallRental | Kind::Crowded | Kind::Dorm | Kind::ShortStay),
            occupants: 0,
            crowd: 0,
            registered: 0,
            crowded_from: i16::MAX,
            crowded_to: i16::MIN,
            silent_from: i16::MAX,
            has_gas: dice.chance(0.9),
            factors: [0.24, 0.28, 0.30].map(|spread| dice.around_one(spread) as f32),
            extra: [0.0; 3],
            weekend: dice.span(1.02, 1.30) as f32,
            away_from: i16::MAX,
            away_days: 0,
            leak_from: i16::MIN,
            closed_on: dice.below(5) as u8,
        };
        let family = [(1u8, 16.0), (2, 30.0), (3, 31.0), (4, 15.0), (5, 8.0)];
        home.occupants = dice.weighted(&family);
        // Many live where they are not registered, and some are registered where they do not live.
        home.registered = match dice.below(10) {
            0..6 => home.occupants,
            6 | 7 => home.occupants.saturating_sub(dice.between(1, 2) as u8),
            8 => home.occupants + dice.between(1, 2) as u8,
            _ => 0,
        };
        home.rooms = dice.weighted(&[(1u8, 14.0), (2, 44.0), (3, 34.0), (4, 8.0)]);
        home.draw_kind(&mut dice, days);
        let area = 22.0 + 27.0 * f64::from(home.rooms) * dice.span(0.85, 1.2);
        home.area_tenths = (area * 10.0) as u16;
        if kind != Kind::Crowded && dice.chance(0.10) {
            home.away_from = dice.below(days as u32) as i16;
            home.away_days = dice.between(3, 9) as u8;
        }
        home.fall_silent(&mut Dice::new(seed, Domain::Silence, u64::from(dwelling)));
        home
    }

    /// A few, early in the plan: a rule that waits for a month is to have something to say at its end.
    fn fall_silent(&mut self, dice: &mut Dice) {
        let is_known = self.registered > 0 || self.let_out;
        if matches!(self.kind, Kind::Ordinary | Kind::SmallRental) && is_known && dice.chance(SILENT) {
            self.silent_from = dice.between(1, 3) as i16;
        }
    }

    fn draw_kind(&mut self, dice: &mut Dice, days: i16) {
        let mut between = |from: u32, to: u32| dice.between(from, to) as u8;
        match self.kind {
            Kind::Ordinary => {}
            Kind::SmallRental => {
                self.occupants = between(1, 4);
                self.registered = if between(0, 1) == 0 { 0 } else { self.occupants };
                self.rooms = between(1, 3);
            }
            Kind::Crowded => self.draw_crowd(dice, days),
            Kind::BigFamily => {
                self.occupants = between(6, 9);
                self.registered = self.occupants;
                self.rooms = between(3, 5);
                self.let_out = between(0, 9) == 0;
            }
            Kind::Guests => {
                self.occupants = between(5, 7);
                self.registered = between(1, 3);
                self.rooms = between(3, 4);
            }
            Kind::Salon => {
                self.occupants = between(1, 3);
                self.registered = self.occupants;
                // Some rent the rooms that they work in.
                self.let_out = between(0, 9) < 3;
                self.extra = [dice.span(0.5, 1.3) as f32, dice.span(8.0, 17.0) as f32, 0.0];
                self.factors[2] *= 0.35;
            }
            Kind::HomeKitchen => {
                self.occupants = between(2, 3);
                self.registered = self.occupants;
                self.let_out = between(0, 9) < 2;
                self.has_gas = true;
                self.extra =
                    [dice.span(0.25, 0.6) as f32, dice.span(3.0, 7.0) as f32, dice.span(2.0, 4.5) as f32];
            }
            Kind::Leak => {
                self.let_out = between(0, 4) == 0;
                self.extra[0] = dice.span(0.6, 2.4) as f32;
                if dice.chance(0.6) {
                    self.leak_from = dice.below(days as u32) as i16;
                }
            }
            Kind::ElectricHeating => {
                self.let_out = between(0, 4) == 0;
                self.extra[1] = dice.span(18.0, 34.0) as f32;
            }
            Kind::GasHeating => {
                self.has_gas = true;
                self.let_out = between(0, 9) == 0;
                self.extra[2] = dice.span(5.0, 10.0) as f32;
            }
            Kind::Dorm => {
                self.occupants = between(7, 14);
                self.registered = self.occupants;
                self.rooms = between(2, 4);
                self.weekend = dice.span(0.6, 0.85) as f32;
            }
            Kind::ShortStay => {
                self.occupants = between(4, 7);
                self.registered = between(0, 1);
                self.rooms = between(1, 3);
            }
            Kind::Empty => {
                self.occupants = 0;
                self.registered = if between(0, 1) == 0 { 0 } else { between(1, 4) };
                self.let_out = between(0, 9) == 0;
            }
        }
    }

    /// A third of them begin or end inside the plan, so that warnings are raised and cleared.
    fn draw_crowd(&mut self, dice: &mut Dice, days: i16) {
        self.crowd = dice.weighted(&[
            (6u8, 8.0),
            (7, 11.0),
            (8, 16.0),
            (9, 14.0),
            (10, 15.0),
            (12, 16.0),
            (14, 12.0),
            (16, 8.0),
        ]);
        self.registered = dice.weighted(&[(0u8, 55.0), (1, 28.0), (2, 17.0)]);
        // Three to a room at least, or nobody would call it crowded.
        self.rooms = dice.between(1 + u32::from(self.crowd >= 10), u32::from(self.crowd / 3).min(3)) as u8;
        self.occupants = dice.below(4) as u8;
        self.has_gas = dice.chance(0.85);
        self.weekend = dice.span(0.96, 1.12) as f32;
        // Strangers to one another wash less at home and heat each their own corner; some groups hardly cook at all.
        self.factors[0] *= 0.80;
        self.factors[1] *= 1.08;
        self.factors[2] *= if dice.chance(0.15) { 0.12 } else { 0.62 };
        (self.crowded_from, self.crowded_to) = (-1, days);
        let (early, late) = (i32::from(days) / 7, i32::from(days) * 2 / 3);
        let turn = (early + dice.below((late - early).max(1) as u32) as i32) as i16;
        match dice.below(6) {
            0 => self.crowded_from = turn,
            1 => self.crowded_to = turn,
            _ => {}
        }
    }

    /// Nobody lives here: the building is to come down, or is so new that nobody could crowd it.
    pub fn vacate(&mut self) {
        self.kind = Kind::Empty;
        (self.let_out, self.occupants, self.crowd, self.registered) = (false, 0, 0, 0);
        (self.crowded_from, self.crowded_to) = (i16::MAX, i16::MIN);
        self.silent_from = i16::MAX;
    }

    pub fn is_silent_on(&self, day: i16) -> bool {
        day >= self.silent_from
    }

    pub fn is_crowded_on(&self, day: i16) -> bool {
        self.kind == Kind::Crowded && (self.crowded_from..=self.crowded_to).contains(&day)
    }

    fn people_on(&self, day: i16, date: NaiveDate, dice: &mut Dice) -> f64 {
        if self.away_days > 0 && (self.away_from..self.away_from + i16::from(self.away_days)).contains(&day) {
            return 0.0;
        }
        if self.kind == Kind::ShortStay {
            let booked =
                if matches!(date.weekday(), Weekday::Fri | Weekday::Sat | Weekday::Sun) { 0.8 } else { 0.2 };
            return if dice.chance(booked) {
                f64::from(dice.between(2, u32::from(self.occupants)))
            } else {
                0.0
            };
        }
        if self.is_crowded_on(day) {
            // Beds change hands: a tenth of them is empty on any day.
            return f64::from(self.crowd) * dice.span(0.8, 1.0);
        }
        f64::from(self.occupants)
    }

    /// What the day uses: water in m3, power in kWh, gas in m3.
    pub fn use_of_day(&self, day: i16, date: NaiveDate, weather: &Weather, dice: &mut Dice) -> [f64; 3] {
        let people = self.people_on(day, date, dice);
        let is_weekend = matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
        let rhythm = if is_weekend { f64::from(self.weekend) } else { 1.0 };
        let noise = [dice.around_one(0.24), dice.around_one(0.18), dice.around_one(0.28)];
        // One person's habits show; those of many even out.
        let share = (2.5 / people.max(1.0)).sqrt().min(1.2);
        let factor = self.factors.map(|factor| f64::from(factor).powf(share));
        let mut used = if people < 0.5 {
            [0.0, 0.25 * factor[1], 0.0]
        } else {
            // More people share a wash and a pot, but not so much when they are strangers to one another.
            let shared = if self.is_crowded_on(day) || self.kind == Kind::Dorm { 0.97 } else { 0.90 };
            let people = people.powf(shared);
            let heated = 1.0 + 0.45 * weather.heating + 0.6 * weather.cooling;
            [
                (0.03 + 0.112 * people) * factor[0] * rhythm * (1.0 + 0.15 * weather.cooling),
                (1.6 + 1.25 * people) * factor[1] * rhythm * heated,
                (0.05 + 0.125 * people) * factor[2] * rhythm * (1.0 + 0.5 * weather.heating),
            ]
        };
        for (amount, noise) in used.iter_mut().zip(noise) {
            *amount *= noise;
        }
        self.add_extra(&mut used, people, day, date, weather, noise);
        if !self.has_gas {
            used[2] = 0.0;
        }
        used
    }

    fn add_extra(
        &self,
        used: &mut [f64; 3],
        people: f64,
        day: i16,
        date: NaiveDate,
        weather: &Weather,
        noise: [f64; 3],
    ) {
        let extra = self.extra.map(f64::from);
        match self.kind {
            Kind::Salon | Kind::HomeKitchen => {
                let open = date.weekday().num_days_from_monday() != u32::from(self.closed_on);
                if open && people > 0.5 {
                    for i in 0..3 {
                        used[i] += extra[i] * noise[i];
                    }
                }
            }
            // A leak neither sleeps nor travels.
            Kind::Leak if day >= self.leak_from => used[0] += extra[0] * (0.97 + 0.03 * noise[0]),
            Kind::ElectricHeating if people > 0.5 => used[1] += extra[1] * weather.heating * noise[1],
            Kind::GasHeating if people > 0.5 => used[2] += extra[2] * weather.heating * noise[2],
            Kind::Empty => *used = [0.0, used[1], 0.0],
            _ => {}
        }
    }
}

/// The day's weather, the same for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// 0 (none) to about 1.2 (a cold wave).
    pub heating: f64,
    /// 0 to about 1.
    pub cooling: f64,
}

impl Weather {
    pub fn of(seed: u64, day: u32, date: NaiveDate) -> Weather {
        let mut dice = Dice::new(seed, Domain::Weather, u64::from(day));
        // Nanjing's monthly means, degrees, at the middle of each month.
        const MEANS: [f64; 12] = [3.1, 5.3, 9.8, 16.0, 21.4, 25.0, 28.6, 28.0, 23.7, 18.2, 11.6, 5.3];
        let position = f64::from(date.month0()) + (f64::from(date.day()) - 15.0) / 30.5;
        let before = position.floor();
        let at = |month: f64| MEANS[(month as i64).rem_euclid(12) as usize];
        let mean = at(before) + (at(before + 1.0) - at(before)) * (position - before);
        let degrees = mean + 2.2 * dice.normal();
        Weather {
            heating: ((17.0 - degrees) / 13.0).clamp(0.0, 1.3),
            cooling: ((degrees - 25.0) / 8.0).clamp(0.0, 1.2),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::Plan;

    const DAYS: u32 = 14;

    /// Everybody's daily means over two weeks of November.
    fn means(homes: &[Household]) -> Vec<[f64; 3]> {
        let plan = Plan { days: DAYS, ..Plan::default() };
        let mut sums = vec![[0.0; 3]; homes.len()];
        for day in 0..DAYS {
            let date = plan.date(day);
            let weather = Weather::of(1, day, date);
            let mut dice = Dice::new(1, Domain::Habit, u64::from(day));
            for (home, sum) in homes.iter().zip(&mut sums) {
                for (sum, used) in sum.iter_mut().zip(home.use_of_day(day as i16, date, &weather, &mut dice))
                {
                    *sum += used / f64::from(DAYS);
                }
            }
        }
        sums
    }

    fn f1(homes: &[Household], is_warned: impl Fn(usize) -> bool) -> f64 {
        let (mut right, mut wrong, mut missed) = (0.0, 0.0, 0.0);
        for (at, home) in homes.iter().enumerate() {
            match (home.kind == Kind::Crowded, is_warned(at)) {
                (true, true) => right += 1.0,
                (false, true) => wrong += 1.0,
                (true, false) => missed += 1.0,
                (false, false) => {}
            }
        }
        2.0 * right / (2.0 * right + wrong + missed)
    }

    #[test]
    fn no_single_utility_tells_a_crowded_rental_but_all_marks_together_do() {
        let mut homes: Vec<Household> = (0..10_000).map(|at| Household::draw(3, at, DAYS)).collect();
        // Those that turn within the two weeks are another matter.
        homes.retain(|home| {
            home.kind != Kind::Crowded || (home.crowded_from < 0 && home.crowded_to >= DAYS as i16)
        });
        let means = means(&homes);
        for (utility, most) in [(0, 2.0), (1, 40.0), (2, 4.0)] {
            let best =
                (1..60).map(|step| f1(&homes, |at| means[at][utility] > most * f64::from(step) / 60.0));
            let best = best.fold(0.0, f64::max);
            assert!(best < 0.5, "utility {utility} alone reaches {best}");
        }
        let together = f1(&homes, |at| {
            let (home, [water, power, gas]) = (&homes[at], means[at]);
            let mut people = vec![water / 0.11, power / 1.8];
            if home.has_gas {
                people.push(gas / 0.20);
            }
            people.sort_by(|a, b| b.total_cmp(a));
            let is_dense = people[1] >= 5.0 && people[1] >= 2.0 * f64::from(home.rooms);
            home.let_out
                && home.registered <= 2
                && is_dense
                && people.last().is_some_and(|least| *least >= 1.0)
        });
        assert!(together > 0.8, "all marks together reach only {together}");
    }
}

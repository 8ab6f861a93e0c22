//! Seeded chance. Every decision draws from a stream named by (seed, domain, index), so that the same plan gives the
//! same bytes whatever else is added to the city, and any dwelling can be drawn again without the others.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream decides. The numbers are part of the output: never reuse or renumber.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Domain {
    Compound = 1,
    Road = 2,
    Building = 3,
    Household = 4,
    Water = 5,
    Power = 6,
    Gas = 7,
    Registration = 8,
    Organisation = 9,
    Case = 10,
    Hazard = 11,
    StandardAddress = 12,
    PlaceName = 13,
    Weather = 14,
    Habit = 15,
    WaterArrival = 16,
    PowerArrival = 17,
    GasArrival = 18,
    Break = 19,
    Stranger = 20,
    Schedule = 21,
    Silence = 22,
}

/// One stream. Its arithmetic is our own (not `rand`'s distributions), so that a newer `rand` does not change a city.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub fn new(seed: u64, domain: Domain, index: u64) -> Dice {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(domain as u64).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        Dice(ChaCha8Rng::from_seed(key))
    }

    /// `0..n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// `from..=to`
    pub fn between(&mut self, from: u32, to: u32) -> u32 {
        from + self.below(to - from + 1)
    }

    /// `[0, 1)`
    pub fn unit(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / 4_294_967_296.0
    }

    /// `[from, to)`
    pub fn span(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u32) as usize]
    }

    /// One of a list by weight.
    pub fn weighted<T: Copy>(&mut self, list: &[(T, f64)]) -> T {
        let total: f64 = list.iter().map(|(_, weight)| weight).sum();
        let mut at = self.unit() * total;
        for (item, weight) in list {
            at -= weight;
            if at < 0.0 {
                return *item;
            }
        }
        list[list.len() - 1].0
    }

    /// Nearly normal, mean 0, deviation 1, never beyond 3.5: four uniforms added, no libm.
    pub fn normal(&mut self) -> f64 {
        let bits = self.0.next_u64();
        let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
        (sum as f64 / 65_536.0 - 2.0) * 1.732_050_8
    }

    /// Around 1, multiplied or divided by about `1 + spread`.
    pub fn around_one(&mut self, spread: f64) -> f64 {
        (self.normal() * spread).exp()
    }
}

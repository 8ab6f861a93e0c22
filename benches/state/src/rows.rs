//! Made-up places and facts, in the keys and of the sizes of a fusion shard (`crates/tables/src/shard/codec.rs`).
//!
//! Every row is computed from its number and version, so that what a store holds can be checked, and nothing is kept.
//! Texts repeat as addresses do; ids and pseudonyms are random, as hashes are.

/// As the pipelines have it.
const BUCKETS: u64 = 64;
const KINDS: u64 = 6;

const STREETS: [&str; 12] = [
    "中山北路",
    "龙蟠路",
    "珠江路",
    "建宁路",
    "汉中门大街",
    "长江路",
    "苜蓿园大街",
    "后标营路",
    "应天大街",
    "雨花西路",
    "江东中路",
    "胜太西路",
];
const ESTATES: [&str; 12] = [
    "紫金花园",
    "月牙湖小区",
    "锁金新村",
    "翠屏山庄",
    "金陵世纪花园",
    "仁恒江湾城",
    "兴隆家园",
    "莲花新城",
    "四方新村",
    "百家湖国际",
    "凤凰和熙",
    "东方天郡",
];
const DISTRICTS: [(&str, &str); 6] = [
    ("玄武区", "320102"),
    ("秦淮区", "320104"),
    ("建邺区", "320105"),
    ("鼓楼区", "320106"),
    ("栖霞区", "320113"),
    ("江宁区", "320115"),
];
const USES: [&str; 4] = ["自住", "出租", "空置", "商用"];

/// SplitMix64's finisher: a permutation that looks random.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn pick<T: Copy>(of: &[T], random: u64) -> T {
    of[(random % of.len() as u64) as usize]
}

/// All places of a shard, by number from 0.
#[derive(Debug, Clone, Copy)]
pub struct City {
    pub places: u64,
}

impl City {
    /// Ascends with the number; the differences are random.
    fn id(&self, place: u64) -> u64 {
        let stride = (i64::MAX as u64) / self.places.max(1);
        place * stride + mix(place) % stride + 1
    }

    pub fn bucket(&self, place: u64) -> u16 {
        (mix(self.id(place)) % BUCKETS) as u16
    }

    pub fn buckets(&self) -> u16 {
        BUCKETS as u16
    }

    /// Every number once, far from its neighbours.
    pub fn scattered(&self, at: u64) -> u64 {
        // A prime far above any number of places, hence coprime to it.
        const FACTOR: u128 = 0xFFFF_FFFF_FFFF_FFC5;
        ((u128::from(at) * (FACTOR % u128::from(self.places)) + u128::from(self.places / 3))
            % u128::from(self.places)) as u64
    }

    pub fn facts_of(&self, place: u64) -> u64 {
        1 + mix(place ^ 0xFAC7) % 3
    }

    pub fn place_key(&self, place: u64) -> Vec<u8> {
        let mut key = Vec::with_capacity(10);
        key.extend(self.bucket(place).to_be_bytes());
        key.extend(self.id(place).to_be_bytes());
        key
    }

    pub fn fact_prefix(&self, place: u64) -> [u8; 8] {
        self.id(place).to_be_bytes()
    }

    /// Facts of one place ascend with their number.
    pub fn fact_key(&self, place: u64, fact: u64) -> Vec<u8> {
        let mut key = Vec::with_capacity(28);
        key.extend(self.fact_prefix(place));
        key.extend(((fact % KINDS) as u32).to_be_bytes());
        key.extend(fact_id(place, fact));
        key
    }

    /// About 300 bytes.
    pub fn place_row(&self, place: u64, version: u64) -> Vec<u8> {
        let random = mix(place);
        let changing = mix(random ^ version);
        let (district, code) = pick(&DISTRICTS, random);
        let mut row = Row(Vec::with_capacity(320));
        row.bytes(&self.id(place).to_be_bytes());
        row.text(&format!(
            "江苏省南京市{district}{}{}号{}{}幢{}单元{:02}0{}室",
            pick(&STREETS, random >> 8),
            random >> 16 & 0xFF,
            pick(&ESTATES, random >> 24),
            random >> 32 & 0x1F,
            random >> 37 & 3,
            random >> 40 & 0x1F,
            random >> 45 & 7,
        ));
        row.text("dwelling");
        row.text(&format!("{code}{:06}", random >> 48 & 0xFFF));
        row.text(pick(&USES, changing));
        row.number(changing >> 8 & 7);
        row.number(changing >> 16 & 0xF_FFFF);
        row.number(recorded_at_ms(changing, version));
        row.bytes(&mix(random ^ 1).to_be_bytes());
        row.bytes(&mix(random ^ 2).to_be_bytes());
        row.number(version);
        for origin in 0..2 {
            row.bytes(&fact_id(place, origin));
            row.number(recorded_at_ms(random, 0));
            row.number(recorded_at_ms(changing, version));
            row.text(&source_key(place, origin));
            row.number(changing >> 20 & 0xFF_FFFF);
        }
        row.bytes(&[0, 1, 1, 1, 2, 2, 1, 1, 0, 2]);
        row.bytes(&[0, 0, 0, 0, 1, 1, 0, 0, 0, 1]);
        row.0
    }

    /// About 135 bytes; with its key 163.
    pub fn fact_row(&self, place: u64, fact: u64, version: u64) -> Vec<u8> {
        let random = mix(place ^ fact << 56);
        let changing = mix(random ^ version);
        let (_, code) = pick(&DISTRICTS, mix(place));
        let mut row = Row(Vec::with_capacity(160));
        row.text("dwelling");
        row.text(&format!("{code}{:06}", mix(place) >> 48 & 0xFFF));
        row.number(recorded_at_ms(changing, version));
        row.number(recorded_at_ms(changing, version) + 700);
        row.number(fact % 9);
        row.text(&source_key(place, fact));
        row.number(changing & 0xFF_FFFF);
        row.bytes(&0.97f32.to_le_bytes());
        row.number(version);
        row.text(pick(&USES, changing >> 3));
        row.text(pick(&ESTATES, changing >> 9));
        row.number(changing >> 16 & 0xF_FFFF);
        row.number(changing >> 40 & 0xFFF);
        row.bytes(&mix(random ^ 1).to_be_bytes());
        row.bytes(&mix(random ^ 2).to_be_bytes());
        row.text(&format!("表{:08}", random >> 20 & 0xFF_FFFF));
        row.0
    }
}

fn fact_id(place: u64, fact: u64) -> [u8; 16] {
    let high = mix(place.wrapping_mul(31) ^ fact);
    (u128::from(high) << 64 | u128::from(mix(high))).to_be_bytes()
}

fn source_key(place: u64, fact: u64) -> String {
    format!("{}-3201-{place:09}", pick(&["SW", "RK", "FW", "GD"], fact))
}

fn recorded_at_ms(random: u64, version: u64) -> u64 {
    1_767_200_000_000 + version * 60_000 + random % 3_600_000
}

/// Tags and lengths before values, as protobuf writes them.
struct Row(Vec<u8>);

impl Row {
    fn number(&mut self, mut number: u64) {
        self.0.push(0x08);
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.push(0x12);
        self.0.push(bytes.len() as u8);
        self.0.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const CITY: City = City { places: 10_007 };

    #[test]
    fn rows_have_the_sizes_that_are_told() {
        let mean = |row: &dyn Fn(u64) -> usize| (0..1000).map(row).sum::<usize>() / 1000;
        let place = mean(&|place| CITY.place_row(place, 3).len());
        let fact = mean(&|place| CITY.fact_row(place, place % 3, 3).len());
        assert!((280..=320).contains(&place), "{place}");
        assert!((125..=145).contains(&fact), "{fact}");
    }

    #[test]
    fn scattering_meets_every_place_once() {
        for places in [1, 2, 1000, 10_007] {
            let city = City { places };
            let met: HashSet<u64> = (0..places).map(|at| city.scattered(at)).collect();
            assert_eq!(met.len() as u64, places);
        }
    }

    #[test]
    fn keys_of_facts_ascend_with_place_and_number() {
        let keys: Vec<_> = (0..1000)
            .flat_map(|place| (0..CITY.facts_of(place)).map(move |fact| CITY.fact_key(place, fact)))
            .collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
    }
}

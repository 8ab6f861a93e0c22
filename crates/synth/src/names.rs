//! Invented names of compounds and roads, made from parts in the manner of the region, and the slips of the pen in them.

use crate::dice::Dice;

const FIRST: [&str; 40] = [
    "国", "金", "银", "华", "新", "天", "瑞", "龙", "凤", "春", "锦", "玉", "福", "祥", "康", "安", "永",
    "盛", "明", "清", "紫", "翠", "碧", "云", "星", "海", "江", "文", "丽", "嘉", "和", "景", "雅", "宏",
    "恒", "长", "东", "南", "万", "百",
];
const SECOND: [&str; 30] = [
    "泰", "色", "都", "景", "城", "阳", "和", "瑞", "桥", "庭", "湾", "福", "祥", "宁", "华", "馨", "林",
    "山", "水", "荷", "桂", "兰", "竹", "梅", "枫", "悦", "尚", "源", "丰", "盛",
];
const COMPOUND_KINDS: [(&str, f64); 14] = [
    ("新村", 16.0),
    ("家园", 14.0),
    ("花园", 13.0),
    ("苑", 14.0),
    ("小区", 8.0),
    ("雅苑", 5.0),
    ("公寓", 4.0),
    ("名邸", 3.0),
    ("花苑", 6.0),
    ("里", 3.0),
    ("坊", 2.0),
    ("华庭", 4.0),
    ("佳园", 5.0),
    ("新寓", 3.0),
];
const ROAD_FIRST: [&str; 30] = [
    "云", "长", "青", "汉", "中", "平", "建", "石", "凤", "龙", "江", "湖", "文", "学", "新", "兴", "泰",
    "永", "光", "虹", "莲", "梧", "松", "柳", "枫", "桃", "杏", "栖", "燕", "鹤",
];
const ROAD_SECOND: [&str; 26] = [
    "锦", "虹", "溪", "桥", "山", "门", "宁", "康", "华", "府", "台", "园", "林", "泉", "塘", "安", "德",
    "和", "兴", "昌", "源", "岭", "洲", "港", "浦", "亭",
];
const ROAD_KINDS: [(&str, f64); 7] =
    [("路", 60.0), ("街", 14.0), ("巷", 10.0), ("大道", 5.0), ("东路", 4.0), ("西路", 4.0), ("北路", 3.0)];

/// Characters that a clerk writes for one another: they sound or look alike.
const CONFUSED: [(char, char); 40] = [
    ('苑', '院'),
    ('园', '圆'),
    ('庭', '廷'),
    ('泰', '太'),
    ('花', '华'),
    ('华', '花'),
    ('新', '欣'),
    ('瑞', '端'),
    ('锦', '绵'),
    ('祥', '详'),
    ('福', '富'),
    ('康', '庚'),
    ('安', '按'),
    ('永', '咏'),
    ('盛', '胜'),
    ('明', '名'),
    ('清', '青'),
    ('紫', '子'),
    ('翠', '萃'),
    ('碧', '璧'),
    ('云', '芸'),
    ('星', '兴'),
    ('江', '讧'),
    ('嘉', '佳'),
    ('佳', '嘉'),
    ('景', '锦'),
    ('雅', '稚'),
    ('宏', '洪'),
    ('恒', '衡'),
    ('桥', '乔'),
    ('湾', '弯'),
    ('馨', '磬'),
    ('枫', '风'),
    ('虹', '红'),
    ('溪', '西'),
    ('邸', '底'),
    ('坊', '纺'),
    ('寓', '遇'),
    ('源', '原'),
    ('丰', '沣'),
];

/// A compound's name in two parts: `国泰` and `新村`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CompoundName {
    pub stem: String,
    pub kind: String,
}

impl CompoundName {
    pub fn draw(dice: &mut Dice) -> CompoundName {
        let first = *dice.pick(&FIRST);
        let mut second = *dice.pick(&SECOND);
        while second == first {
            second = *dice.pick(&SECOND);
        }
        let kind = dice.weighted(&COMPOUND_KINDS);
        CompoundName { stem: format!("{first}{second}"), kind: kind.to_owned() }
    }

    pub fn full(&self) -> String {
        format!("{}{}", self.stem, self.kind)
    }

    /// How the people who live there call it.
    pub fn aliases(&self, dice: &mut Dice) -> Vec<String> {
        let mut aliases = Vec::new();
        if dice.chance(0.7) {
            aliases.push(match self.kind.as_str() {
                "小区" => format!("{}新村", self.stem),
                "苑" | "里" | "坊" => format!("{}{}小区", self.stem, self.kind),
                _ => format!("{}小区", self.stem),
            });
        }
        if dice.chance(0.2) {
            aliases.push(format!("{}住宅区", self.stem));
        }
        aliases
    }
}

pub(crate) fn road(dice: &mut Dice) -> String {
    let first = *dice.pick(&ROAD_FIRST);
    let second = *dice.pick(&ROAD_SECOND);
    format!("{first}{second}{}", dice.weighted(&ROAD_KINDS))
}

/// One slip: a confused, a lost, a doubled or two exchanged characters. The name must have two characters or more.
pub(crate) fn slip(name: &str, dice: &mut Dice) -> String {
    let mut letters: Vec<char> = name.chars().collect();
    let confusable: Vec<(usize, char)> = letters
        .iter()
        .enumerate()
        .filter_map(|(at, letter)| CONFUSED.iter().find(|(from, _)| from == letter).map(|(_, to)| (at, *to)))
        .collect();
    let at = dice.below(letters.len() as u32) as usize;
    match dice.below(10) {
        0..6 if !confusable.is_empty() => {
            let (at, to) = *dice.pick(&confusable);
            letters[at] = to;
        }
        6 if at + 1 < letters.len() && letters[at] != letters[at + 1] => letters.swap(at, at + 1),
        7 => letters.insert(at, letters[at]),
        _ if letters.len() > 2 => {
            letters.remove(at);
        }
        _ => letters.insert(at, letters[at]),
    }
    letters.into_iter().collect()
}

/// `１２` for `12`: what a full-width input method leaves behind.
pub(crate) fn full_width(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '0'..='9' | '.' => char::from_u32(letter as u32 + 0xfee0).unwrap_or(letter),
            _ => letter,
        })
        .collect()
}

/// 1 to 99 in Chinese: `二`, `十二`, `二十`.
pub(crate) fn chinese_number(number: u32) -> String {
    const DIGITS: [&str; 10] = ["", "一", "二", "三", "四", "五", "六", "七", "八", "九"];
    let (tens, ones) = ((number / 10 % 10) as usize, (number % 10) as usize);
    match tens {
        0 => DIGITS[ones].to_owned(),
        1 => format!("十{}", DIGITS[ones]),
        _ => format!("{}十{}", DIGITS[tens], DIGITS[ones]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Domain;

    #[test]
    fn a_slip_always_changes_a_name_and_never_empties_it() {
        let mut dice = Dice::new(1, Domain::Compound, 0);
        for _ in 0..2_000 {
            let name = CompoundName::draw(&mut dice).full();
            let slipped = slip(&name, &mut dice);
            assert_ne!(slipped, name);
            assert!(slipped.chars().count() >= 2, "{slipped}");
        }
    }

    #[test]
    fn numbers_are_written_as_clerks_write_them() {
        let written: Vec<String> = [1, 2, 10, 12, 20, 33].map(chinese_number).into();
        assert_eq!(written, ["一", "二", "十", "十二", "二十", "三十三"]);
        assert_eq!(full_width("25幢2单元402室"), "２５幢２单元４０２室");
    }
}

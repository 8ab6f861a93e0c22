//! Addresses that no standard address answers to: other provinces, other cities of the province with the same county
//! names, and sites that have no address at all.

use crate::city::City;
use crate::dice::Dice;

/// Of another province.
pub(crate) fn abroad(city: &City, dice: &mut Dice) -> String {
    let town = *dice.pick(&[
        "安徽省马鞍山市花山区湖东路",
        "安徽省滁州市琅琊区清流路",
        "上海市浦东新区张杨路",
        "浙江省杭州市西湖区文三路",
        "山东省济南市历下区解放路",
        "河南省郑州市金水区花园路",
    ]);
    let name = &city.compounds[dice.below(city.compounds.len() as u32) as usize].name;
    format!(
        "{town}{}号{name}{}幢{}单元{}0{}室",
        dice.between(1, 300),
        dice.between(1, 30),
        dice.between(1, 4),
        dice.between(1, 6),
        dice.between(1, 4)
    )
}

/// Anywhere but at a standard address.
pub(crate) fn address(city: &City, dice: &mut Dice) -> String {
    let compound = &city.compounds[dice.below(city.compounds.len() as u32) as usize];
    let county = &city.county_of(compound).name;
    match dice.below(10) {
        0..3 => abroad(city, dice),
        // The same county name and perhaps the same compound name in another city.
        3..5 => format!(
            "江苏省徐州市鼓楼区中山北路{}号{}{}幢{}0{}室",
            dice.between(1, 200),
            compound.name,
            dice.between(1, 9),
            dice.between(1, 6),
            dice.between(1, 4)
        ),
        5 => format!("江苏省常州市天宁区延陵西路{}号", dice.between(1, 200)),
        6 => format!("{county}{}排涝泵站", city.road_of(compound).name),
        7 => format!("{county}{}公共卫生间", city.road_of(compound).name),
        8 => format!("{county}拆迁安置工地临时用户{}", dice.between(1, 60)),
        // A house number far beyond the street's end.
        _ => format!("{county}{}{}号商铺", city.road_of(compound).name, dice.between(2_000, 4_000)),
    }
}

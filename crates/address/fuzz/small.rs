//! A small gazetteer with every kind of entry: dwellings, aliases, free texts, former names, coordinates.

use std::path::Path;
use yibiao_address::{Divisions, GazetteerBuilder, Level, NameCategory, NameChange, StandardAddress, Status};

pub fn build(path: &Path) {
    let mut builder = GazetteerBuilder::new(Divisions::bundled());
    let mut place = 0;
    for (road, compound, buildings) in [("云栖路", "青禾新村", 3), ("松涛路", "望月苑", 2)] {
        for building in 1..=buildings {
            for (unit, room) in [("1单元", "101室"), ("2单元", "402室"), ("", "501室")] {
                place += 1;
                let row = StandardAddress {
                    place,
                    level: Level::Dwelling,
                    city: "南京市".into(),
                    county: "鼓楼区".into(),
                    road: road.into(),
                    number: "12号".into(),
                    compound: compound.into(),
                    building: format!("{}幢", building + 22),
                    unit: unit.into(),
                    room: room.into(),
                    aliases: vec![format!("{compound}{building}号楼{room}")],
                    status: if room == "501室" { Status::Withdrawn } else { Status::InUse },
                    lng_lat: Some((118.7, 32.0)),
                    ..StandardAddress::default()
                };
                builder.add(row).expect("a sound row");
            }
        }
    }
    for (name, address) in [("和风雅居", "江宁区稻香路8号与云栖路交叉口"), ("兰草家园(南区)", "梧桐街3-1号")]
    {
        place += 1;
        let row = StandardAddress {
            place,
            level: Level::Compound,
            city: "南京市".into(),
            name: Some(name.into()),
            address: address.into(),
            ..StandardAddress::default()
        };
        builder.add(row).expect("a sound row");
    }
    builder.add_name(NameChange {
        category: NameCategory::Road,
        name: "云栖路".into(),
        former: vec!["云西路".into()],
        county: "鼓楼区".into(),
        township: String::new(),
        withdrawn: false,
    });
    builder.finish(path).expect("room for a small file");
}

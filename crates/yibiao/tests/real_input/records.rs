//! The labelled addresses, and the files that two departments would send of them.

use std::{fmt::Write, path::PathBuf};

/// A compound in one of its surface forms.
pub struct Compound {
    pub id: String,
    pub city: String,
    pub name: String,
    pub address: String,
}

/// What another source calls a compound.
pub struct Query {
    /// The compound's id; None where it is not among the compounds.
    pub gold: Option<String>,
    pub city: String,
    pub name: String,
    pub address: String,
}

pub struct Records {
    pub compounds: Vec<Compound>,
    pub queries: Vec<Query>,
}

impl Records {
    /// The folder that was looked in, where they are not there.
    pub fn read() -> Result<Self, PathBuf> {
        let folder = match std::env::var_os("YIBIAO_SHARED_DATA") {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        };
        let folder = folder.join("addresses");
        let read = |name| std::fs::read_to_string(folder.join(name)).ok();
        let (Some(places), Some(queries)) = (read("resolve_places.tsv"), read("resolve_queries.tsv")) else {
            return Err(folder);
        };
        let compounds = rows(&places, ["place_id", "city", "name", "address"]);
        let compounds =
            compounds.map(|[id, city, name, address]| Compound { id, city, name, address }).collect();
        let queries = rows(&queries, ["gold", "city", "name", "address"]);
        let queries = queries
            .map(|[gold, city, name, address]| Query {
                gold: (gold != "NONE").then_some(gold),
                city,
                name,
                address,
            })
            .collect();
        Ok(Self { compounds, queries })
    }

    /// Each surface form is a record of its own; those of one compound share its 地址编码.
    pub fn standard_addresses(&self) -> String {
        let mut text = "序号\t地址编码\t市\t小区名称\t标准地址\t更新时间\n".to_owned();
        for (number, compound) in self.compounds.iter().enumerate() {
            let Compound { id, city, name, address } = compound;
            writeln!(text, "{number}\t{id}\t{city}\t{name}\t{address}\t2025-01-01 00:00:00").unwrap();
        }
        text
    }

    /// The record's key is its place in the list. The gold id is not in the file.
    pub fn disputes(&self) -> String {
        let mut text = "序号\t城市\t小区\t地址\t受理日期\n".to_owned();
        for (number, Query { city, name, address, .. }) in self.queries.iter().enumerate() {
            writeln!(text, "{number}\t{city}\t{name}\t{address}\t2025-11-03").unwrap();
        }
        text
    }
}

fn rows<const N: usize>(text: &str, columns: [&str; N]) -> impl Iterator<Item = [String; N]> {
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let at = columns.map(|column| head.iter().position(|name| *name == column).unwrap());
    lines.map(move |line| {
        let cells: Vec<&str> = line.split('\t').collect();
        at.map(|at| cells[at].to_owned())
    })
}

//! Where every place lies in the file: compounds, then buildings and units, then dwellings; what lies in one place stands
//! side by side, sorted by its label.

use super::build::Drafts;
use super::column::ColumnWriter;
use super::compound::Compound;
use super::rows::{LabelId, Row};
use super::tree::{Holder, Tree};
use crate::model::{Level, Status};

/// The positions of compounds and nodes, and the numbers of labels.
pub(super) struct Order {
    /// Position to compound draft.
    pub compounds: Vec<u32>,
    /// Position - compounds to node.
    pub nodes: Vec<u32>,
    /// Holder to position.
    pub at: Vec<u32>,
    /// By position, with one more: the first building or unit within it.
    pub first_node: Vec<u32>,
    /// Labels as they will be numbered, the most frequent first: small numbers take few bits.
    pub labels: Vec<LabelId>,
    /// Label to its number.
    pub label_at: Vec<u32>,
}

impl Order {
    pub fn new(drafts: &Drafts) -> Order {
        let Drafts { compounds, tree, .. } = drafts;
        let (labels, label_at) = by_frequency(drafts);
        let mut by_name: Vec<u32> = (0..compounds.len() as u32).collect();
        by_name.sort_by_cached_key(|&i| {
            let c = &compounds[i as usize];
            (c.division, c.code, c.name.clone(), c.place)
        });
        let holders = compounds.len() + tree.nodes.len();
        let (starts, mut children) = grouped(holders, tree.nodes.iter().map(|n| n.parent));
        let mut order = Order {
            nodes: Vec::with_capacity(tree.nodes.len()),
            at: vec![0; holders],
            first_node: Vec::with_capacity(holders + 1),
            compounds: by_name,
            labels,
            label_at,
        };
        for (at, &c) in order.compounds.iter().enumerate() {
            order.at[c as usize] = at as u32;
        }
        for at in 0..holders {
            let holder = match order.compounds.get(at) {
                Some(&c) => c as usize,
                None => compounds.len() + order.nodes[at - compounds.len()] as usize,
            };
            let own = &mut children[starts[holder] as usize..starts[holder + 1] as usize];
            own.sort_by_key(|&n| {
                let node = &tree.nodes[n as usize];
                (node.level, order.label_at[node.label.0 as usize])
            });
            order.first_node.push((compounds.len() + order.nodes.len()) as u32);
            for &mut node in own {
                order.at[compounds.len() + node as usize] = (compounds.len() + order.nodes.len()) as u32;
                order.nodes.push(node);
            }
        }
        order.first_node.push(holders as u32);
        order
    }
}

/// The dwellings in order, as columns.
#[derive(Default)]
pub(super) struct Dwellings {
    /// By position of the holder, with one more: its first dwelling.
    pub first: ColumnWriter,
    /// (position, status) of those that are not in use.
    pub statuses: Vec<(u32, Status)>,
    /// (id, position) of rows whose address another row bears too.
    pub shadowed: Vec<(u64, u32)>,
    pub count: u32,
}

impl Dwellings {
    /// Puts them in order, and hands (id, label) of each to `put`. Of rows with one address the first in use stands.
    pub fn arrange(all: Vec<Row>, order: &Order, mut put: impl FnMut(u64, u32)) -> Dwellings {
        let holders = order.at.len();
        let (starts, mut rows) = grouped(holders, all.iter().map(|row| order.at[row.hint as usize]));
        let mut out = Dwellings::default();
        let mut own: Vec<(u32, u32)> = Vec::new();
        for at in 0..holders {
            out.first.push(u64::from(out.count));
            own.clear();
            let here = &mut rows[starts[at] as usize..starts[at + 1] as usize];
            own.extend(here.iter().map(|&row| (order.label_at[all[row as usize].own().0 as usize], row)));
            own.sort_unstable();
            for same in own.chunk_by(|a, b| a.0 == b.0) {
                let row = |(_, row): &(u32, u32)| &all[*row as usize];
                let best = same.iter().map(row).find(|r| r.status == Status::InUse).unwrap_or(row(&same[0]));
                let position = holders as u32 + out.count;
                put(best.place, same[0].0);
                if best.status != Status::InUse {
                    out.statuses.push((position, best.status));
                }
                let others = same.iter().map(row).filter(|r| r.place != best.place);
                out.shadowed.extend(others.map(|r| (r.place, position)));
                out.count += 1;
            }
        }
        out.first.push(u64::from(out.count));
        out
    }
}

/// Numbers 0 to `items` by their group: where each of `groups` begins, and the numbers, in their order.
fn grouped(groups: usize, items: impl Iterator<Item = Holder> + Clone) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; groups + 1];
    let mut count = 0;
    for group in items.clone() {
        starts[group as usize + 1] += 1;
        count += 1;
    }
    for i in 0..groups {
        starts[i + 1] += starts[i];
    }
    let mut next = starts.clone();
    let mut out = vec![0; count];
    for (i, group) in (0..).zip(items) {
        let slot = &mut next[group as usize];
        out[*slot as usize] = i;
        *slot += 1;
    }
    (starts, out)
}

fn by_frequency(drafts: &Drafts) -> (Vec<LabelId>, Vec<u32>) {
    let labels = &drafts.labels;
    let mut counts = vec![0u32; labels.len()];
    let nodes = drafts.tree.nodes.iter().map(|n| n.label);
    nodes.chain(drafts.tree.dwellings.iter().map(|r| r.own())).for_each(|l| counts[l.0 as usize] += 1);
    let mut order: Vec<LabelId> =
        (1..labels.len() as u32).map(LabelId).filter(|l| counts[l.0 as usize] > 0).collect();
    order.sort_by(|&a, &b| {
        let count = |l: LabelId| std::cmp::Reverse(counts[l.0 as usize]);
        count(a).cmp(&count(b)).then_with(|| labels.get(a).cmp(labels.get(b)))
    });
    let mut numbers = vec![0; labels.len()];
    for (i, label) in (0..).zip(&order) {
        numbers[label.0 as usize] = i;
    }
    (order, numbers)
}

/// Level, status and whether no row is the place itself, in one byte.
pub(super) fn kind(level: Level, status: Status, implied: bool) -> u8 {
    level as u8 | (status as u8) << 4 | u8::from(implied) << 6
}

/// What `kind` packed.
pub(super) fn unpacked(kind: u8) -> (Level, Status, bool) {
    (Level::from_u8(kind & 0xf), Status::from_u8(kind >> 4 & 0b11), kind & 0x40 != 0)
}

/// The kind of each compound and node, by position.
pub(super) fn kinds(compounds: &[Compound], tree: &Tree, order: &Order) -> Vec<u8> {
    let compounds = order.compounds.iter().map(|&c| {
        let c = &compounds[c as usize];
        kind(Level::Compound, c.status, c.implied)
    });
    let nodes = order.nodes.iter().map(|&n| {
        let n = &tree.nodes[n as usize];
        kind(n.level, n.status, n.implied)
    });
    compounds.chain(nodes).collect()
}

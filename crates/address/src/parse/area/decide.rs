//! Which of several divisions of one name is meant: 西湖区 lies in Hangzhou and in Nanchang. The rest of the text
//! may tell (西湖区转塘: 转塘 is a township of the one), or nothing does.

use super::{Area, is_gap};
use crate::divisions::{DivisionId, Divisions, Naming};
use crate::model::Level;

/// How far behind the area names are looked for that tell.
const REACH: usize = 40;

impl Area {
    /// Keeps, of several counties that may be meant, the one that the rest of `text` speaks for.
    pub(super) fn decide_by_rest(&mut self, divisions: &Divisions, text: &[char]) {
        let open = self.named
            && self.context.len() > 1
            && divisions.level(self.context[0]) >= Level::County
            && are_namesakes(divisions, &self.context);
        if !open {
            return;
        }
        let rest = &text[self.end.min(text.len())..];
        let (mut best, mut most, mut alone) = (self.context[0], 0, false);
        for &candidate in &self.context {
            let votes = votes(divisions, &rest[..rest.len().min(REACH)], candidate);
            if votes > most {
                (best, most, alone) = (candidate, votes, true);
            } else if votes == most {
                alone = false;
            }
        }
        if alone && most > 0 {
            self.context.clear();
            self.context.push(best);
        }
    }
}

/// How strongly `text` speaks for `candidate`: by its city's or province's name, or a township's of it.
fn votes(divisions: &Divisions, text: &[char], candidate: DivisionId) -> u32 {
    let mut strongest = 0;
    for at in 0..text.len() {
        if is_gap(text[at]) {
            continue;
        }
        divisions.names().prefixes(&text[at..], |name, _| {
            for meaning in divisions.names().meanings(name) {
                let (id, naming, level) = meaning.parts();
                let vote = match (level, naming) {
                    (Level::Province | Level::City, Naming::Full | Naming::Short)
                        if divisions.within(candidate, id) =>
                    {
                        3
                    }
                    (Level::Township, Naming::Full) if divisions.within(id, candidate) => 2,
                    (Level::Township, Naming::Short) if divisions.within(id, candidate) => 1,
                    _ => 0,
                };
                strongest = strongest.max(vote);
            }
        });
    }
    strongest
}

/// Of divisions that bear one name, and between which nothing decides, the one that is meant most often: that of a
/// municipality, then of a capital or a city planned apart, then the one that the tables list first. A guess, never to
/// be told as a fact. None where only one is meant, or where the text contradicts itself.
pub(crate) fn likeliest(divisions: &Divisions, among: &[DivisionId]) -> Option<DivisionId> {
    // Villages of one name say nothing of which county is meant more often.
    let villages = among.first().is_some_and(|&id| divisions.level(id) == Level::Community);
    if among.len() < 2 || villages || !are_namesakes(divisions, among) {
        return None;
    }
    among.iter().copied().min_by_key(|&id| {
        let rank = divisions.at_level(id, Level::City).map_or(3, |city| city_rank(divisions.get(city).code));
        (rank, id)
    })
}

fn are_namesakes(divisions: &Divisions, among: &[DivisionId]) -> bool {
    among.windows(2).all(|w| divisions.get(w[0]).name == divisions.get(w[1]).name)
}

/// 0 municipalities, 1 capitals of provinces and the five cities planned apart, 2 all others.
fn city_rank(code: u64) -> u8 {
    const APART: [u64; 5] = [2102, 3302, 3502, 3702, 4403];
    let (province, city) = (code / 10_000_000_000, code / 100_000_000);
    match (province, city % 100) {
        (11 | 12 | 31 | 50, _) => 0,
        (_, 1) => 1,
        _ if APART.contains(&city) => 1,
        _ => 2,
    }
}

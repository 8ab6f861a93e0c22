//! A compound as it grows out of its rows.

use super::via;
use crate::divisions::DivisionId;
use crate::key::name_key;
use crate::model::Status;
use crate::parse::Label;

#[derive(Debug, Clone, Default)]
pub(super) struct Compound {
    pub place: u64,
    pub implied: bool,
    pub status: Status,
    pub division: Option<DivisionId>,
    pub code: u64,
    pub name: String,
    /// (key, via), the first is the standard one.
    pub names: Vec<(Vec<char>, u32)>,
    /// Names as written, to show.
    pub shown: Vec<String>,
    /// (key of the road, number; empty where none was written, via)
    pub streets: Vec<(Vec<char>, Label, u32)>,
    /// Hashes of surface texts without their area.
    pub texts: Vec<u64>,
    /// Hashes of the parts of free surface texts that may describe the place by themselves.
    pub pieces: Vec<u64>,
    /// The keys of free surface texts, for ranking what is not certain.
    pub surface_texts: Vec<String>,
    /// Some row has its road and number in columns: what stands there is known, not guessed from a description.
    pub is_register: bool,
    pub lng_lat: Option<(f64, f64)>,
    pub surfaces: u32,
}

impl Compound {
    pub fn add_name(&mut self, name: &str, how: u32) {
        let key = name_key(name);
        if key.len() < 2 {
            return;
        }
        match self.names.iter_mut().find(|n| n.0 == key) {
            // Listed as an alias, and known to be a name of the past: the latter says more.
            Some(known) if how == via::FORMER && known.1 == via::ALIAS => known.1 = via::FORMER,
            Some(_) => {}
            None => {
                self.names.push((key, how));
                self.shown.push(name.trim().to_owned());
            }
        }
        // 青禾里小区(青禾路): also known without what is in brackets.
        let folded = crate::fold::folded(name);
        if let (Some(open), Some(close)) = (folded.find('('), folded.rfind(')'))
            && open < close
        {
            let bare = name_key(&format!("{}{}", &folded[..open], &folded[close + 1..]));
            if bare.len() >= 3 && !self.names.iter().any(|n| n.0 == bare) {
                self.names.push((bare, via::ALIAS));
            }
        }
    }

    pub fn add_street(&mut self, road: Vec<char>, number: Label, how: u32) {
        if road.len() >= 2 && !self.streets.iter().any(|s| s.0 == road && s.1 == number) {
            self.streets.push((road, number, how));
        }
    }

    pub fn rename(&mut self, name: &str, current: &[char], former: &[(Vec<char>, &String)]) -> bool {
        let bears_current = self.names.iter().any(|n| n.0 == current);
        let bears_former = self.names.iter().any(|n| former.iter().any(|f| f.0 == n.0));
        if bears_current {
            former.iter().for_each(|f| self.add_name(f.1, via::FORMER));
        } else if bears_former {
            // The standard addresses still have the old name.
            self.add_name(name, via::ALIAS);
        }
        bears_current || bears_former
    }

    pub fn rename_road(&mut self, current: &[char], former: &[(Vec<char>, &String)]) -> bool {
        let mut used = false;
        for (road, number, _) in self.streets.clone() {
            if road == current {
                used = true;
                former.iter().for_each(|f| self.add_street(f.0.clone(), number, via::FORMER));
            } else if former.iter().any(|f| f.0 == road) {
                used = true;
                self.add_street(current.to_vec(), number, via::ALIAS);
            }
        }
        used
    }
}

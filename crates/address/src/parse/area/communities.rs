//! Communities that the tables know, within the cities that text and feed allow.

use super::behind::Behind;
use super::{Area, CONTEXT_MAX, Mention, starts};
use crate::divisions::{DivisionId, Divisions, Naming};
use crate::model::Level;

/// What may be written behind 张庄村 or 锁四社区, after their office.
const OFFICES: [&str; 7] = ["居民委员会", "村民委员会", "民委员会", "居委会", "村委会", "委员会", "委会"];

impl Area {
    /// A community at `at`, the longest name first. Of namesakes those that agree with what was said before; where
    /// several do, the mention leaves open which one it is.
    pub(super) fn community(&mut self, divisions: &Divisions, text: &[char], at: usize) -> Option<usize> {
        if self.deepest() >= Level::Community {
            return None;
        }
        // 绍兴县, which is no more, does not vouch for a village of that name anywhere in 绍兴市.
        let unknown = self.mentions.iter().any(|m| m.beginning == self.beginning && m.division.is_none());
        let narrow = |c: DivisionId| !unknown || divisions.level(c) >= Level::County;
        let mut length = 0;
        let mut kept = std::mem::take(&mut self.kept);
        kept.clear();
        divisions.communities(&self.context, &text[at..], |n, id| {
            if n >= length
                && self.context.iter().any(|&c| narrow(c) && divisions.within(id, c))
                && !Behind::new(&text[at + n..]).street
            {
                if n > length {
                    kept.clear();
                }
                length = n;
                kept.push(id);
            }
        });
        let end = (!kept.is_empty()).then(|| self.mention_community(divisions, text, at, length, &kept));
        self.kept = kept;
        end
    }

    fn mention_community(
        &mut self,
        divisions: &Divisions,
        text: &[char],
        start: usize,
        length: usize,
        ids: &[DivisionId],
    ) -> usize {
        let end = start + length;
        let end = end + OFFICES.iter().find_map(|w| starts(&text[end..], w)).unwrap_or(0);
        let division = if let [one] = ids { Some(*one) } else { None };
        let (level, naming, beginning) = (Level::Community, Naming::Full, self.beginning);
        self.push(Mention { start, end, level, division, naming, beginning });
        // More than can be kept apart decide nothing.
        if ids.len() <= CONTEXT_MAX {
            self.settle(divisions, ids);
        }
        end
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::divisions::Divisions;
    use crate::parse::{AreaElement, parse};

    fn read(text: &str) -> [Option<AreaElement>; 2] {
        let parsed = parse(text, Divisions::bundled(), None);
        [parsed.county, parsed.community]
    }

    fn code(area: &Option<AreaElement>) -> Option<&str> {
        area.as_ref().and_then(|a| a.code.as_deref())
    }

    #[test]
    fn a_community_of_any_province_is_known_with_its_office_or_without() {
        for text in ["北京市东城区多福巷社区", "东城区东华门街道多福巷社区居委会", "北京多福巷社区12号"]
        {
            let [county, community] = read(text);
            assert_eq!(code(&county), Some("110101000000"), "{text}");
            assert_eq!(code(&community), Some("110101001001"), "{text}");
        }
        let span = read("东城区东华门街道多福巷社区居委会")[1].as_ref().unwrap().span;
        assert_eq!(span, Some([8, 16]), "the office belongs to the name");
    }

    #[test]
    fn of_namesakes_the_rest_of_the_text_decides_or_none() {
        let [county, community] = read("徐州市张庄村3组");
        assert_eq!((code(&county), code(&community)), (None, None));
        assert_eq!(community.unwrap().name, "张庄村");
        let [county, community] = read("鼓楼区多福巷社区");
        assert_ne!(code(&county), Some("110101000000"), "far from the county that is named");
        assert_eq!(code(&community), None);
    }
}

//! As much of PromQL as says which series an expression looks at.

/// `name{label="value"}`
#[derive(Debug)]
pub struct Selector {
    pub name: String,
    pub matchers: Vec<Matcher>,
}

/// `label="value"`, with any of the four operators.
#[derive(Debug)]
pub struct Matcher {
    pub label: String,
    pub value: String,
}

impl Selector {
    /// Of a series that a rule has recorded, rather than a metric of the program.
    pub fn is_recorded(&self) -> bool {
        self.name.starts_with("yibiao:")
    }
}

/// All that look at series of ours. `up` is Prometheus's own.
pub fn selectors(expr: &str) -> Vec<Selector> {
    let found = words(expr, "yibiao_").chain(words(expr, "yibiao:"));
    found
        .map(|(name, rest)| {
            let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let inside = inside.map_or("", |(inside, _)| inside);
            let matchers = inside.split("\",").filter(|matcher| !matcher.trim().is_empty());
            let matchers = matchers.map(|matcher| {
                let (label, value) = matcher.split_once('"').unwrap();
                let label = label.trim().trim_end_matches(['=', '!', '~']);
                Matcher { label: label.to_owned(), value: value.trim_end_matches('"').to_owned() }
            });
            Selector { name: name.to_owned(), matchers: matchers.collect() }
        })
        .collect()
}

/// Labels in `by (…)` and `on (…)`.
pub fn grouping(expr: &str) -> Vec<String> {
    let lists = ["by (", "on ("].into_iter().flat_map(|word| expr.split(word).skip(1));
    let labels = lists.flat_map(|rest| rest.split(')').next().unwrap_or_default().split(','));
    labels.map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect()
}

/// Words that begin so, and what follows each.
fn words<'a>(text: &'a str, beginning: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    text.match_indices(beginning)
        .filter(move |(at, _)| !text[..*at].ends_with(is_part))
        .map(move |(at, _)| text[at..].split_at(text[at..].find(|c| !is_part(c)).unwrap_or(text.len() - at)))
}

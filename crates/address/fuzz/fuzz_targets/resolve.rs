//! Any question to a small gazetteer gets an answer that is consistent in itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use yibiao_address::{Gazetteer, Language, Query, Resolver, Scratch};

#[path = "../small.rs"]
mod small;

static RESOLVER: LazyLock<Resolver> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("small");
    small::build(&path);
    Resolver::new(Arc::new(Gazetteer::open(&path).expect("what was just built")))
});

fuzz_target!(|data: &[u8]| {
    let data = String::from_utf8_lossy(data);
    // Lines: the text, the city, the name; the latter two may be missing.
    let mut lines = data.splitn(3, '\n');
    let query = Query { text: lines.next().unwrap_or_default(), city: lines.next(), name: lines.next() };
    let mut scratch = Scratch::default();
    let answer = RESOLVER.resolve(&query, &mut scratch);
    assert!((0.0..=1.0).contains(&answer.confidence));
    assert_eq!(answer.place.is_some(), answer.confidence > 0.0);
    // A scratch that was used before changes nothing.
    let again = RESOLVER.resolve(&query, &mut scratch);
    assert_eq!((answer.place, answer.reason), (again.place, again.reason));
    assert!(!RESOLVER.explain(&query, Language::Chinese).is_empty());
});

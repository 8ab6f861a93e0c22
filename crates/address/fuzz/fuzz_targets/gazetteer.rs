//! A damaged or foreign file is refused or read, never a panic and never memory of others. The checksums are not
//! checked under the fuzzer (see `gazetteer/file.rs`), or it would never get behind them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};
use yibiao_address::{Gazetteer, Language, Query, Resolver, Scratch};

#[path = "../small.rs"]
mod small;

static GOOD: LazyLock<(tempfile::TempDir, Vec<u8>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("small");
    small::build(&path);
    let bytes = std::fs::read(&path).expect("what was just built");
    (folder, bytes)
});

const QUESTIONS: [&str; 6] = [
    "南京市鼓楼区云栖路12号青禾新村25幢2单元402室",
    "青禾新村25-2-402",
    "云栖路12号",
    "望月苑3栋101",
    "青和新村25幢",
    "云栖路与松涛路交叉口",
];

/// The good file with pieces of five bytes laid over it: where (three bytes), what (two); or the bytes themselves.
fn file(data: &[u8]) -> Vec<u8> {
    let Some((kind, data)) = data.split_first() else { return Vec::new() };
    if kind & 1 == 0 {
        return data.to_vec();
    }
    let mut bytes = GOOD.1.clone();
    for piece in data.chunks_exact(5) {
        let at = u32::from_le_bytes([piece[0], piece[1], piece[2], 0]) as usize % bytes.len();
        bytes[at] = piece[3];
        if let Some(next) = bytes.get_mut(at + 1) {
            *next = piece[4];
        }
    }
    if kind & 2 != 0 {
        bytes.truncate(bytes.len().saturating_sub(data.len() * 7));
    }
    bytes
}

fuzz_target!(|data: &[u8]| {
    let path = GOOD.0.path().join("damaged");
    std::fs::write(&path, file(data)).expect("a file for temporary bytes");
    let Ok(gazetteer) = Gazetteer::open(&path) else { return };
    let _ = gazetteer.verify();
    for place in [0, 1, 2, 3, 1 << 62, u64::MAX] {
        gazetteer.place(place);
        gazetteer.names(place);
    }
    let resolver = Resolver::new(Arc::new(gazetteer));
    let mut scratch = Scratch::default();
    for text in QUESTIONS {
        for (city, name) in [(None, None), (Some("南京市"), Some("青禾新村"))] {
            let query = Query { text, city, name };
            resolver.resolve(&query, &mut scratch);
            resolver.explain(&query, Language::English);
        }
    }
});

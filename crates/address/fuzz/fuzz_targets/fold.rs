//! Folding twice is folding once; every folded character leads back into the original.
#![no_main]

use libfuzzer_sys::fuzz_target;
use yibiao_address::{Folded, fold};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut once = Folded::default();
    fold(&text, &mut once);
    let count = text.chars().count() as u32;
    let mut last = 0;
    for at in 0..once.chars().len() {
        let [start, end] = once.original(at, at + 1);
        assert!(last <= start && start < end && end <= count, "[{start}, {end}) of {count}");
        last = start;
    }
    let mut twice = Folded::default();
    fold(&once.text(), &mut twice);
    assert_eq!(once.chars(), twice.chars());
});

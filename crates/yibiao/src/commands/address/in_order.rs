//! Work on all cores, with the results in the order of the input.

/// Maps rows to results on all cores; the results are in the order of the rows.
pub fn map<I: Sync, O: Send>(rows: &[I], work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let part = rows.len().div_ceil(cores).max(1);
    let work = &work;
    std::thread::scope(|scope| {
        let parts: Vec<_> = rows
            .chunks(part)
            .map(|rows| scope.spawn(move || rows.iter().map(work).collect::<Vec<O>>()))
            .collect();
        parts.into_iter().flat_map(|part| part.join().expect("a worker does not panic")).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_rows_whatever_their_number() {
        for count in [0usize, 1, 2, 3, 1000] {
            let rows: Vec<usize> = (0..count).collect();
            assert_eq!(map(&rows, |row| row * 2), rows.iter().map(|row| row * 2).collect::<Vec<_>>());
        }
    }
}

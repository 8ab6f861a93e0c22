//! See the library.

use std::process::ExitCode;

/// Rows are many small texts, which are made in one thread and freed in another: a fifth of the processor's time of the
/// system's allocator is saved (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    yibiao::main()
}

//! See the library.

use std::process::ExitCode;

/// Rows are many small texts, made in one thread and freed in another: a quarter of fusion's samples were in the system's
/// allocator (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    yibiao::main()
}

//! Compiles schemas/yibiao/v1 with a protobuf compiler written in Rust, so that no `protoc` is needed.
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked at run time: a build folder may serve several checkouts.
    let schemas = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../schemas");
    println!("cargo:rerun-if-changed={}", schemas.join("yibiao").display());
    let files = protox::compile([schemas.join("yibiao/v1/records.proto")], [&schemas])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}

//! The command itself; what it does needs Kafka and PostgreSQL, and is run by scripts/test.

use std::process::Command;

#[test]
fn a_program_that_is_not_there_is_said_to_be_missing() -> std::io::Result<()> {
    let faults = env!("CARGO_BIN_EXE_yibiao-bench-faults");
    let output = Command::new(faults).args(["--program", "/nowhere/yibiao"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("give --program"), "{said}");
    Ok(())
}

//! The daemon and its tools: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    beacon_gateway::commands::main()
}

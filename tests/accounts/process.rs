//! What all children of the test need.

use nix::unistd::Pid;

/// The identifier of a child, as signals want it.
pub(crate) fn pid(id: u32) -> Pid {
    // Linux has at most 2^22 of them (proc(5), pid_max).
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}

//! Makes sled ask the disk, not the page cache.
//!
//! sled 0.34 makes its writes durable with `sync_file_range`, which neither waits for the disk's
//! own cache nor for the file's size. Only where the kernel does not have that call does it use
//! `fsync` instead. So the thread that opens the store, and with it every thread that sled starts
//! from there, is given a kernel without that call: a seccomp filter answers it with `ENOSYS`.
//!
//! This is better than our own sync after each flush, because sled also relies on its writes being
//! durable when it decides which parts of its log may be overwritten.

use seccompiler::{BpfProgram, apply_filter, sock_filter};

/// Classic BPF, `linux/bpf_common.h`: load a word from an absolute offset.
const LOAD: u16 = 0x20;
/// Jump if equal to the constant.
const JUMP_IF_EQUAL: u16 = 0x15;
/// Return the constant.
const RETURN: u16 = 0x06;

/// Offset of the system call's number in `struct seccomp_data`, `linux/seccomp.h`.
const NUMBER: u32 = 0;
/// Offset of the architecture.
const ARCHITECTURE: u32 = 4;

/// The call to refuse and this architecture's name in `linux/audit.h`, where both are known.
#[cfg(target_arch = "x86_64")]
const CALL: Option<(libc::c_long, u32)> = Some((libc::SYS_sync_file_range, 0xc000_003e));
#[cfg(target_arch = "aarch64")]
const CALL: Option<(libc::c_long, u32)> = Some((libc::SYS_sync_file_range, 0xc000_00b7));
// 32-bit ARM has the call under another name, with its arguments in another order.
#[cfg(target_arch = "arm")]
const CALL: Option<(libc::c_long, u32)> = Some((libc::SYS_arm_sync_file_range, 0x4000_0028));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
const CALL: Option<(libc::c_long, u32)> = None;

/// Takes `sync_file_range` away from this thread and from the threads and processes it starts. Also sets
/// `no_new_privs` for them, which the kernel asks for. Cannot be undone.
pub(super) fn refuse_sync_file_range() -> Result<(), String> {
    let (call, architecture) = CALL.ok_or("this processor is not supported")?;
    let call = u32::try_from(call).map_err(|error| error.to_string())?;
    apply_filter(&program(call, architecture)).map_err(|error| error.to_string())
}

fn program(call: u32, architecture: u32) -> BpfProgram {
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    vec![
        instruction(LOAD, 0, 0, ARCHITECTURE),
        instruction(JUMP_IF_EQUAL, 0, 3, architecture),
        instruction(LOAD, 0, 0, NUMBER),
        instruction(JUMP_IF_EQUAL, 0, 1, call),
        instruction(RETURN, 0, 0, refuse),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// `jt` and `jf` say how many instructions to skip if the comparison holds or fails.
fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer, by the rules of its interpreter.
    fn answer(program: &[sock_filter], architecture: u32, call: u32) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = &program[at];
            at += 1;
            match *code {
                LOAD if *k == NUMBER => word = call,
                LOAD => word = architecture,
                JUMP_IF_EQUAL => at += usize::from(if word == *k { *jt } else { *jf }),
                _ => return *k,
            }
        }
    }

    #[test]
    fn only_the_one_call_of_this_architecture_is_refused() {
        let (call, here, elsewhere) = (84, 0xc000_00b7, 0x4000_0028);
        let program = program(call, here);
        let refused = libc::SECCOMP_RET_ERRNO + 38;
        assert_eq!(
            answer(&program, here, call),
            refused,
            "38 is ENOSYS on every Linux we build for"
        );
        for other in [call - 1, call + 1, 0, u32::MAX] {
            assert_eq!(answer(&program, here, other), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(answer(&program, elsewhere, call), libc::SECCOMP_RET_ALLOW);
    }
}

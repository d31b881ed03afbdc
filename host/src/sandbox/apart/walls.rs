//! What may a process that runs guests ask of its kernel? It reads compiled code, reaches what some module was granted, and has
//! the system calls that this takes. No other file, no peer, no program to start, no other process to signal or trace.
//!
//! Landlock (<https://docs.kernel.org/userspace-api/landlock.html>) and seccomp
//! (<https://docs.kernel.org/userspace-api/seccomp_filter.html>), each where the kernel has it.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, AccessNet, NetPort, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::door::{Begin, Walls};
use crate::attempt::Directory;

/// What is asked for; older kernels give less.
const KNOWN: ABI = ABI::V6;
/// How the pool finds the pages that a guest has touched.
const PAGEMAP: &str = "/proc/self/pagemap";

/// Raises both walls around this thread, and all that it starts from now on, for ever.
pub(super) fn raise(begin: &Begin) -> anyhow::Result<Walls> {
    let landlock = confine(begin)?;
    let networked = begin.granted.iter().any(|granted| !granted.tcp.is_empty());
    Ok(Walls { landlock, seccomp: filter(networked)? })
}

fn confine(begin: &Begin) -> anyhow::Result<bool> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(&begin.artifacts)?, AccessFs::from_read(KNOWN)))?;
    if let Ok(pagemap) = PathFd::new(PAGEMAP) {
        rules = rules.add_rule(PathBeneath::new(pagemap, AccessFs::ReadFile))?;
    }
    for granted in &begin.granted {
        for directory in &granted.directories {
            rules = open(rules, directory)?;
        }
        for peer in &granted.tcp {
            rules = rules.add_rule(NetPort::new(peer.port(), AccessNet::ConnectTcp))?;
        }
        if !granted.tcp.is_empty() {
            // Who connects may first ask for a place of its own, any that is free.
            rules = rules.add_rule(NetPort::new(0, AccessNet::BindTcp))?;
        }
    }
    let RestrictionStatus { ruleset, .. } = rules.restrict_self()?;
    Ok(ruleset != RulesetStatus::NotEnforced)
}

fn open(rules: RulesetCreated, Directory { host, write, .. }: &Directory) -> anyhow::Result<RulesetCreated> {
    // One that is gone is missed by the tasks that need it, not by all.
    let Ok(directory) = PathFd::new(host) else { return Ok(rules) };
    let access = if *write { AccessFs::from_all(KNOWN) & !AccessFs::Execute } else { AccessFs::from_read(KNOWN) };
    Ok(rules.add_rule(PathBeneath::new(directory, access))?)
}

/// What the runtime, the allocator of instances and WASI call.
const CALLS: &[i64] = &[
    // Memory, for instances and their code.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads, and what they wait for.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_membarrier,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Signals: traps of guests are some.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // The door, and what the runtime waits on.
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_pipe2,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
    libc::SYS_write,
    libc::SYS_writev,
    // Files: which ones, Landlock says.
    libc::SYS_copy_file_range,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_ioctl,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_readlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

/// Older forms that libraries still use where a processor has them.
#[cfg(target_arch = "x86_64")]
const OLDER_CALLS: &[i64] =
    &[libc::SYS_arch_prctl, libc::SYS_epoll_wait, libc::SYS_open, libc::SYS_poll, libc::SYS_readlink];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_CALLS: &[i64] = &[];

/// What a module needs that may open connections.
const NETWORK_CALLS: &[i64] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_socket,
];

/// Denies every call that is not listed. False: there are no filters for this processor.
fn filter(networked: bool) -> anyhow::Result<bool> {
    let Ok(processor) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(false) };
    let network = if networked { NETWORK_CALLS } else { &[] };
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> =
        CALLS.iter().chain(OLDER_CALLS).chain(network).map(|call| (*call, Vec::new())).collect();
    // Threads, and no processes.
    let threads = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64);
    let this = u64::from(std::process::id());
    allowed.insert(libc::SYS_clone, only(0, threads, libc::CLONE_THREAD as u64)?);
    // To end itself; to ask for the size of a stack.
    allowed.insert(libc::SYS_tgkill, only(0, SeccompCmpOp::Eq, this)?);
    allowed.insert(libc::SYS_prlimit64, only(0, SeccompCmpOp::Eq, 0)?);
    // The names of threads.
    allowed.insert(libc::SYS_prctl, only(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?);
    // What it asks for is in memory, where no filter can look. Who is told that there is none calls `clone`.
    allowed.insert(libc::SYS_clone3, Vec::new());
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    let there_is_none = SeccompAction::Errno(libc::ENOSYS as u32);
    let newer = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let filters = [
        SeccompFilter::new(newer, SeccompAction::Allow, there_is_none, processor)?,
        SeccompFilter::new(allowed, denied, SeccompAction::Allow, processor)?,
    ];
    for filter in filters {
        match seccompiler::apply_filter(&BpfProgram::try_from(filter)?) {
            // A kernel without seccomp.
            Err(seccompiler::Error::Prctl(error)) if error.raw_os_error() == Some(libc::EINVAL) => return Ok(false),
            applied => applied?,
        }
    }
    Ok(true)
}

fn only(argument: u8, is: SeccompCmpOp, value: u64) -> anyhow::Result<Vec<SeccompRule>> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, is, value)?;
    Ok(vec![SeccompRule::new(vec![condition])?])
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::PermissionDenied;

    use super::*;
    use crate::attempt::Capabilities;

    #[test]
    fn who_is_behind_the_walls_reads_code_and_what_was_granted_and_starts_and_reaches_nobody() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for directory in ["artifacts", "granted", "shown"] {
            std::fs::create_dir(at(directory)).unwrap();
            std::fs::write(at(directory).join("file"), directory).unwrap();
        }
        std::fs::write(at("secret"), "secret").unwrap();
        let directory = |name, write| Directory { host: at(name), guest: "/".to_owned(), write };
        let directories = vec![directory("granted", true), directory("shown", false), directory("missing", false)];
        let granted = vec![Capabilities { directories, ..Capabilities::default() }];
        let begin = Begin { places: 1, memory_bytes: 1, threads: 1, artifacts: at("artifacts"), granted };
        let paths = ["artifacts/file", "granted/file", "shown/file", "secret"].map(at);
        let parent = rustix::process::getppid().unwrap();
        // They hold for a thread, so this one alone is lost to them.
        let behind = std::thread::spawn(move || {
            let walls = raise(&begin).unwrap();
            let [artifact, granted, shown, secret] = &paths;
            if walls.landlock {
                assert_eq!(std::fs::read(artifact).unwrap(), b"artifacts");
                assert_eq!(std::fs::read(shown).unwrap(), b"shown");
                std::fs::write(granted, "other").unwrap();
                for denied in [
                    std::fs::write(artifact, "other"),
                    std::fs::write(shown, "other"),
                    std::fs::read(secret).map(drop),
                    std::fs::read("/etc/passwd").map(drop),
                ] {
                    assert_eq!(denied.unwrap_err().kind(), PermissionDenied);
                }
            }
            if walls.seccomp {
                let peer = std::net::TcpStream::connect("127.0.0.1:1");
                let program = std::process::Command::new("/bin/true").status();
                for denied in [peer.map(drop), program.map(drop)] {
                    assert_eq!(denied.unwrap_err().kind(), PermissionDenied);
                }
                assert!(rustix::process::test_kill_process(parent).is_err());
                std::thread::spawn(|| ()).join().unwrap();
            }
            assert!(walls.landlock || walls.seccomp, "this kernel has neither wall");
        });
        behind.join().unwrap();
    }
}

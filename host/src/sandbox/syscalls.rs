//! Which system calls may a process make that runs or compiles what strangers sent? Those that this takes, and no others: none that
//! starts a program, signals or traces another process, has the kernel signal it or, unless it is to, opens a socket.
//! See <https://docs.kernel.org/userspace-api/seccomp_filter.html>.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// What the runtime, the compiler, the allocator of instances and WASI call.
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
    libc::SYS_shutdown,
    libc::SYS_write,
    libc::SYS_writev,
    // Files: which ones, Landlock says.
    libc::SYS_copy_file_range,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
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
];

/// What is done with a file that is open: copies for threads, flags, seals of memory. Not whom the kernel signals about it.
const COMMANDS: &[libc::c_int] = &[
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
];

/// What is asked of a file or a device. Numbers, since each C library has a type of its own for them.
const REQUESTS: &[u64] = &[
    // TCGETS: whether somebody reads it at a terminal.
    0x5401,
    // FIONREAD.
    0x541b,
    // FIONBIO.
    0x5421,
    // FIOCLEX.
    0x5451,
    // PAGEMAP_SCAN, which finds the pages that a guest has touched.
    0xc060_6610,
];

/// Denies this thread, and all that it starts from now on, every call that is not listed, for ever. False: there are no filters for
/// this processor or kernel.
pub(super) fn filter(networked: bool) -> anyhow::Result<bool> {
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
    allowed.insert(libc::SYS_fcntl, any_of(COMMANDS.iter().map(|command| int(1, *command as u64)))?);
    allowed.insert(libc::SYS_ioctl, any_of(REQUESTS.iter().map(|request| int(1, *request)))?);
    // A pair that can reach no other socket, as one of datagrams could.
    allowed.insert(libc::SYS_socketpair, vec![SeccompRule::new(vec![int(0, libc::AF_UNIX as u64)?, stream()?])?]);
    if networked {
        allowed.insert(libc::SYS_socket, tcp()?);
    }
    // What is sent may not connect first: Landlock looks at `connect` alone.
    allowed.insert(libc::SYS_sendto, connected(3)?);
    allowed.insert(libc::SYS_sendmsg, connected(2)?);
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

/// Sockets of TCP: Landlock looks at the ports of no other.
fn tcp() -> anyhow::Result<Vec<SeccompRule>> {
    let mut rules = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for protocol in [0, libc::IPPROTO_TCP] {
            rules.push(SeccompRule::new(vec![int(0, family as u64)?, stream()?, int(2, protocol as u64)?])?);
        }
    }
    Ok(rules)
}

/// The second argument is that of a stream, with flags or without.
fn stream() -> anyhow::Result<SeccompCondition> {
    let kind = SeccompCmpOp::MaskedEq(!((libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) as u64));
    Ok(SeccompCondition::new(1, SeccompCmpArgLen::Dword, kind, libc::SOCK_STREAM as u64)?)
}

/// This argument, the flags of what is sent, does not say that a connection comes about with it.
fn connected(argument: u8) -> anyhow::Result<Vec<SeccompRule>> {
    let fast_open = SeccompCmpOp::MaskedEq(libc::MSG_FASTOPEN as u64);
    Ok(vec![SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, fast_open, 0)?])?])
}

/// An argument that the kernel takes for a number of 32 bits, whatever is above them.
fn int(argument: u8, value: u64) -> anyhow::Result<SeccompCondition> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?)
}

fn any_of(conditions: impl Iterator<Item = anyhow::Result<SeccompCondition>>) -> anyhow::Result<Vec<SeccompRule>> {
    conditions.map(|condition| Ok(SeccompRule::new(vec![condition?])?)).collect()
}

fn only(argument: u8, is: SeccompCmpOp, value: u64) -> anyhow::Result<Vec<SeccompRule>> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, is, value)?;
    Ok(vec![SeccompRule::new(vec![condition])?])
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::PermissionDenied;
    use std::io::IoSlice;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use rustix::net::{AddressFamily, SendAncillaryBuffer, SendFlags, SocketType, sendmsg_addr, sendto, socket};

    use super::*;

    fn result(returned: libc::c_int) -> std::io::Result<()> {
        if returned == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Does this behind the filter, if there can be one. It holds for a thread, so that one alone is lost to it.
    fn filtered(tries: impl FnOnce() + Send + 'static) {
        let behind_it = move || match filter(true).unwrap() {
            true => tries(),
            false => eprintln!("there are no filters here"),
        };
        std::thread::spawn(behind_it).join().unwrap();
    }

    #[test]
    fn nobody_is_signalled_through_a_file_and_no_socket_is_of_another_kind() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        filtered(move || {
            let (door, _other) = UnixStream::pair().unwrap();
            door.set_nonblocking(true).unwrap();
            drop(door.try_clone().unwrap());
            drop(TcpStream::connect(address).unwrap());
            let (fd, this) = (door.as_raw_fd(), std::process::id() as libc::c_int);
            // SAFETY: numbers only, but for one pointer, to a number that outlives the call; the file is open.
            let signalling = unsafe {
                [
                    result(libc::fcntl(fd, libc::F_SETOWN, this)),
                    // F_SETSIG.
                    result(libc::fcntl(fd, 10, libc::SIGTERM)),
                    // FIOSETOWN.
                    result(libc::ioctl(fd, 0x8901, &raw const this)),
                    // Of TCP over several ways, which is none to Landlock.
                    result(libc::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)),
                    result(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)),
                ]
            };
            let sockets = [UnixDatagram::pair().map(drop), UdpSocket::bind("127.0.0.1:0").map(drop)];
            for denied in signalling.into_iter().chain(sockets) {
                assert_eq!(denied.unwrap_err().kind(), PermissionDenied);
            }
        });
    }

    #[test]
    fn nothing_that_is_sent_connects_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        filtered(move || {
            let fast_open = SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32) | SendFlags::NOSIGNAL;
            let stream = || socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            let sent = [
                sendto(stream(), b"x", fast_open, &address),
                sendmsg_addr(stream(), &address, &[IoSlice::new(b"x")], &mut SendAncillaryBuffer::default(), fast_open),
            ];
            assert_eq!(sent, [Err(rustix::io::Errno::PERM); 2]);
            let connected = TcpStream::connect(address).unwrap();
            assert_eq!(rustix::net::send(&connected, b"x", SendFlags::NOSIGNAL), Ok(1));
            let (slices, mut beside) = ([IoSlice::new(b"x")], SendAncillaryBuffer::default());
            assert_eq!(rustix::net::sendmsg(&connected, &slices, &mut beside, SendFlags::NOSIGNAL), Ok(1));
        });
    }
}

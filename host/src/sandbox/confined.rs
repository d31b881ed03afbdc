//! What may a compiler touch? The component that it reads and the directory that it writes to: nothing else of the file system, and no
//! network. Linux' Landlock keeps it to that, and seccomp to the system calls that it takes, where the kernel has them; older kernels
//! have the limits of the process alone. See <https://docs.kernel.org/userspace-api/landlock.html>.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus,
};

use super::syscalls;

/// What the oldest kernel that knows of the network can be asked for.
const KNOWN: ABI = ABI::V4;

/// Confines this thread, and all that it starts from now on, for ever. Whether the kernel can keep it from files, and from
/// system calls.
pub(super) fn confine(component: &Path, directory: &Path) -> anyhow::Result<(bool, bool)> {
    let RestrictionStatus { ruleset, .. } = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(component)?, AccessFs::ReadFile))?
        .add_rule(PathBeneath::new(PathFd::new(directory)?, AccessFs::from_all(KNOWN)))?
        .restrict_self()?;
    Ok((ruleset != RulesetStatus::NotEnforced, syscalls::filter(false)?))
}

/// Closes what whoever started the daemon left open in it; what it opens itself does not come to its children. To be called by a child
/// before it opens anything.
pub(super) fn close_inherited() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: this process has opened nothing yet, so nothing of it is closed. An old kernel that cannot do it does nothing.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_confined_reads_what_is_given_writes_where_it_may_and_reaches_nobody() {
        let home = tempfile::tempdir().unwrap();
        let (component, secret, directory) =
            (home.path().join("component"), home.path().join("secret"), home.path().join("made"));
        std::fs::write(&component, "bytes").unwrap();
        std::fs::write(&secret, "secret").unwrap();
        std::fs::create_dir(&directory).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It holds for a thread, so this one alone is lost to it.
        let confined = std::thread::spawn(move || {
            let (landlock, seccomp) = confine(&component, &directory).unwrap();
            assert_eq!(std::fs::read(&component).unwrap(), b"bytes");
            std::fs::write(directory.join("code"), "code").unwrap();
            if seccomp {
                let program = std::process::Command::new("/bin/true").status();
                let peer = std::net::TcpStream::connect(address);
                for denied in [program.map(drop), peer.map(drop)] {
                    assert_eq!(denied.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
                }
            }
            if !landlock {
                eprintln!("this kernel has no Landlock: files are not out of reach");
                return;
            }
            for denied in [
                std::fs::read(&secret).map(drop),
                std::fs::write(&component, "other"),
                std::fs::write(&secret, "other"),
                std::fs::read("/etc/passwd").map(drop),
                std::fs::read_dir("/").map(drop),
            ] {
                assert_eq!(denied.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
            }
        });
        confined.join().unwrap();
    }
}

//! What may a compiler touch? The component that it reads and the directory that it writes to: nothing else of the file system, and no
//! network. Linux' Landlock keeps it to that, where the kernel has it; older kernels have the limits of the process alone.
//! See <https://docs.kernel.org/userspace-api/landlock.html>.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus,
};

/// What the oldest kernel that knows of the network can be asked for.
const KNOWN: ABI = ABI::V4;

/// Why a thread was not confined.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unconfined {
    /// A path is not there.
    #[error(transparent)]
    Path(#[from] landlock::PathFdError),
    /// The kernel refuses.
    #[error(transparent)]
    Rules(#[from] RulesetError),
}

/// Confines this thread, and all that it starts from now on, for ever. Whether the kernel can.
pub(super) fn confine(component: &Path, directory: &Path) -> Result<bool, Unconfined> {
    let RestrictionStatus { ruleset, .. } = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(component)?, AccessFs::ReadFile))?
        .add_rule(PathBeneath::new(PathFd::new(directory)?, AccessFs::from_all(KNOWN)))?
        .restrict_self()?;
    Ok(ruleset != RulesetStatus::NotEnforced)
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
            if !confine(&component, &directory).unwrap() {
                eprintln!("this kernel has no Landlock: nothing is confined");
                return;
            }
            assert_eq!(std::fs::read(&component).unwrap(), b"bytes");
            std::fs::write(directory.join("code"), "code").unwrap();
            for denied in [
                std::fs::read(&secret).map(drop),
                std::fs::write(&component, "other"),
                std::fs::write(&secret, "other"),
                std::fs::read("/etc/passwd").map(drop),
                std::fs::read_dir("/").map(drop),
            ] {
                assert_eq!(denied.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
            }
            // Kernels before 6.7 do not keep anybody from the network.
            if let Err(error) = std::net::TcpStream::connect(address) {
                assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            }
        });
        confined.join().unwrap();
    }
}

//! What may a process that runs guests ask of its kernel? It reads compiled code, reaches what some module was granted, and has
//! the system calls that this takes. No other file, no peer, no program to start, no other process to signal or trace.
//!
//! Landlock (<https://docs.kernel.org/userspace-api/landlock.html>) and seccomp
//! (<https://docs.kernel.org/userspace-api/seccomp_filter.html>), each where the kernel has it.

use landlock::{
    ABI, Access, AccessFs, AccessNet, NetPort, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::super::syscalls;
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
    Ok(Walls { landlock, seccomp: syscalls::filter(networked)? })
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

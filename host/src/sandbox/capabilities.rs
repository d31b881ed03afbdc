//! What may a guest reach outside? Peers over TCP, servers over HTTP, a key-value store, directories, variables: what was granted,
//! and nothing beside it.
//!
//! All of it is WASI's own, and linked for every guest; without a grant it answers that access is denied. There are no names
//! to look up, no datagrams and no listening. The limits of a run hold while it waits for a peer or a file.

pub(super) mod http;
pub(super) mod keyvalue;
mod secrets;

use std::net::{IpAddr, SocketAddr};

use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::clocks;
use crate::attempt::{Capabilities, Directory};

/// Gives a guest what was granted.
pub(super) fn give(wasi: &mut WasiCtxBuilder, capabilities: &Capabilities) {
    if !capabilities.fine_clock {
        clocks::give_coarse(wasi);
    }
    // WASI's own default for these two differs from nothing.
    wasi.allow_udp(false).allow_tcp(!capabilities.tcp.is_empty());
    if !capabilities.tcp.is_empty() {
        let peers = capabilities.tcp.clone();
        wasi.socket_addr_check(move |address, to| {
            let allowed = may_use(&peers, address, to);
            Box::pin(async move { allowed })
        });
    }
    for Directory { host, guest, write } in &capabilities.directories {
        let permissions = if *write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        if let Err(error) = wasi.preopened_dir(host, guest, permissions) {
            // It was there when the daemon started. Without it the task fails by itself.
            tracing::error!(directory = %host.display(), %error, "a directory that was granted cannot be opened");
        }
    }
    for (name, value) in &capabilities.env {
        wasi.env(name, value);
    }
}

/// Whether an address may be used so. A connection needs a place of its own first, which is any that is free.
fn may_use(peers: &[SocketAddr], address: SocketAddr, to: SocketAddrUse) -> bool {
    match to {
        SocketAddrUse::TcpConnect => peers.iter().any(|peer| plain(*peer) == plain(address)),
        SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
        _ => false,
    }
}

/// An IPv4 address that is written as an IPv6 one is that IPv4 address.
fn plain(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use lovage_model::{Json, LogRecord};

    use super::*;
    use crate::attempt::{Answered, Ask, Progress};

    /// Whom nothing may be asked.
    pub(super) struct Unasked;

    impl Progress for Unasked {
        fn state(&self, _: &str, _: Json) {}
        fn wrote(&self, _: &'static str, _: &[u8]) {}
        fn logged(&self, _: &LogRecord) {}
        fn event(&self, _: &str, _: Json) {}
        fn ask(&self, ask: Ask) -> Answered {
            panic!("it is asked for {ask:?}")
        }
    }

    #[test]
    fn only_connections_to_peers_are_allowed() {
        let peers = ["127.0.0.1:6379".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()];
        let may = |address: &str, to| may_use(&peers, address.parse().unwrap(), to);
        for good in ["127.0.0.1:6379", "[::ffff:127.0.0.1]:6379", "[2001:db8::1]:80"] {
            assert!(may(good, SocketAddrUse::TcpConnect), "{good}");
        }
        for bad in ["127.0.0.1:6380", "127.0.0.2:6379", "0.0.0.0:6379", "[::1]:6379", "[2001:db8::1]:6379"] {
            assert!(!may(bad, SocketAddrUse::TcpConnect), "{bad}");
        }
        assert!(may("0.0.0.0:0", SocketAddrUse::TcpBind) && !may("0.0.0.0:6379", SocketAddrUse::TcpBind));
        use SocketAddrUse::{TcpAccept, TcpListen, UdpBind, UdpReceive, UdpSend};
        for to in [TcpListen, TcpAccept, UdpBind, UdpSend, UdpReceive] {
            assert!(!may("127.0.0.1:6379", to) && !may("0.0.0.0:0", to));
        }
    }
}

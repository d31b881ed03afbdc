//! Peers for tasks that may reach some.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

/// A peer that answers with what it is told.
pub fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut heard = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut heard) {
                // The guest may be gone.
                let _ = stream.write_all(&heard[..count]);
            }
        }
    });
    address
}

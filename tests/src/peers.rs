//! Peers for tasks that may reach some.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

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

/// A server that speaks HTTP. `/echo` answers with the request, `/to/PEER` with a redirect, `/large/N` with so many bytes,
/// `/short` with fewer than it promised, and everything else with nothing.
pub fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // The client may be gone.
            let _ = serve(&mut stream);
        }
    });
    address
}

fn serve(stream: &mut TcpStream) -> std::io::Result<()> {
    let (mut request, mut piece) = (String::new(), [0; 4096]);
    let whole = |request: &str| {
        let (head, body) = request.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        (body.len() >= length.unwrap_or(0)).then_some(())
    };
    while whole(&request).is_none() {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        request.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let answer = |head: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {head}\r\nx-told: by a server\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let text = if path.starts_with("/echo") {
        answer("200 OK", &request)
    } else if let Some(to) = path.strip_prefix("/to/") {
        answer(&format!("302 Found\r\nlocation: http://{to}/"), "")
    } else if let Some(bytes) = path.strip_prefix("/large/") {
        answer("200 OK", &"x".repeat(bytes.parse().unwrap_or_default()))
    } else if path == "/short" {
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_owned()
    } else {
        answer("200 OK", "")
    };
    stream.write_all(text.as_bytes())
}

/// A peer that takes connections and never says anything.
pub fn silence() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    address
}

/// An address where nobody listens.
pub fn dead_end() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

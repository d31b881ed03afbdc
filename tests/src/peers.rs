//! Peers for tasks that may reach some.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

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

/// The same server by TLS, for the name `localhost`, and the certificate that it has, as PEM.
pub fn tls_server() -> (SocketAddr, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let (listener, config) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(config));
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            // The client may be gone, or trust nobody.
            let _ = serve(&mut stream);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (address, own.cert.pem())
}

fn serve(stream: &mut (impl Read + Write)) -> std::io::Result<()> {
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

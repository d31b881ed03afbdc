//! The sandbox's door, when another process stands behind it: frames of JSON, each after its length.
//!
//! JSON, since arguments and results are JSON texts, which pass through as they are.

use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;

use lovage_model::{Digest, Json, LogRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::super::Refusal;
use super::super::engine::{Allocator, Flavour};
use super::super::engines::Described;
use crate::aside::aside;
use crate::attempt::{Answer, Ask, Attempt, Capabilities, Grants, Report, Stop};

/// Bytes of a length.
pub(super) const LENGTH: usize = 4;
/// The longest frame: what an attempt may send, with room. Who sends more is broken.
const MOST_BYTES: usize = 512 << 20;

/// What a buffer keeps once it has been emptied. A longer frame is read on a thread apart.
const KEPT_BYTES: usize = 1 << 20;

/// Which of the attempts, or questions, that pass the door.
pub(super) type Turn = u64;

/// To the process that runs guests.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Once, before all others.
    Begin(Begin),
    Load {
        digest: Digest,
        flavour: Flavour,
        artifact: PathBuf,
    },
    Unload {
        digest: Digest,
    },
    Run {
        turn: Turn,
        attempt: Box<Attempt>,
        grants: Grants,
    },
    Stop {
        turn: Turn,
        stop: Stop,
    },
    /// To what an attempt asked.
    Answer {
        turn: Turn,
        number: u64,
        answer: Answer,
    },
    Describe {
        turn: Turn,
        digest: Digest,
        grants: Grants,
    },
}

/// What a process may have.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Begin {
    /// Attempts at once.
    pub(super) places: u32,
    /// The most memory of one.
    pub(super) memory_bytes: usize,
    /// Threads that guests run on.
    pub(super) threads: usize,
    /// Where artifacts are.
    pub(super) artifacts: PathBuf,
    /// All that any module was granted.
    pub(super) granted: Vec<Capabilities>,
}

/// From the process that runs guests.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// Once, before all others.
    Ready {
        allocator: Allocator,
        walls: Walls,
    },
    Loaded {
        digest: Digest,
        flavour: Flavour,
        refusal: Option<Refusal>,
    },
    State {
        turn: Turn,
        state: String,
        meta: Json,
    },
    Wrote {
        turn: Turn,
        stderr: bool,
        text: String,
    },
    Logged {
        turn: Turn,
        record: LogRecord,
    },
    Event {
        turn: Turn,
        name: String,
        fields: Json,
    },
    /// An attempt asks for something; the number is its own.
    Ask {
        turn: Turn,
        number: u64,
        ask: Ask,
    },
    /// It does not want it any more.
    Unask {
        turn: Turn,
        number: u64,
    },
    Ended {
        turn: Turn,
        report: Box<Report>,
    },
    Described {
        turn: Turn,
        described: std::result::Result<Described, Refusal>,
    },
}

/// What the kernel holds a process to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Walls {
    /// Landlock: the files and peers that it may reach.
    pub(super) landlock: bool,
    /// seccomp: the system calls that it may make.
    pub(super) seccomp: bool,
}

/// Writes a frame at the end of a buffer.
pub(super) fn write<T: Serialize>(buffer: &mut Vec<u8>, word: &T) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; LENGTH]);
    serde_json::to_writer(&mut *buffer, word).expect("what passes the door is JSON");
    let length = u32::try_from(buffer.len() - start - LENGTH).expect("less than 4 GiB");
    buffer[start..start + LENGTH].copy_from_slice(&length.to_le_bytes());
}

/// Reads the next frame by way of a buffer. It is refused if it is longer than the longest may be once it begins.
pub(super) async fn next<T: DeserializeOwned + Send + 'static>(
    from: &mut (impl AsyncRead + Unpin),
    frame: &mut Vec<u8>,
    longest: impl FnOnce() -> usize,
) -> Result<T> {
    let mut head = [0; LENGTH];
    from.read_exact(&mut head).await?;
    frame.clear();
    frame.shrink_to(KEPT_BYTES);
    let length = length(head)?;
    if length > longest() {
        return Err(broken(format!("a frame of {length} bytes, longer than any that is due")));
    }
    // Not taken before it is there: a length is only a promise.
    let read = from.take(length as u64).read_to_end(frame).await?;
    if read < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if length > KEPT_BYTES {
        // The other processes, and what waits for the time, are on this thread as well.
        let frame = std::mem::take(frame);
        return aside(move || self::read(&frame)).await;
    }
    self::read(frame)
}

/// How long the frame is that follows.
pub(super) fn length(bytes: [u8; LENGTH]) -> Result<usize> {
    let length = u32::from_le_bytes(bytes) as usize;
    if length <= MOST_BYTES { Ok(length) } else { Err(broken(format!("a frame of {length} bytes"))) }
}

/// Reads the frame.
pub(super) fn read<T: DeserializeOwned>(frame: &[u8]) -> Result<T> {
    serde_json::from_slice(frame).map_err(|error| broken(error.to_string()))
}

/// Why a process is not listened to any more.
pub(super) fn broken(why: String) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use serde::Deserializer;

    use super::*;
    use crate::attempt::{Effects, Outcome};

    /// A text, and who has read it.
    struct Text {
        bytes: usize,
        reader: ThreadId,
    }

    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
            let bytes = String::deserialize(from)?.len();
            Ok(Self { bytes, reader: thread::current().id() })
        }
    }

    #[tokio::test]
    async fn a_long_frame_is_read_on_a_thread_apart_and_in_its_turn() {
        let (mut buffer, mut frame, sizes) = (Vec::new(), Vec::new(), [10, 2 * KEPT_BYTES, 20]);
        for bytes in sizes {
            write(&mut buffer, &"x".repeat(bytes));
        }
        let (mut from, here) = (buffer.as_slice(), thread::current().id());
        for bytes in sizes {
            let text: Text = next(&mut from, &mut frame, || MOST_BYTES).await.unwrap();
            assert_eq!((text.bytes, text.reader == here), (bytes, bytes <= KEPT_BYTES));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let report = Report {
            outcome: Outcome::Returned(
                Json::parse("[1e400,12345678901234567890123, {\"b\":1,\"a\":1.0}]".to_owned()).unwrap(),
            ),
            effects: Effects::default(),
            ..Report::stopped(Stop::Interrupted)
        };
        let mut buffer = b"before".to_vec();
        write(&mut buffer, &Word::Ended { turn: 7, report: Box::new(report.clone()) });
        let (head, frame) = buffer[6..].split_at(LENGTH);
        assert_eq!(length(head.try_into().unwrap()).unwrap(), frame.len());
        let Word::Ended { turn: 7, report: read } = read(frame).unwrap() else { panic!("another word") };
        assert_eq!(*read, report);
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(length([0xff; LENGTH]).is_err());
        for frame in [&b""[..], b"{", b"{\"Ended\":{}}", b"{\"Other\":1}", b"\xff"] {
            assert!(read::<Word>(frame).is_err());
        }
    }
}

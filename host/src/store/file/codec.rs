//! How is a message written in its row? As JSON, or as its options ask for it: as MessagePack, compressed, or both.
//!
//! The first byte tells: `{` begins JSON as it is. Else it is a tag of [`Form`]; four bytes with the length of the JSON
//! follow, then what was made of it.
//!
//! Invariants:
//! - What was written is read as the same values, with integers of any size, floats as they were spelled and keys in their
//!   order; only blanks between them may go.
//! - Nothing is unpacked beyond the length that is written before it.

mod msgpack;

use std::borrow::Cow;
use std::io::{self, Read, Write};

use flate2::{read::GzDecoder, write::GzEncoder};
use lovage_model::{Compression, Json, Message, Serializer};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The longest text that is unpacked: more than the longest message that is taken.
const MAX_LEN: usize = 2 << 30;

/// The tag and the length.
const HEAD: usize = 5;

/// What stands in a row cannot be read as a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Packed(#[from] io::Error),
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    serializer: Serializer,
    compression: Option<Compression>,
}

impl Form {
    /// What a message's options ask for. (Options that cannot be read ask for nothing.)
    fn of(message: &Message) -> Self {
        let option = |name: &str| message.overrides.get(name);
        Self {
            serializer: option("serializer").and_then(|it| Json::read(it).ok()).unwrap_or_default(),
            compression: option("compression").and_then(|it| Json::read(it).ok()).flatten(),
        }
    }

    /// Zero is JSON as it is, which needs no tag.
    fn tag(self) -> u8 {
        let compression = match self.compression {
            None => 0,
            Some(Compression::Gzip) => 1,
            Some(Compression::Zstd) => 2,
        };
        u8::from(self.serializer == Serializer::Msgpack) | compression << 1
    }

    fn of_tag(tag: u8) -> Option<Self> {
        let serializer = if tag & 1 == 1 { Serializer::Msgpack } else { Serializer::Json };
        let compression = match tag >> 1 {
            0 => None,
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Zstd),
            _ => return None,
        };
        Some(Self { serializer, compression }).filter(|form| form.tag() != 0)
    }
}

/// Writes a message. One that does not get shorter is written as JSON. Fails only for one that JSON cannot hold.
pub(super) fn encode(message: &Message) -> serde_json::Result<Vec<u8>> {
    let (text, form) = (serde_json::to_vec(message)?, Form::of(message));
    if form.tag() == 0 {
        return Ok(text);
    }
    let packed = u32::try_from(text.len()).ok().and_then(|len| pack(&text, len, form));
    Ok(packed.filter(|packed| packed.len() < text.len()).unwrap_or(text))
}

fn pack(text: &[u8], len: u32, form: Form) -> Option<Vec<u8>> {
    let serialized = match form.serializer {
        Serializer::Json => Cow::Borrowed(text),
        Serializer::Msgpack => Cow::Owned(msgpack::of_json(text)?),
    };
    let mut packed = vec![form.tag()];
    packed.extend(len.to_le_bytes());
    match form.compression {
        None => packed.extend_from_slice(&serialized),
        Some(Compression::Zstd) => packed.extend(compress_to_vec(&*serialized, CompressionLevel::Fastest)),
        Some(Compression::Gzip) => {
            let mut gzip = GzEncoder::new(&mut packed, flate2::Compression::default());
            gzip.write_all(&serialized).and_then(|()| gzip.try_finish()).ok()?;
        }
    }
    Some(packed)
}

/// Reads a message.
pub(super) fn decode(body: &[u8]) -> Result<Message, Unreadable> {
    if body.first().is_none_or(|&first| first == b'{') {
        return Ok(serde_json::from_slice(body)?);
    }
    Ok(serde_json::from_slice(&unpack(body)?)?)
}

/// How long the text of a message is: so much is needed to read it.
pub(super) fn decoded_len(body: &[u8]) -> usize {
    head(body).map_or(body.len(), |(_, len, _)| len)
}

fn head(body: &[u8]) -> Option<(Form, usize, &[u8])> {
    let (&[tag, a, b, c, d], packed) = body.split_first_chunk::<HEAD>()?;
    let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    Form::of_tag(tag).map(|form| (form, len, packed))
}

fn unpack(body: &[u8]) -> io::Result<Vec<u8>> {
    let (form, len, packed) = head(body).ok_or_else(|| broken("it has neither JSON nor a known tag"))?;
    if len > MAX_LEN {
        return Err(broken("it is longer than any message"));
    }
    let most = if form.serializer == Serializer::Msgpack { msgpack::longest(len) } else { len };
    let serialized = match form.compression {
        None => Cow::Borrowed(packed),
        Some(Compression::Gzip) => Cow::Owned(read_up_to(GzDecoder::new(packed), most)?),
        Some(Compression::Zstd) => {
            Cow::Owned(read_up_to(StreamingDecoder::new(packed).map_err(io::Error::other)?, most)?)
        }
    };
    match form.serializer {
        Serializer::Json => Ok(serialized.into_owned()),
        Serializer::Msgpack => msgpack::to_json(&serialized, len).ok_or_else(|| broken("it is no MessagePack")),
    }
}

/// Reads everything, if that is not more than so many bytes.
fn read_up_to(packed: impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    packed.take(most as u64 + 1).read_to_end(&mut whole)?;
    if whole.len() > most { Err(broken("it is longer than it says")) } else { Ok(whole) }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;

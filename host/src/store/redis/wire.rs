//! How are values told to scripts, and their answers read? As MessagePack, which Lua in Redis reads and writes itself.

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Visitor};

/// Bytes of an answer, which need not be text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
            fn visit_str<E>(self, text: &str) -> Result<Blob, E> {
                Ok(Blob(text.as_bytes().to_vec()))
            }
            fn visit_string<E>(self, text: String) -> Result<Blob, E> {
                Ok(Blob(text.into_bytes()))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// The arguments of a script.
pub(super) fn pack<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    rmp_serde::to_vec_named(value)
}

/// The answer of a script.
pub(super) fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    rmp_serde::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_need_not_be_text() {
        assert_eq!(unpack::<Blob>(&pack("text").unwrap()).unwrap(), Blob(b"text".to_vec()));
        // As Lua packs a text that is none.
        assert_eq!(unpack::<Blob>(b"\xa1\xff").unwrap(), Blob(b"\xff".to_vec()));
    }
}

//! Digests of texts and bytes, in hexadecimal.
#![deny(missing_docs)]

mod algorithm;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_guest::prelude::*;

pub use algorithm::Algorithm;

/// How bytes are written in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As text: its bytes in UTF-8.
    #[default]
    Text,
    /// In base64, padded.
    Base64,
}

impl Encoding {
    fn read(self, data: String) -> TaskResult<Vec<u8>> {
        match self {
            Self::Text => Ok(data.into_bytes()),
            Self::Base64 => STANDARD
                .decode(data)
                .map_err(|error| TaskError::builtin("ValueError", format!("data is not base64: {error}"))),
        }
    }
}

/// The SHA-256 of `data`, which is a text, or bytes if `encoding` is `base64`.
#[task]
pub fn sha256(data: String, #[default] encoding: Encoding) -> TaskResult<String> {
    Ok(Algorithm::Sha256.hex(&encoding.read(data)?))
}

/// The digests of `data` by each of `algorithms`; without those, by all there are.
#[task]
pub fn hex(
    data: String,
    #[default(Algorithm::ALL.to_vec())] algorithms: Vec<Algorithm>,
    #[default] encoding: Encoding,
) -> TaskResult<BTreeMap<Algorithm, String>> {
    let data = encoding.read(data)?;
    Ok(algorithms.into_iter().map(|algorithm| (algorithm, algorithm.hex(&data))).collect())
}

export_tasks!(sha256, hex);

#[cfg(test)]
mod tests {
    use lovage_guest::testing::FakeHost;

    use super::*;

    const ABC_SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_text_and_its_bytes_have_one_digest() {
        let host = FakeHost::new();
        assert_eq!(host.run::<sha256>(("abc",)).value::<String>(), ABC_SHA256);
        assert_eq!(host.call::<sha256>(("YWJj",), json!({"encoding": "base64"})).value::<String>(), ABC_SHA256);
    }

    #[test]
    fn known_digests() {
        // As Python's hashlib gives them.
        let known = json!({
            "md5": "900150983cd24fb0d6963f7d28e17f72",
            "sha256": ABC_SHA256,
            "sha512": "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            "blake2b": "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
            "blake2s": "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982",
        });
        let host = FakeHost::new();
        assert_eq!(host.run::<hex>(("abc",)).value::<serde_json::Value>(), known);
        let some: serde_json::Value = host.run::<hex>(("abc", ["md5"])).value();
        assert_eq!(some, json!({"md5": known["md5"]}));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let host = FakeHost::new();
        let bad = host.run::<sha256>(("a?", "base64"));
        assert!(bad.exception().to_string().starts_with("ValueError: data is not base64"), "{bad:?}");
        let unknown = host.run::<hex>(("abc", ["crc32"])).exception().message();
        assert!(unknown.contains("argument 'algorithms': unknown variant `crc32`"), "{unknown}");
    }
}

//! Which digests are there?

use blake2::{Blake2b512, Blake2s256};
use lovage_guest::prelude::*;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

/// A digest algorithm, by the name that Python's `hashlib` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// MD5: for comparing with old lists, not against forgery.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
    /// BLAKE2b of 512 bits.
    Blake2b,
    /// BLAKE2s of 256 bits.
    Blake2s,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Md5, Self::Sha256, Self::Sha512, Self::Blake2b, Self::Blake2s];

    /// The digest of some bytes, in lower-case hexadecimal.
    pub fn hex(self, data: &[u8]) -> String {
        match self {
            Self::Md5 => spell(&Md5::digest(data)),
            Self::Sha256 => spell(&Sha256::digest(data)),
            Self::Sha512 => spell(&Sha512::digest(data)),
            Self::Blake2b => spell(&Blake2b512::digest(data)),
            Self::Blake2s => spell(&Blake2s256::digest(data)),
        }
    }
}

fn spell(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! What was compressed, unpacked: by the names that kombu has for the ways of it, and no further than a limit.
//! See <https://docs.celeryq.dev/projects/kombu/en/stable/userguide/serialization.html>.

use std::io::{self, Read, Write};

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::ZlibEncoder;
use lovage_model::Compression;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The most memory in KiB that unpacking needs beside its result: as much as the highest level of `xz` needs.
const MAX_MEMORY_KIB: u32 = 96 << 10;

/// What cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Packed {
    #[error("compression {0:?} is none of application/x-gzip, application/x-bz2, application/x-lzma, application/zstd")]
    Unknown(String),
    #[error("it is no {0}: {1}")]
    Broken(&'static str, io::Error),
    #[error("unpacked it is larger than {0} bytes")]
    TooLarge(usize),
}

/// Unpacks what was compressed in a way, if it comes to at most so many bytes.
pub(super) fn unpack(way: &str, packed: &[u8], most: usize) -> Result<Vec<u8>, Packed> {
    match way {
        // What kombu calls gzip has the frame of zlib. Other clients write what everybody calls gzip.
        "application/x-gzip" | "gzip" | "zlib" => match packed {
            [0x1f, 0x8b, ..] => up_to("gzip", MultiGzDecoder::new(packed), most),
            _ => up_to("zlib", ZlibDecoder::new(packed), most),
        },
        "application/x-bz2" | "bzip2" | "bzip" => up_to("bzip2", bzip2::read::MultiBzDecoder::new(packed), most),
        "application/x-lzma" | "lzma" | "xz" => {
            up_to("xz", lzma_rust2::XzReader::new_mem_limit(packed, true, MAX_MEMORY_KIB), most)
        }
        "application/zstd" | "zstd" | "zstandard" => {
            let frame =
                StreamingDecoder::new(packed).map_err(|error| Packed::Broken("zstd", io::Error::other(error)))?;
            up_to("zstd", frame, most)
        }
        unknown => Err(Packed::Unknown(unknown.chars().take(80).collect())),
    }
}

/// Compresses, as kombu would, and says in which way.
pub(super) fn pack(way: Compression, bytes: &[u8]) -> io::Result<(&'static str, Vec<u8>)> {
    match way {
        Compression::Gzip => {
            let mut packer = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            packer.write_all(bytes)?;
            Ok(("application/x-gzip", packer.finish()?))
        }
        Compression::Zstd => Ok(("application/zstd", compress_to_vec(bytes, CompressionLevel::Fastest))),
    }
}

fn up_to(name: &'static str, packed: impl Read, most: usize) -> Result<Vec<u8>, Packed> {
    let mut whole = Vec::new();
    packed.take(most as u64 + 1).read_to_end(&mut whole).map_err(|error| Packed::Broken(name, error))?;
    if whole.len() > most { Err(Packed::TooLarge(most)) } else { Ok(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        pack(Compression::Gzip, bytes).unwrap().1
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = zlib(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000, "{}", bomb.len());
        assert!(matches!(unpack("gzip", &bomb, 1 << 20), Err(Packed::TooLarge(_))));
        assert_eq!(unpack("gzip", &bomb, 10 << 20).unwrap().len(), 10 << 20);
    }

    #[test]
    fn gzip_is_what_kombu_and_others_call_so() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"[]").unwrap();
        for packed in [packer.finish().unwrap(), zlib(b"[]")] {
            assert_eq!(unpack("application/x-gzip", &packed, 2).unwrap(), b"[]");
        }
        assert!(unpack("application/x-own", b"", 9).unwrap_err().to_string().contains("application/x-own"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_packed_is_unpacked(bytes in proptest::collection::vec(0..4_u8, 0..2000)) {
            for way in [Compression::Gzip, Compression::Zstd] {
                let (name, packed) = pack(way, &bytes).unwrap();
                assert_eq!(unpack(name, &packed, 2000).unwrap(), bytes);
            }
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            for (way, magic) in [
                ("gzip", &b"\x1f\x8b\x08"[..]), ("zlib", b"\x78\x9c"), ("bzip2", b"BZh9"), ("xz", b"\xfd7zXZ\0"),
                ("zstd", b"\x28\xb5\x2f\xfd"), ("none", b""),
            ] {
                let _ = unpack(way, &bytes, 1000);
                let _ = unpack(way, &[magic, &bytes].concat(), 1000);
            }
        }
    }
}

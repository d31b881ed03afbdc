//! MessagePack, as kombu writes it, as JSON, as kombu writes that: bytes are tagged there.
//! See <https://github.com/msgpack/msgpack/blob/master/spec.md>.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lovage_model::{Json, python};
use rmp::{Marker, decode};

/// The JSON of one value, in at most so many bytes; the error says what there is that JSON has not.
pub(super) fn to_json(mut packed: &[u8], most: usize) -> Result<String, String> {
    let mut out = Vec::with_capacity(packed.len());
    Reader { out: &mut out, most }.value(&mut packed, Json::MAX_DEPTH + 1)?;
    if !packed.is_empty() {
        return Err("there is more than one value".to_owned());
    }
    String::from_utf8(out).map_err(|error| error.to_string())
}

struct Reader<'a> {
    out: &'a mut Vec<u8>,
    most: usize,
}

/// What is there is not what its marker says, or ends too early.
fn cut<E>(_: E) -> String {
    "it ends too early".to_owned()
}

impl Reader<'_> {
    fn value(&mut self, packed: &mut &[u8], depth: usize) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or_else(|| format!("it is nested deeper than {}", Json::MAX_DEPTH))?;
        let marker = Marker::from_u8(*packed.first().ok_or_else(|| cut(()))?);
        match marker {
            Marker::Null => decode::read_nil(packed).map(|()| self.out.extend(b"null")).map_err(cut)?,
            Marker::True | Marker::False => {
                let word = decode::read_bool(packed).map_err(cut)?;
                self.out.extend(word.to_string().bytes());
            }
            Marker::F32 => self.float(decode::read_f32(packed).map_err(cut)?.into()),
            Marker::F64 => self.float(decode::read_f64(packed).map_err(cut)?),
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => self.text(packed)?,
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                let len = decode::read_bin_len(packed).map_err(cut)?;
                self.bytes(take(packed, len)?)?;
            }
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                let items = decode::read_array_len(packed).map_err(cut)?;
                self.out.push(b'[');
                for item in 0..items {
                    self.comma(item);
                    self.value(packed, depth)?;
                }
                self.out.push(b']');
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => self.map(packed, depth)?,
            marker if is_ext(marker) => {
                let meta = decode::read_ext_meta(packed).map_err(cut)?;
                return Err(format!("an extension of type {} has no JSON", meta.typeid));
            }
            Marker::Reserved => return Err("0xc1 begins no value".to_owned()),
            _ => {
                let number = decode::read_int::<i128, _>(packed).map_err(cut)?;
                self.out.extend(number.to_string().bytes());
            }
        }
        if self.out.len() <= self.most { Ok(()) } else { Err(format!("as JSON it is larger than {} bytes", self.most)) }
    }

    fn map(&mut self, packed: &mut &[u8], depth: usize) -> Result<(), String> {
        let items = decode::read_map_len(packed).map_err(cut)?;
        self.out.push(b'{');
        for item in 0..items {
            self.comma(item);
            match packed.first().map(|&byte| Marker::from_u8(byte)) {
                Some(Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32) => self.text(packed)?,
                Some(_) => return Err("a key is no text".to_owned()),
                None => return Err(cut(())),
            }
            self.out.extend(b": ");
            self.value(packed, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn comma(&mut self, item: u32) {
        if item > 0 {
            self.out.extend(b", ");
        }
    }

    /// As Python's JSON has it, `NaN` and all.
    fn float(&mut self, number: f64) {
        let text = if number.is_nan() {
            "NaN".to_owned()
        } else if number.is_infinite() {
            if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        } else {
            python::float(number)
        };
        self.out.extend(text.bytes());
    }

    fn text(&mut self, packed: &mut &[u8]) -> Result<(), String> {
        let len = decode::read_str_len(packed).map_err(cut)?;
        let text = std::str::from_utf8(take(packed, len)?).map_err(|error| error.to_string())?;
        serde_json::to_writer(&mut *self.out, text).map_err(|error| error.to_string())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (tag, value) = match std::str::from_utf8(bytes) {
            Ok(text) => ("bytes", serde_json::to_string(text).map_err(|error| error.to_string())?),
            Err(_) => ("base64", format!("\"{}\"", STANDARD.encode(bytes))),
        };
        self.out.extend(format!(r#"{{"__type__": "{tag}", "__value__": {value}}}"#).bytes());
        Ok(())
    }
}

fn take<'a>(packed: &mut &'a [u8], len: u32) -> Result<&'a [u8], String> {
    packed.split_off(..usize::try_from(len).map_err(cut)?).ok_or_else(|| cut(()))
}

fn is_ext(marker: Marker) -> bool {
    use Marker::{Ext8, Ext16, Ext32, FixExt1, FixExt2, FixExt4, FixExt8, FixExt16};
    matches!(marker, FixExt1 | FixExt2 | FixExt4 | FixExt8 | FixExt16 | Ext8 | Ext16 | Ext32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_kombus_json() {
        for (packed, json) in [
            (&b"\x93\x01\xff\xcf\xff\xff\xff\xff\xff\xff\xff\xff"[..], "[1, -1, 18446744073709551615]"),
            (b"\x82\xa1k\xc3\xa1l\xc0", r#"{"k": true, "l": null}"#),
            (b"\x92\xcb\x3f\xf0\0\0\0\0\0\0\xcb\x7f\xf8\0\0\0\0\0\0", "[1.0, NaN]"),
            (
                b"\x92\xc4\x01a\xc4\x01\xff",
                r#"[{"__type__": "bytes", "__value__": "a"}, {"__type__": "base64", "__value__": "/w=="}]"#,
            ),
            (b"\xa3a\"\n", r#""a\"\n""#),
        ] {
            assert_eq!(to_json(packed, 1000).as_deref(), Ok(json));
        }
    }

    #[test]
    fn what_json_has_not_is_named() {
        for (packed, why) in [
            (&b"\x81\x01\x02"[..], "a key is no text"),
            (b"\xd4\x05x", "an extension of type 5"),
            (b"\xdd\xff\xff\xff\xff\x01", "ends too early"),
            (b"\x01\x02", "more than one value"),
            (b"\xa1\xff", "utf-8"),
            (b"\xdd\x00\x0f\xff\xff", "ends too early"),
            (&[0x91; 1000], "nested deeper"),
        ] {
            let error = to_json(packed, 1000).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(to_json(&[b"\xdc\x03\xe8".to_vec(), vec![1; 1000]].concat(), 1000).unwrap_err().contains("larger"));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_an_answer(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(json) = to_json(&bytes, 1000) {
                Json::parse(super::super::json::finite(&json).0.into_owned()).unwrap();
            }
        }
    }
}

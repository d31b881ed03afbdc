//! JSON as MessagePack, and back, so that nothing is lost but blanks.
//!
//! What MessagePack cannot hold as it is spelled (integers of more than 64 bits, `1.10`, halves of surrogate pairs) is kept
//! as the text it came in: an extension of type [`VERBATIM`]. See <https://github.com/msgpack/msgpack/blob/master/spec.md>.

use rmp::{Marker, decode, encode};

/// The extension that holds one JSON value as text.
const VERBATIM: i8 = 1;

/// Deeper nesting is nothing that was written here.
const MAX_DEPTH: usize = 512;

/// The most bytes that JSON of so many can become.
pub(super) fn longest(json: usize) -> usize {
    // The worst are one-digit floats: `1.0` becomes nine bytes, and `1,` one.
    json.saturating_mul(3).saturating_add(64)
}

/// The MessagePack of a valid JSON text; none for one that is not, or is longer than four gigabytes.
pub(super) fn of_json(text: &[u8]) -> Option<Vec<u8>> {
    let mut packer = Packer { text: std::str::from_utf8(text).ok()?, at: 0, out: Vec::with_capacity(text.len()) };
    packer.value()?;
    Some(packer.out)
}

/// The JSON that was made into this, if it is not longer than `len` bytes.
pub(super) fn to_json(mut packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    write_value(&mut packed, &mut out, len, MAX_DEPTH)?;
    packed.is_empty().then_some(out)
}

struct Packer<'a> {
    text: &'a str,
    at: usize,
    out: Vec<u8>,
}

impl Packer<'_> {
    fn value(&mut self) -> Option<()> {
        match self.peek()? {
            b'{' => self.container(b'}', true),
            b'[' => self.container(b']', false),
            b'"' => self.string(),
            b'n' => self.word(4, encode::write_nil),
            b't' => self.word(4, |out| encode::write_bool(out, true)),
            b'f' => self.word(5, |out| encode::write_bool(out, false)),
            _ => self.number(),
        }
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.at += blanks;
        rest.get(blanks).copied()
    }

    fn word(&mut self, len: usize, write: impl Fn(&mut Vec<u8>) -> std::io::Result<()>) -> Option<()> {
        self.at += len;
        write(&mut self.out).ok()
    }

    /// How many items there are is known at their end only, so their number is put before them then.
    fn container(&mut self, end: u8, of_pairs: bool) -> Option<()> {
        let start = self.out.len();
        let mut items = 0;
        self.at += 1;
        while self.peek()? != end {
            if of_pairs {
                self.string()?;
                self.peek()?;
                self.at += 1;
            }
            self.value()?;
            items += 1;
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        let mut head = Vec::with_capacity(5);
        let written =
            if of_pairs { encode::write_map_len(&mut head, items) } else { encode::write_array_len(&mut head, items) };
        written.ok()?;
        self.out.splice(start..start, head);
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.peek()?;
        let rest = &self.text[self.at..];
        let mut escaped = true;
        let inner = rest.bytes().take_while(|&byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            !ends
        });
        // The first quote counts as escaped, so that it does not end what it begins.
        let spelled = rest.get(..inner.count() + 1)?;
        self.at += spelled.len();
        match serde_json::from_str::<String>(spelled) {
            Ok(string) => encode::write_str(&mut self.out, &string).ok(),
            Err(_) => self.verbatim(spelled),
        }
    }

    fn number(&mut self) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
        let spelled = self.text.get(self.at..self.at + len).filter(|spelled| !spelled.is_empty())?;
        self.at += len;
        let same = |number: &dyn std::fmt::Display| number.to_string() == spelled;
        match (spelled.parse::<u64>(), spelled.parse::<i64>(), spelled.parse::<f64>()) {
            (Ok(number), ..) if same(&number) => encode::write_uint(&mut self.out, number).ok().map(drop),
            (_, Ok(number), _) if same(&number) => encode::write_sint(&mut self.out, number).ok().map(drop),
            (.., Ok(number)) if spell(number).is_some_and(|text| text == spelled) => {
                encode::write_f64(&mut self.out, number).ok()
            }
            _ => self.verbatim(spelled),
        }
    }

    fn verbatim(&mut self, spelled: &str) -> Option<()> {
        encode::write_ext_meta(&mut self.out, u32::try_from(spelled.len()).ok()?, VERBATIM).ok()?;
        self.out.extend_from_slice(spelled.as_bytes());
        Some(())
    }
}

/// A float as JSON spells it.
fn spell(number: f64) -> Option<String> {
    serde_json::Number::from_f64(number).map(|number| number.to_string())
}

fn write_value(packed: &mut &[u8], out: &mut Vec<u8>, len: usize, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let marker = Marker::from_u8(*packed.first()?);
    match marker {
        Marker::Null => decode::read_nil(packed).ok().map(|()| out.extend(b"null"))?,
        Marker::True | Marker::False => out.extend(decode::read_bool(packed).ok()?.to_string().bytes()),
        Marker::F64 => out.extend(spell(decode::read_f64(packed).ok()?)?.bytes()),
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => write_string(packed, out)?,
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            out.push(b'[');
            for item in 0..decode::read_array_len(packed).ok()? {
                out.extend((item > 0).then_some(b','));
                write_value(packed, out, len, depth)?;
            }
            out.push(b']');
        }
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            out.push(b'{');
            for item in 0..decode::read_map_len(packed).ok()? {
                out.extend((item > 0).then_some(b','));
                write_value(packed, out, len, depth)?;
                out.push(b':');
                write_value(packed, out, len, depth)?;
            }
            out.push(b'}');
        }
        _ if is_ext(marker) => {
            let meta = decode::read_ext_meta(packed).ok().filter(|meta| meta.typeid == VERBATIM)?;
            out.extend_from_slice(packed.split_off(..usize::try_from(meta.size).ok()?)?);
        }
        _ => out.extend(decode::read_int::<i128, _>(packed).ok()?.to_string().bytes()),
    }
    (out.len() <= len).then_some(())
}

fn is_ext(marker: Marker) -> bool {
    use Marker::{Ext8, Ext16, Ext32, FixExt1, FixExt2, FixExt4, FixExt8, FixExt16};
    matches!(marker, FixExt1 | FixExt2 | FixExt4 | FixExt8 | FixExt16 | Ext8 | Ext16 | Ext32)
}

fn write_string(packed: &mut &[u8], out: &mut Vec<u8>) -> Option<()> {
    let len = usize::try_from(decode::read_str_len(packed).ok()?).ok()?;
    let string = std::str::from_utf8(packed.split_off(..len)?).ok()?;
    serde_json::to_writer(out, string).ok()
}

//! The body of an envelope, as JSON: out of its encoding, its compression and its content type.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use lovage_model::Exception;
use serde::Deserialize;

use super::compression;
use super::envelope::Element;
use super::json;
use super::msgpack;
use super::poison;

/// As others than Python may leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads a body that comes to at most so many bytes of JSON. Numbers that JSON has not are carried in it, see [`json::carried`].
pub(super) fn body(element: &Element<'_>, most: usize) -> Result<String, Exception> {
    let content_type: String =
        element.content_type.and_then(|it| serde_json::from_str(it.get()).ok()).unwrap_or_default();
    let is_msgpack = match content_type.as_str() {
        "application/json" => false,
        "application/x-msgpack" => true,
        "" => return Err(poison::disallowed("application/data")),
        _ => return Err(poison::disallowed(&content_type)),
    };
    let bytes = bytes(element, most)?;
    if bytes.len() > most {
        return Err(poison::undecodable(format_args!(
            "the body has {} bytes, at most {most} are accepted",
            bytes.len()
        )));
    }
    let text = if is_msgpack {
        msgpack::to_json(&bytes, most)
            .map_err(|why| poison::undecodable(format_args!("the body's MessagePack: {why}")))?
    } else {
        String::from_utf8(bytes).map_err(|error| poison::undecodable(format_args!("the body: {error}")))?
    };
    let carried = match json::carried(&text) {
        Cow::Owned(carried) => Some(carried),
        Cow::Borrowed(_) => None,
    };
    Ok(carried.unwrap_or(text))
}

/// A text, without a copy if nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn bytes(element: &Element<'_>, most: usize) -> Result<Vec<u8>, Exception> {
    let body = element.body.ok_or_else(|| poison::undecodable("there is no body"))?;
    let Text(written) = serde_json::from_str(body.get()).map_err(|_| poison::undecodable("the body is no text"))?;
    let bytes = match element.property("body_encoding").as_str() {
        "base64" => BASE64
            .decode(written.as_bytes())
            .map_err(|why| poison::undecodable(format_args!("the body's base64: {why}")))?,
        _ => written.into_owned().into_bytes(),
    };
    match element.headers.read::<String>("compression") {
        Some(way) => compression::unpack(&way, &bytes, most)
            .map_err(|why| poison::undecodable(format_args!("the body cannot be unpacked: {why}"))),
        None => Ok(bytes),
    }
}

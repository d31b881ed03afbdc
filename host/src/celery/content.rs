//! The body of an envelope, as JSON: out of its encoding, its compression and its content type.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use lovage_model::Exception;

use super::compression;
use super::envelope::Element;
use super::json;
use super::msgpack;
use super::poison;

/// A body, as a text of JSON.
pub(super) struct Body {
    pub(super) text: String,
    /// The first number in it that is not finite, as Python shows it; `null` stands in its place.
    pub(super) not_finite: Option<&'static str>,
}

/// As others than Python may leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Reads a body that comes to at most so many bytes of JSON.
pub(super) fn body(element: &Element, most: usize) -> Result<Body, Exception> {
    let content_type: String = element.content_type.as_ref().and_then(|it| it.read().ok()).unwrap_or_default();
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
    let (finite, not_finite) = json::finite(&text, "null");
    Ok(Body { text: finite.into_owned(), not_finite })
}

fn bytes(element: &Element, most: usize) -> Result<Vec<u8>, Exception> {
    let written: String = element
        .body
        .as_ref()
        .ok_or_else(|| poison::undecodable("there is no body"))?
        .read()
        .map_err(|_| poison::undecodable("the body is no text"))?;
    let bytes = match element.property("body_encoding").as_str() {
        "base64" => {
            BASE64.decode(&written).map_err(|why| poison::undecodable(format_args!("the body's base64: {why}")))?
        }
        _ => written.into_bytes(),
    };
    match element.headers().read::<String>("compression") {
        Some(way) => compression::unpack(&way, &bytes, most)
            .map_err(|why| poison::undecodable(format_args!("the body cannot be unpacked: {why}"))),
        None => Ok(bytes),
    }
}

//! Makes small pictures of large ones.
#![deny(missing_docs)]

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::imageops::FilterType;
use image::{DynamicImage, ImageError, ImageFormat, ImageReader};
use lovage_guest::prelude::*;

/// The longest side of a thumbnail, in pixels.
const MOST_PIXELS: u32 = 4096;

/// A picture, in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thumbnail {
    /// A PNG in base64.
    pub image: String,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Width of the original.
    pub original_width: u32,
    /// Height of the original.
    pub original_height: u32,
}

/// Shrinks a picture (PNG or JPEG in base64) until it fits into `width` by `height` pixels. Its proportions stay, and a
/// picture that fits already keeps its size. What is not such a picture is a ValueError.
#[task]
pub fn resize(image: String, width: u32, height: u32) -> TaskResult<Thumbnail> {
    for (name, pixels) in [("width", width), ("height", height)] {
        if !(1..=MOST_PIXELS).contains(&pixels) {
            return Err(value_error(format!("{name} is {pixels}, it must be 1 to {MOST_PIXELS}")));
        }
    }
    let bytes = STANDARD.decode(image).map_err(|error| value_error(format!("image is not base64: {error}")))?;
    let original = decode(&bytes).map_err(|error| value_error(format!("image is no PNG or JPEG: {error}")))?;
    let small = shrink(&original, width, height);
    let mut png = Cursor::new(Vec::new());
    small.write_to(&mut png, ImageFormat::Png)?;
    Ok(Thumbnail {
        image: STANDARD.encode(png.into_inner()),
        width: small.width(),
        height: small.height(),
        original_width: original.width(),
        original_height: original.height(),
    })
}

#[track_caller]
fn value_error(message: String) -> TaskError {
    TaskError::builtin("ValueError", message)
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, ImageError> {
    ImageReader::new(Cursor::new(bytes)).with_guessed_format()?.decode()
}

fn shrink(original: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    if original.width() <= width && original.height() <= height {
        return original.clone();
    }
    original.resize(width, height, FilterType::CatmullRom)
}

export_tasks!(resize);

#[cfg(test)]
mod tests {
    use lovage_guest::testing::FakeHost;

    use super::*;

    fn picture(format: ImageFormat, width: u32, height: u32) -> String {
        let blue = DynamicImage::ImageRgb8(image::RgbImage::from_pixel(width, height, image::Rgb([0, 0, 200])));
        let mut bytes = Cursor::new(Vec::new());
        blue.write_to(&mut bytes, format).unwrap();
        STANDARD.encode(bytes.into_inner())
    }

    #[test]
    fn a_picture_of_either_format_shrinks_in_proportion() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let small: Thumbnail = FakeHost::new().run::<resize>((picture(format, 300, 150), 100, 100)).value();
            assert_eq!((small.width, small.height), (100, 50));
            assert_eq!((small.original_width, small.original_height), (300, 150));
            let seen = decode(&STANDARD.decode(small.image).unwrap()).unwrap().to_rgb8();
            let [red, green, blue] = seen.get_pixel(50, 25).0;
            assert!(red < 10 && green < 10 && (190..=210).contains(&blue), "{red} {green} {blue}");
        }
    }

    #[test]
    fn a_small_picture_keeps_its_size() {
        let kept: Thumbnail = FakeHost::new().run::<resize>((picture(ImageFormat::Png, 20, 10), 100, 100)).value();
        assert_eq!((kept.width, kept.height), (20, 10));
    }

    #[test]
    fn what_is_no_picture_is_a_value_error() {
        let raised =
            |image: &str, width: u32| FakeHost::new().run::<resize>((image, width, 10)).exception().to_string();
        assert!(raised("?", 10).starts_with("ValueError: image is not base64"));
        assert!(raised(&STANDARD.encode("hello"), 10).starts_with("ValueError: image is no PNG or JPEG"));
        assert_eq!(raised("", 0), "ValueError: width is 0, it must be 1 to 4096");
        let cut = &picture(ImageFormat::Png, 50, 50)[..80];
        assert!(raised(cut, 10).starts_with("ValueError: image is no PNG or JPEG"));
    }
}

//! Are messages read back as they were written, and is what cannot be read an error?

use lovage_model::Then;
use proptest::prelude::*;

use super::*;
use crate::store::suite::{json, message};

const FORMS: [(&str, &str); 5] =
    [("msgpack", "null"), ("json", "gzip"), ("json", "zstd"), ("msgpack", "gzip"), ("msgpack", "zstd")];

fn asking((serializer, compression): (&str, &str), args: &str) -> Message {
    let compression = if compression == "null" { "null".to_owned() } else { format!("\"{compression}\"") };
    let overrides = [
        ("serializer".to_owned(), json(&format!("\"{serializer}\""))),
        ("compression".to_owned(), json(&compression)),
        ("max_retries".to_owned(), json("7")),
    ];
    Message {
        args: json(args),
        kwargs: json("{}"),
        overrides: overrides.into(),
        then: Some(Then::Next),
        ..message("a")
    }
}

/// Written without blanks, as it comes back.
fn long() -> String {
    let items: Vec<String> = (0..500).map(|n| format!("[{n},{}.25,\"text {n}\"]", n % 7)).collect();
    format!("[{}]", items.join(","))
}

#[test]
fn a_message_is_written_as_it_asks() {
    let plain = encode(&message("a")).unwrap();
    assert_eq!((plain[0], decoded_len(&plain)), (b'{', plain.len()));
    assert_eq!(decode(&plain).unwrap(), message("a"));
    for form in FORMS {
        let asking = asking(form, &long());
        let body = encode(&asking).unwrap();
        let text = serde_json::to_vec(&asking).unwrap();
        assert_eq!(Form::of_tag(body[0]), Some(Form::of(&asking)));
        assert_eq!(decoded_len(&body), text.len());
        assert!(body.len() < text.len(), "{form:?}");
        assert_eq!(decode(&body).unwrap(), asking, "{form:?}");
    }
    assert!(
        FORMS.iter().all(|form| encode(&asking(*form, "[]")).unwrap().len()
            <= serde_json::to_vec(&asking(*form, "[]")).unwrap().len())
    );
}

#[test]
fn what_is_broken_is_refused() {
    let whole = encode(&asking(("json", "gzip"), &long())).unwrap();
    for form in FORMS {
        let body = encode(&asking(form, &long())).unwrap();
        for len in [0, 1, 4, 5, 6, 40, body.len() - 1] {
            assert!(decode(&body[..len]).is_err(), "{form:?} cut at {len}");
        }
        let mut lying = body.clone();
        lying[1..5].copy_from_slice(&100_u32.to_le_bytes());
        assert!(decode(&lying).is_err(), "{form:?} is longer than it says");
        for at in (0..body.len()).step_by(7) {
            let mut spoilt = body.clone();
            spoilt[at] ^= 0x55;
            // Whatever comes of it, it ends.
            let _ = decode(&spoilt);
        }
    }
    for tag in [0_u8, 6, 7, 9, 255] {
        let unknown = [&[tag], &whole[1..]].concat();
        assert!(decode(&unknown).unwrap_err().to_string().contains("tag"), "{tag}");
    }
    assert!(decode(&[5, 255, 255, 255, 255, 0]).unwrap_err().to_string().contains("longer than any message"));
}

#[test]
fn a_bomb_is_not_unpacked() {
    let bomb = vec![b' '; 4 << 20];
    for (form, compressed) in [
        (Form { serializer: Serializer::Json, compression: Some(Compression::Gzip) }, {
            let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
            gzip.write_all(&bomb).unwrap();
            gzip.finish().unwrap()
        }),
        (
            Form { serializer: Serializer::Json, compression: Some(Compression::Zstd) },
            compress_to_vec(&*bomb, CompressionLevel::Fastest),
        ),
    ] {
        let mut body = vec![form.tag()];
        body.extend(1000_u32.to_le_bytes());
        body.extend(compressed);
        assert!(decode(&body).unwrap_err().to_string().contains("longer than it says"));
    }
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter_map("finite", |n| serde_json::Number::from_f64(n).map(|n| n.to_string())),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        // Halves of surrogate pairs are text that no string can hold.
        "\"(a|\\\\u00e9|\\\\ud800|\\\\\\\\|\\\\\"|\\\\n){0,40}\"",
    ]
}

fn tree() -> impl Strategy<Value = String> {
    let leaf =
        prop_oneof![Just("null".to_owned()), Just("true".to_owned()), Just("false".to_owned()), number(), text()];
    leaf.prop_recursive(6, 200, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((text(), inner), 0..20).prop_map(|pairs| {
                let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", pairs.join(","))
            }),
        ]
    })
}

/// Escapes may be spelled otherwise, so strings are compared by what they say.
fn spelled_one_way(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        let mut end = start + 1;
        while rest.as_bytes()[end] != b'"' {
            end += if rest.as_bytes()[end] == b'\\' { 2 } else { 1 };
        }
        let string = &rest[start..=end];
        out += &rest[..start];
        out += &serde_json::from_str::<String>(string)
            .map_or_else(|_| string.to_owned(), |it| serde_json::to_string(&it).unwrap());
        rest = &rest[end + 1..];
    }
    out + rest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_but_blanks(text in tree(), blank in "[ \n\t]{0,3}") {
        let one_way = spelled_one_way(&text);
        let spaced = format!("{blank}{text}{blank}");
        let packed = msgpack::of_json(spaced.as_bytes()).unwrap();
        prop_assert!(packed.len() <= msgpack::longest(spaced.len()));
        let back = String::from_utf8(msgpack::to_json(&packed, text.len().max(one_way.len())).unwrap()).unwrap();
        prop_assert_eq!(spelled_one_way(&back), one_way);
    }

    #[test]
    fn every_form_holds_every_message(text in tree(), times in 1..40_usize, form in prop::sample::select(&FORMS[..])) {
        let args = format!("[{}]", vec![text; times].join(" , "));
        let Ok(args) = Json::parse(args) else { return Ok(()) };
        let message = asking(form, args.as_str());
        let back = decode(&encode(&message).unwrap()).unwrap();
        let blankless = |json: &Json| msgpack::of_json(json.as_str().as_bytes()).unwrap();
        prop_assert_eq!(blankless(&back.args), blankless(&message.args));
        prop_assert_eq!(Message { args: message.args.clone(), ..back }, message);
    }

    #[test]
    fn bytes_of_any_kind_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = msgpack::to_json(&bytes, 1000);
        let _ = decode(&bytes);
    }
}

use super::*;

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).unwrap()
}

#[test]
fn values_are_shown_as_python_shows_them() {
    for (text, shown) in [
        ("null", "None"),
        ("[true,false,null]", "[True, False, None]"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (
            "[1e16,1e15,0.1,1.10,5e-5,0.0001,-0.0,-0,1E400]",
            "[1e+16, 1000000000000000.0, 0.1, 1.1, 5e-05, 0.0001, -0.0, 0, inf]",
        ),
        (r#"{"a":[{}],"b":{"c":[]}}"#, "{'a': [{}], 'b': {'c': []}}"),
        (r#""it's""#, r#""it's""#),
        (r#""both ' and \"""#, r#"'both \' and "'"#),
        (r#""a\n\t\\\u0000\u007f\u00e9\u00a0\u200b\ud83d\ude00\ud800""#, r"'a\n\t\\\x00\x7fé\xa0\u200b😀\ud800'"),
        (r#"{"__type__":"bytes","__value__":"a'\u00e9"}"#, r#"b"a'\xc3\xa9""#),
        (r#"{"__type__":"base64","__value__":"/wA="}"#, r"b'\xff\x00'"),
        (r#"{"__type__":"decimal","__value__":"1.50"}"#, "Decimal('1.50')"),
        (r#"{"__type__":"date","__value__":"2026-01-02"}"#, "datetime.date(2026, 1, 2)"),
        (r#"{"__type__":"time","__value__":"03:04:05.000600"}"#, "datetime.time(3, 4, 5, 600)"),
        (r#"{"__type__":"datetime","__value__":"2026-01-02T03:04:00"}"#, "datetime.datetime(2026, 1, 2, 3, 4)"),
        (
            r#"{"__type__":"datetime","__value__":"2026-01-02T03:04:05+00:00"}"#,
            "datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)",
        ),
        (
            r#"{"__type__":"datetime","__value__":"2026-01-02T03:04:05-03:30"}"#,
            "datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone(datetime.timedelta(days=-1, seconds=73800)))",
        ),
        (
            r#"{"__type__":"uuid","__value__":{"hex":"0123456789abcdef0123456789abcdef"}}"#,
            "UUID('01234567-89ab-cdef-0123-456789abcdef')",
        ),
        (r#"{"__type__":"own","__value__":1}"#, "{'__type__': 'own', '__value__': 1}"),
        (r#"{"__type__":"bytes","__value__":"x","more":1}"#, "{'__type__': 'bytes', '__value__': 'x', 'more': 1}"),
    ] {
        assert_eq!(repr(&json(text)), shown, "{text}");
    }
}

#[test]
fn what_is_long_is_shortened_as_celery_does() {
    let args = |text: &str, room| saferepr_args(&json(text), room);
    assert_eq!(args("[]", 1024), "()");
    assert_eq!(args("[1]", 1024), "(1,)");
    assert_eq!(args("[[3,7],{\"k\":\"it's\"}]", 1024), r"([3, 7], {'k': 'it\'s'})");
    assert_eq!(args("[[[[1]]],{\"a\":{\"b\":{}}}]", 1024), "([[[...]]], {'a': {'b': {...}}})");
    assert_eq!(args("[1,2,3,4,5,6,7,8,9]", 10), "(1, 2, 3, , ...)");
    assert_eq!((saferepr(&json("[1]"), 1), args("[1]", 0)), ("[, ...]".to_owned(), ", ...".to_owned()));
    assert_eq!(saferepr(&json(r#""one two three four""#), 12), "'one two...'");
}

/// What Python itself says: recorded by `tests/parity/record.py`.
#[test]
fn python_says_the_same() {
    #[derive(serde::Deserialize)]
    struct Line {
        json: String,
        repr: String,
        saferepr: std::collections::BTreeMap<usize, String>,
        args: Option<std::collections::BTreeMap<usize, String>>,
    }
    let lines = include_str!("../../../tests/parity/transcripts/repr.jsonl");
    let mut seen = 0;
    for line in lines.lines() {
        let line: Line = serde_json::from_str(line).unwrap();
        let value = json(&line.json);
        assert_eq!(repr(&value), line.repr);
        for (room, text) in line.saferepr {
            assert_eq!(saferepr(&value, room), text, "{value} in {room}");
            seen += 1;
        }
        for (room, text) in line.args.into_iter().flatten() {
            assert_eq!(saferepr_args(&value, room), text, "{value} in {room}, as a tuple");
            seen += 1;
        }
    }
    assert!(seen > 150, "{seen}");
}

mod proptests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,60}", room in 0_usize..40) {
            let value = Json::of(&text).unwrap();
            prop_assert!(repr(&value).len() >= 2);
            prop_assert!(saferepr(&value, room).chars().count() <= 2 * room + 7);
        }

        #[test]
        fn floats_read_as_what_they_were(number in any::<f64>()) {
            prop_assume!(number.is_finite());
            prop_assert_eq!(float(number).parse::<f64>().unwrap(), number);
        }

        /// What is no JSON does not get here; if it did, it would do no harm.
        #[test]
        fn scanning_never_panics(text in r#"[\[\]{}",:\\ué0-9a-z ]{0,40}"#) {
            let mut scanner = Scanner::new(&text);
            while scanner.peek().is_some() {
                scanner.skip();
            }
        }
    }
}

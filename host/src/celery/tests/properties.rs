//! Whatever is written is read as the same, and no bytes do harm.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use lovage_model::{Embed, Message, Seconds, TimeLimit, WireSignature};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9_.-]{1,12}", "\\PC{0,8}", Just("it's \u{e9}\u{1f600}\n\"\\".to_owned())]
}

fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just("[1.50,{\"__type__\":\"bytes\",\"__value__\":\"x\"}]".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    // As they are written: with Python's blanks, in ASCII.
    leaf.prop_map(|text| json(&dumps(&json(&text)).unwrap()))
}

fn values() -> impl Strategy<Value = BTreeMap<String, Json>> {
    proptest::collection::btree_map("x-[a-z]{1,5}", value(), 0..3)
}

fn array() -> impl Strategy<Value = Json> {
    proptest::collection::vec(value(), 0..4).prop_map(|all| json(&dumps(&all).unwrap()))
}

fn signature() -> impl Strategy<Value = WireSignature> {
    (name(), array(), values(), any::<bool>()).prop_map(|(task, args, kwargs, immutable)| WireSignature {
        immutable,
        ..WireSignature::task(task.parse().unwrap(), args, kwargs.into_iter().collect())
    })
}

fn name() -> impl Strategy<Value = String> {
    "[a-z]{1,8}\\.[a-z]{1,8}"
}

fn seconds() -> impl Strategy<Value = Option<Seconds>> {
    proptest::option::of((1..1_000_000_u32).prop_map(|n| Seconds::new(f64::from(n) / 16.0).unwrap()))
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    proptest::option::of((0..4_000_000_000_000_000_i64).prop_map(Timestamp::from_micros))
}

fn embed() -> impl Strategy<Value = Embed> {
    let signatures = || proptest::collection::vec(signature(), 0..3);
    let properties = proptest::option::of("[a-z]{1,6}").prop_map(|queue| match queue {
        Some(queue) => json(&format!(r#"{{"reply_to":"{queue}","app_id":"x"}}"#)),
        None => Json::empty_object(),
    });
    let parts =
        (signatures(), signatures(), signatures(), proptest::option::of(signature()), properties, text(), text());
    parts.prop_map(|(callbacks, errbacks, chain, chord, properties, argsrepr, kwargsrepr)| Embed {
        callbacks,
        errbacks,
        chain,
        chord: chord.map(Arc::new),
        named: None,
        properties,
        argsrepr: Some(argsrepr),
        kwargsrepr: Some(kwargsrepr),
    })
}

prop_compose! {
    fn message()(
        (id, task, root, parent, group) in ("[a-z0-9-]{1,36}", name(), "[a-z0-9]{1,8}", "[a-z0-9]{1,8}", "[a-z0-9]{1,8}"),
        (args, kwargs, headers, stamps, overrides) in (array(), values(), values(), values(), values()),
        (eta, expires, soft, hard) in (time(), time(), seconds(), seconds()),
        (retries, group_index, priority, depth, nesting) in (0..9_u32, proptest::option::of(0..9_u32), 0..10_u8, 0..3_u32, 0..3_u32),
        (ignore_result, untracked, requeued, fuel) in (any::<Option<bool>>(), any::<bool>(), any::<bool>(), any::<Option<u64>>()),
        (shadow, origin, embed) in (proptest::option::of(text()), text(), embed()),
    ) -> Message {
        Message {
            root_id: root.parse().unwrap(),
            parent_id: parent.parse().ok(),
            group: group.parse().ok(),
            kwargs: json(&dumps(&kwargs).unwrap()),
            timelimit: TimeLimit { soft, hard },
            replaced_task_nesting: nesting,
            embed: Some(Box::new(embed)),
            origin: Some(origin),
            args, headers, stamps, overrides, eta, expires, retries, group_index, priority, depth, ignore_result, untracked,
            requeued, fuel, shadow,
            ..Message::new(id.parse().unwrap(), task.parse().unwrap())
        }
    }
}

fn envelope<'a>(tag: &'a str) -> Envelope<'a> {
    Envelope { ours: None, tag, origin: "gen1@h", redelivered: false, now: Timestamp::from_micros(0) }
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message(), tag in "[a-z0-9-]{1,20}") {
        let element = write(&message, &envelope(&tag)).unwrap();
        prop_assert!(element.is_ascii());
        let received = read(element.as_bytes(), &LIMITS).unwrap();
        prop_assert_eq!(received.message, message);
        prop_assert_eq!(received.delivery.tag, tag);
    }

    #[test]
    fn what_is_compressed_is_read(message in message(), zstd in any::<bool>(), text in "a{200,300}") {
        let compression = json(if zstd { "\"zstd\"" } else { "\"gzip\"" });
        let args = Json::of(&[text]).unwrap();
        let overrides = BTreeMap::from([("compression".to_owned(), compression)]);
        let message = Message { args, overrides, ..message };
        let element = write(&message, &envelope("tag")).unwrap();
        let header = if zstd { r#""compression": "application/zstd""# } else { r#""compression": "application/x-gzip""# };
        prop_assert!(element.contains(header), "{}", element);
        prop_assert_eq!(read(element.as_bytes(), &LIMITS).unwrap().message, message);
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes, &LIMITS);
        let _ = meta::read(&bytes, &LIMITS);
        let _ = meta::read_part(&bytes, &LIMITS);
        let _ = meta::read_group(&bytes, &LIMITS);
        let _ = meta::read(&[b"\0celery-compressed\0", bytes.as_slice()].concat(), &LIMITS);
    }

    /// Real messages with some bytes changed.
    #[test]
    fn damage_is_an_answer(
        (_, text) in proptest::sample::select(TRANSCRIPTS),
        line in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        body in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
    ) {
        let lines: Vec<_> = text.lines().collect();
        let mut word = said(lines[line.index(lines.len())]).words.pop().unwrap();
        for (at, byte) in damage {
            let at = at.index(word.len());
            word[at] = byte;
        }
        let _ = (read(&word, &LIMITS), meta::read(&word, &LIMITS), meta::read_part(&word, &LIMITS));
        if let (Some(body), Some(mut fields)) = (body, json_fields(&word)) {
            fields.set("body", Json::of(&STANDARD.encode(body)).unwrap());
            let _ = read(serde_json::to_string(&fields).unwrap().as_bytes(), &LIMITS);
        }
    }
}

fn json_fields(word: &[u8]) -> Option<Fields> {
    serde_json::from_slice(word).ok()
}

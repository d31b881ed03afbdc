//! Messages: what Celery wrote is read, and written again as it was.

use super::*;
use lovage_model::Message;

fn received(element: &Said) -> Received {
    read(element.last(), &LIMITS).unwrap_or_else(|poison| panic!("{poison}"))
}

fn only(name: &str) -> Vec<Message> {
    elements(name).iter().filter_map(|said| Some(read(said.last(), &LIMITS).ok()?.message)).collect()
}

/// Those of the client's calls to a task, in order.
fn calls(name: &str, task: &str) -> Vec<Message> {
    only(name).into_iter().filter(|message| message.task.as_str() == task).collect()
}

fn written(said: &Said, received: &Received) -> String {
    let envelope = Envelope {
        ours: None,
        tag: &received.delivery.tag,
        origin: "nobody",
        redelivered: received.delivery.redelivered,
        now: said.at,
    };
    write(&received.message, &envelope).unwrap()
}

fn body(element: &Fields) -> String {
    String::from_utf8(STANDARD.decode(element.read::<String>("body").unwrap()).unwrap()).unwrap()
}

/// Protocol 2 in JSON: the same bytes, but for the expiration, which counts from when it is sent.
#[test]
fn what_celery_wrote_is_written_as_it_was() {
    let mut exact = 0;
    for name in ["plain", "options", "retried", "failed", "revoked", "chained", "chorded", "stamped"] {
        for said in elements(name) {
            let (text, received) = (String::from_utf8(said.last().to_vec()).unwrap(), received(&said));
            let again = written(&said, &received);
            if again == text {
                exact += 1;
                continue;
            }
            let (was, is): (Fields, Fields) = (json(&text).read().unwrap(), json(&again).read().unwrap());
            // Signatures in it may have their keys in another order, and an expiration is a few milliseconds less.
            assert_eq!(canonical(&json(&body(&was)), &[]), canonical(&json(&body(&is)), &[]));
            let rest = |fields: &Fields| canonical(&Json::of(fields).unwrap(), &["body", "expiration"]);
            assert_eq!(rest(&was), rest(&is));
            let of = |fields: &Fields| fields.read::<Fields>("properties").unwrap().read::<String>("expiration");
            match (of(&was), of(&is)) {
                (None, None) => {}
                (Some(was), Some(is)) => {
                    assert!((was.parse::<i64>().unwrap() - is.parse::<i64>().unwrap()).abs() < 1000, "{was} {is}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(exact >= 25, "{exact}");
}

#[test]
fn fields_are_what_the_client_gave() {
    let options = calls("options", "parity.add");
    let [first, second, third, ..] = options.as_slice() else { panic!() };
    assert_eq!(
        (first.priority, first.timelimit.hard.unwrap().get(), first.timelimit.soft.unwrap().get()),
        (7, 30.0, 20.5)
    );
    assert_eq!(first.headers["x-h"].as_str(), r#"{"v": 1}"#);
    assert!(first.expires.is_some() && first.eta.is_none() && first.ignore_result == Some(false));
    assert!(second.eta.is_some() && second.shadow.as_deref() == Some("sum"));
    let embed = second.embed.as_deref().unwrap();
    assert_eq!(embed.argsrepr.as_deref(), Some("(<secret>)"));
    let embed = third.embed.as_deref().unwrap();
    let properties: Fields = embed.properties.read().unwrap();
    assert_eq!(properties.read::<String>("correlation_id").as_deref(), Some("other"));
    assert_eq!(properties.read::<String>("app_id").as_deref(), Some("zz"));
    assert!(properties.read::<String>("reply_to").is_some());
    assert!(options.iter().any(|message| message.ignore_result == Some(true)));
    assert!(options.iter().any(|message| message.queue.as_str() == "elsewhere"));
    let member = options.iter().find(|it| it.group.is_some() && it.parent_id.is_some()).unwrap();
    assert!(member.root_id != member.id && member.group_index == Some(0));
    assert!(options.iter().all(|message| message.origin.as_deref().unwrap().starts_with("gen")));
}

#[test]
fn large_integers_floats_and_texts_survive() {
    let echo = &calls("plain", "parity.echo")[0];
    assert_eq!(echo.args.as_str(), "[1180591620717411303424, -1, 0.1, 1e+16, null, true]");
    assert!(echo.kwargs.as_str().contains(r#""it's \u00e9\ud83d\ude00\u007f""#));
}

#[test]
fn values_of_pythons_own_types_pass_untouched() {
    let echo = calls("python_types", "parity.echo");
    assert!(echo[0].args.as_str().starts_with(
        r#"[{"__type__": "bytes", "__value__": "text"}, {"__type__": "base64", "__value__": "/wA="}, {"__type__": "decimal""#
    ));
    assert_eq!(
        echo[0].embed.as_ref().unwrap().argsrepr.as_deref(),
        Some("(b'text', b'ff00', Decimal('1.50'), UUID('00000000-0000-0000-0000-000000000005'))")
    );
}

/// The representation that Celery sent is the one that would be sent in its place.
#[test]
fn arguments_are_shown_as_celery_shows_them() {
    for name in ["plain", "python_types", "options", "chained", "chorded", "failed", "msgpack", "compressed"] {
        for said in elements(name).iter().filter(|said| read(said.last(), &LIMITS).is_ok()) {
            let Message { args, kwargs, embed, .. } = received(said).message;
            let embed = embed.unwrap();
            if embed.argsrepr.as_deref() == Some("(<secret>)") {
                continue;
            }
            let shown =
                (lovage_model::python::saferepr_args(&args, 1024), lovage_model::python::saferepr(&kwargs, 1024));
            assert_eq!((Some(shown.0), Some(shown.1)), (embed.argsrepr, embed.kwargsrepr), "{args} {kwargs}");
        }
    }
}

#[test]
fn msgpack_is_read_as_json() {
    assert_eq!(calls("msgpack", "parity.add")[0].args.as_str(), "[2, 3]");
    let echo = &calls("msgpack", "parity.echo")[0];
    assert!(
        echo.args.as_str().starts_with(concat!(
            r#"[{"k": [1.5, null, 9223372036854775808, -5, {"__type__": "base64", "__value__": "/w=="}, "#,
            r#"{"__type__": "bytes", "__value__": "a"}]}, "#,
        )),
        "{}",
        echo.args
    );
}

#[test]
fn every_compression_of_kombus_is_unpacked() {
    let echo = calls("compressed", "parity.echo");
    assert_eq!(echo.len(), 5);
    for (message, name) in echo.iter().zip(["gzip", "bzip2", "lzma", "zstd"]) {
        assert_eq!(message.args.as_str(), format!(r#"["{}", "{name}"]"#, "a".repeat(100)));
        assert!(message.headers.is_empty());
    }
    assert_eq!(echo[4].args.as_str(), "[1]");
}

#[test]
fn protocol_1_says_the_same() {
    let all = only("protocol1");
    let add = all.iter().find(|message| message.task.as_str() == "parity.add").unwrap();
    assert_eq!(add.args.as_str(), "[2, 3]");
    assert!(add.expires.is_some() && add.root_id == add.id && add.headers.is_empty(), "{add:?}");
    let flaky = all.iter().find(|message| message.task.as_str() == "parity.flaky").unwrap();
    let embed = flaky.embed.as_deref().unwrap();
    assert_eq!((embed.callbacks.len(), embed.errbacks.len()), (1, 1));
    assert_eq!(flaky.timelimit.hard.unwrap().get(), 30.0);
    let parts: Vec<_> = all.iter().filter(|it| it.embed.as_ref().unwrap().chord.is_some()).collect();
    assert_eq!(parts.iter().map(|part| part.group_index).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert!(parts.iter().all(|part| part.group.is_some() && part.group == parts[0].group));
}

#[test]
fn what_follows_is_embedded() {
    let chained = &only("chained")[0];
    let embed = chained.embed.as_deref().unwrap();
    assert!(!embed.chain.is_empty());
    let parts = calls("chorded", "parity.add");
    assert!(parts[0].embed.as_ref().unwrap().chord.as_ref().unwrap().task.as_str() == "parity.tsum");
    assert!(calls("failed", "parity.boom")[0].embed.as_ref().unwrap().errbacks.len() == 1);
}

#[test]
fn stamps_are_found() {
    let add = &calls("stamped", "parity.add")[0];
    assert_eq!(add.stamps.get("build").map(Json::as_str), Some("12"));
    assert!(add.headers.is_empty());
}

#[test]
fn a_retry_is_the_same_task_again() {
    let [first, again] = <[Message; 2]>::try_from(calls("retried", "parity.flaky")).unwrap();
    assert_eq!((first.id == again.id, first.retries, again.retries), (true, 0, 1));
    assert_eq!((again.priority, again.headers.get("x-a").map(Json::as_str)), (3, Some("\"1\"")));
    assert_eq!(again.parent_id.as_ref(), Some(&first.id));
}

#[test]
fn a_name_that_others_alone_can_have_is_written() {
    let embed = lovage_model::Embed { named: "reports/build".parse().ok(), ..lovage_model::Embed::default() };
    let message = Message::new("a".parse().unwrap(), "reports_build".parse().unwrap());
    let message = Message { embed: Some(Box::new(embed)), ..message };
    let envelope =
        Envelope { ours: None, tag: "t", origin: "o", redelivered: false, now: Timestamp::from_micros(1_000_000) };
    assert!(write(&message, &envelope).unwrap().contains(r#""task": "reports/build", "id": "a""#));
}

#[test]
fn a_message_of_ours_says_so_first() {
    let message = Message { depth: 2, ..Message::new("a".parse().unwrap(), "t.b".parse().unwrap()) };
    let envelope =
        Envelope { ours: Some("7:x"), tag: "t", origin: "gen1@h", redelivered: true, now: Timestamp::from_micros(0) };
    let text = write(&message, &envelope).unwrap();
    assert!(text.starts_with(r#"{"lovage": "7:x", "body": ""#), "{text}");
    assert!(text.contains(r#""lovage": {"depth": 2}, "redelivered": true}"#), "{text}");
    let again = read(text.as_bytes(), &LIMITS).unwrap();
    assert_eq!(
        again.delivery,
        Delivery {
            tag: "t".to_owned(),
            exchange: String::new(),
            routing_key: "celery".to_owned(),
            redelivered: true,
            ours: Some("7:x".to_owned()),
        }
    );
    assert_eq!(again.message.depth, 2);
}

//! Remote control: what was asked and answered is read, and written again as it was.

use super::*;
use lovage_model::Exception;
use pidbox::{Audience, Reply, ReplyTo, Request};

fn requests(name: &str) -> Vec<(Said, Request)> {
    let asked = transcript(name).into_iter().filter(|said| said.key() == channel(5, pidbox::EXCHANGE, ""));
    asked
        .map(|said| (Request::read(said.last(), &LIMITS).unwrap(), said))
        .map(|(request, said)| (said, request))
        .collect()
}

fn tag(said: &Said) -> String {
    let element: Fields = serde_json::from_slice(said.last()).unwrap();
    element.read::<Fields>("properties").unwrap().read("delivery_tag").unwrap()
}

/// The element without its time, which is kept to the microsecond here, and the time.
fn apart(element: &str) -> (String, f64) {
    let (before, from) = element.split_once(r#""expires": "#).unwrap();
    let (number, after) = from.split_once('}').unwrap();
    (format!("{before}{after}"), number.parse().unwrap())
}

#[test]
fn every_request_is_written_as_it_was() {
    let all: Vec<_> = ["remote", "revoked"].iter().flat_map(|name| requests(name)).collect();
    assert!(all.len() >= 10, "{}", all.len());
    for (said, request) in all {
        let (was, until) = apart(std::str::from_utf8(said.last()).unwrap());
        let (is, expires) = apart(&request.write(&tag(&said)).unwrap());
        assert_eq!(is, was, "{request:?}");
        assert!((expires - until).abs() < 2e-6, "{expires} {until}");
    }
}

#[test]
fn requests_say_what_is_asked_of_whom() {
    let all = requests("remote");
    let of = |method: &str| all.iter().map(|(_, request)| request).find(|request| request.method == method).unwrap();
    let ping = of("ping");
    assert!(ping.audience.has("anybody") && ping.arguments.is_empty() && ping.ticket.is_some() && ping.clock > 0);
    assert_eq!(ping.reply_to.as_ref().unwrap().exchange, pidbox::REPLY_EXCHANGE);
    assert!(ping.expires.unwrap() > all[0].0.at);
    assert!(of("active").audience.has("parity@recorder") && !of("active").audience.has("other@recorder"));
    assert_eq!(of("registered").audience, Audience::Named(vec!["parity@recorder".to_owned()]));
    assert!(!of("registered").audience.has("parity@recorder2"));
    assert_eq!(of("rate_limit").arguments.read::<String>("rate_limit").as_deref(), Some("10/m"));
    assert_eq!(of("heartbeat").reply_to, None);
    let revoke = requests("revoked");
    let terminate = revoke.iter().map(|(_, it)| it).find(|it| it.arguments.read("terminate") == Some(true)).unwrap();
    assert_eq!(terminate.arguments.read::<Vec<String>>("task_id").unwrap().len(), 2);
}

#[test]
fn every_reply_is_written_as_it_was() {
    let asked = requests("remote");
    let replies: Vec<_> = transcript("remote")
        .into_iter()
        .filter(|said| said.key().ends_with(".pidbox") && said.command == "LPUSH")
        .collect();
    assert!(replies.len() >= 8, "{}", replies.len());
    for said in replies {
        let element: Fields = serde_json::from_slice(said.last()).unwrap();
        let headers: Fields = element.read("headers").unwrap();
        let ticket: String = headers.read("ticket").unwrap();
        let (_, request) = asked.iter().find(|(_, request)| request.ticket.as_ref() == Some(&ticket)).unwrap();
        let to = request.reply_to.as_ref().unwrap();
        assert_eq!(to.queue(), said.key());
        let body = STANDARD.decode(element.read::<String>("body").unwrap()).unwrap();
        let body: Fields = serde_json::from_slice(&body).unwrap();
        let (hostname, answer) = body.iter().next().unwrap();
        let reply = Reply { hostname, answer, to, ticket: Some(&ticket), clock: headers.read("clock").unwrap() };
        assert_eq!(reply.write(&tag(&said)).unwrap().as_bytes(), said.last());
        if request.method == "nosuch" {
            assert_eq!(dumps(&pidbox::unknown("nosuch")).unwrap(), dumps(answer).unwrap());
        }
    }
}

#[test]
fn revoked_tasks_are_told_as_celery_tells_them() {
    for (said, was) in requests("revoked") {
        let tasks: Vec<lovage_model::TaskId> = was.arguments.read("task_id").unwrap();
        let is = Request::revoke(&tasks, was.arguments.read("terminate").unwrap(), was.clock).unwrap();
        let is = Request { expires: was.expires, ..is };
        assert_eq!(is.write(&tag(&said)).unwrap(), was.write(&tag(&said)).unwrap());
    }
}

#[test]
fn errors_are_reprs() {
    let exception = Exception::new("builtins", "TypeError", "no 'x'");
    assert_eq!(pidbox::error(&exception).as_str(), r#"{"error":"TypeError(\"no 'x'\")"}"#);
    assert_eq!(ReplyTo::of("a").queue(), "a.reply.celery.pidbox");
}

#[test]
fn what_is_no_request_is_an_error() {
    for body in
        ["", "[]", "{}", r#"{"method":1}"#, r#"{"method":"x","arguments":[]}"#, r#"{"method":"x","destination":"y"}"#]
    {
        let element = serde_json::json!({
            "body": STANDARD.encode(body), "content-type": "application/json",
            "properties": {"body_encoding": "base64"},
        });
        assert!(Request::read(element.to_string().as_bytes(), &LIMITS).is_err(), "{body}");
    }
    let bare = br#"{"body": "{\"method\": \"ping\"}", "content-type": "application/json"}"#;
    let request = Request::read(bare, &LIMITS).unwrap();
    assert_eq!((request.audience, request.clock, request.expires), (Audience::All, 0, None));
}

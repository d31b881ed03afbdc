//! A module that breaks the contract in every way that its types allow.

lovage_test_guests::raw_module!(
    describe: r#"[{"name":"liar.not_json"},{"name":"liar.retry_unasked"},{"name":"liar.replace_unnamed"},
        {"name":"liar.bad_exception","handlers":["on_failure"]},{"name":"liar.ignore"},{"name":"liar.reject"},{"name":"liar.requeue"}]"#
        .to_owned(),
    run: |task, _, _| {
        use lovage_guest::bindings::lovage::task::types::Exception;
        Err(match task {
            "liar.not_json" => return Ok("{".to_owned()),
            "liar.retry_unasked" => Ending::Retry,
            "liar.replace_unnamed" => Ending::Replaced,
            "liar.ignore" => Ending::Ignore,
            "liar.reject" => Ending::Reject(false),
            "liar.requeue" => Ending::Reject(true),
            _ => Ending::Failure(Exception {
                exc_type: "E".to_owned(),
                exc_message: "{".to_owned(),
                exc_module: "m".to_owned(),
                traceback: String::new(),
            }),
        })
    }
);

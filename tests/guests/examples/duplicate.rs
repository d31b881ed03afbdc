//! A module with two tasks of one name.
lovage_test_guests::raw_module!(describe: r#"[{"name":"twice"},{"name":"twice"}]"#.to_owned(), run: |_, _, _| Ok("null".to_owned()));

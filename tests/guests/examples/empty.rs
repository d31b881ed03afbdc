//! A module without tasks.
lovage_test_guests::raw_module!(describe: "[]".to_owned(), run: |_, _, _| Ok("null".to_owned()));

//! A module that does not list its tasks as JSON.
lovage_test_guests::raw_module!(describe: "add, mul".to_owned(), run: |_, _, _| Ok("null".to_owned()));

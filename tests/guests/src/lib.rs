//! Guests that misbehave, each in its own way. Every example is a component of its own; the tests of `tests/tests` run
//! them, and a task in `walls` or `liar` that no test runs fails a test.

pub mod work;

/// Exports a component whose `describe` and `run` are written by hand, past everything the SDK promises.
#[macro_export]
macro_rules! raw_module {
    (describe: $describe:expr, run: $run:expr) => {
        #[cfg(target_arch = "wasm32")]
        mod component {
            use lovage_guest::bindings::exports::lovage::task::tasks::{Ending, Guest};

            struct Raw;

            impl Guest for Raw {
                fn describe() -> String {
                    $describe
                }

                fn run(task: String, args: String, kwargs: String) -> Result<String, Ending> {
                    let run: fn(&str, &str, &str) -> Result<String, Ending> = $run;
                    run(&task, &args, &kwargs)
                }
            }

            lovage_guest::bindings::export!(Raw with_types_in lovage_guest::bindings);
        }
    };
}

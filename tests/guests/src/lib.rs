//! Guests that misbehave, each in its own way. Every example is a component of its own; the tests of `tests/tests` run
//! them, and a task in `walls` or `liar` that no test runs fails a test.

pub mod work;

/// Exports a component whose `describe` and `run` are written by hand, past everything the SDK promises.
#[macro_export]
macro_rules! raw_module {
    (describe: $describe:expr, run: $run:expr) => {
        #[cfg(target_arch = "wasm32")]
        mod component {
            use lovage_guest::bindings::exports::lovage::task::handlers::{self, Exception};
            use lovage_guest::bindings::exports::lovage::task::tasks::{Ending, Guest};

            struct Raw;

            impl handlers::Guest for Raw {
                fn before_start(_: String, _: String, _: String) -> Result<(), Ending> {
                    Ok(())
                }

                fn on_success(_: String, _: String, _: String, _: String) -> Result<(), Exception> {
                    Ok(())
                }

                fn on_retry(_: String, _: Exception, _: String, _: String) -> Result<(), Exception> {
                    Ok(())
                }

                fn on_failure(_: String, exc: Exception, _: String, _: String) -> Result<(), Exception> {
                    Err(Exception { exc_message: "{".to_owned(), ..exc })
                }

                fn after_return(
                    _: String,
                    _: String,
                    _: Result<String, Exception>,
                    _: String,
                    _: String,
                ) -> Result<(), Exception> {
                    Ok(())
                }
            }

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

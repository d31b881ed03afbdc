//! `#[task]`: a function becomes a task.
//!
//! What the author wrote is read and checked first (`options`, `function`), with every fault reported at its place;
//! then it is written out (`expand`). Whatever is wrong about a task is refused here, at compile time.
#![deny(missing_docs)]

mod expand;
mod function;
mod options;

use proc_macro::TokenStream;

use crate::function::Function;
use crate::options::Options;

/// Makes a task of a function.
///
/// ```text
/// #[task(max_retries = 3, default_retry_delay = 2.0, soft_time_limit = 5.0, time_limit = 10.0)]
/// fn fetch(ctx: &Context, url: String, #[default] tries: Option<u32>) -> TaskResult<String> { .. }
/// ```
///
/// The function stays what it was, and can be called. Beside it stands a type of the same name, which implements `Task`
/// and has
/// - `fetch::s(url)`: a signature with the arguments that must be passed; more go on with `.kwarg("tries", 2)`;
/// - `fetch::si(url)`: the same, immutable;
/// - `fetch::partial()`: a signature without arguments, for those that come from the task before it;
/// - `fetch::map(items)`, `fetch::starmap(items)`, `fetch::chunks(items, n)`: signatures that call it for each item;
/// - `fetch::delay(ctx, url)`: sends it as a subtask;
/// - `fetch::apply_async(ctx, (url,), Options::new().countdown(3.0))`: sends it with options.
///
/// Parameters: the first may be `&Context`; all others are owned and implement `Deserialize`. An `Option` may be left
/// out; so may one with `#[default]` (its type's default) or `#[default(value)]`. Those that must be passed come first. One with
/// `#[args]` takes all further ones without a name, as a list, and one with `#[kwargs]` all further ones with a name.
/// It returns anything that implements `Serialize`, or a `Result` of that whose error converts into `TaskError`.
///
/// Options, with Celery's names and defaults (but where Celery loses work by them, see `TaskOptions`):
/// - `name = ".."`: default is `crate.function`;
/// - `max_retries = 3`, or `None` for no end; `default_retry_delay = 180.0`: seconds before a retry that does not say;
/// - `autoretry_for = ["ConnectionError", ..]`: exceptions that make it retry by itself, `"Exception"` for any, without
///   those in `dont_autoretry_for`; `retry_backoff = true` (or seconds), `retry_backoff_max = 600`, `retry_jitter = true`:
///   how long it waits then;
/// - `throws = [..]`: exceptions that are no news to the operator;
/// - `soft_time_limit = ..`: seconds until the task is told to end; `time_limit = ..`: seconds until it is killed;
/// - `ignore_result = true`: keeps no result; `store_errors_even_if_ignored`: but exceptions;
/// - `acks_late`, `acks_on_failure`, `reject_on_worker_lost`: when its message is done with;
/// - `priority = ..`: 0 (first) to 9 (last); `expires = ..`: seconds after which it is not started any more;
/// - `rate_limit = "10/m"`: how many may start in a time, on each host;
/// - `serializer = "msgpack"`, `compression = "zstd"`: how its messages are written;
/// - `track_started`, `trail`, `typing`, `resultrepr_maxsize = 1024`, `shadow = ".."`.
///
/// Handlers are functions beside it, called before and after its run, each with `ctx: &Context` and
/// - `before_start = path`: nothing more; what it raises is raised by the task, which then does not run;
/// - `on_success = path`: `retval: &Json`;
/// - `on_retry = path`, `on_failure = path`: `exc: &Raised`, the exception with its traceback;
/// - `after_return = path`: `status: &str`, `retval: Retval<'_>`, after a success or a failure.
#[proc_macro_attribute]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let options = syn::parse::<Options>(attribute);
    let function = syn::parse::<syn::ItemFn>(item.clone()).map_err(not_a_function).and_then(Function::read);
    match (options, function) {
        (Ok(options), Ok(function)) => expand::task(&options, &function).into(),
        (Err(mut fault), Err(more)) => {
            fault.combine(more);
            refuse(&fault, item)
        }
        (Err(fault), Ok(_)) | (Ok(_), Err(fault)) => refuse(&fault, item),
    }
}

fn not_a_function(fault: syn::Error) -> syn::Error {
    syn::Error::new(fault.span(), format!("#[task] goes above a function with a body: {fault}"))
}

/// The faults, and the function without what only `#[task]` understands, so that no other error hides them.
fn refuse(fault: &syn::Error, item: TokenStream) -> TokenStream {
    let mut output = TokenStream::from(fault.to_compile_error());
    if let Ok(mut function) = syn::parse::<syn::ItemFn>(item) {
        function::strip(&mut function);
        output.extend(TokenStream::from(quote::quote!(#[allow(dead_code, unused_variables)] #function)));
    }
    output
}

//! JSON as Python shows it: `repr`, and the shortened `saferepr` of Celery's events and messages.
//!
//! Both work on the text, so integers of any size and the order of keys survive, and the short form reads no more of a long
//! text than it shows. What kombu tags as a type of Python's (`{"__type__": "bytes", ...}`) is shown as a value of that type.

mod saferepr;
mod scan;
mod tagged;
mod text;

use crate::Json;
use scan::Scanner;

pub use saferepr::{saferepr, saferepr_args};
pub use text::float;

/// As Python's `repr(json.loads(text))`.
pub fn repr(value: &Json) -> String {
    let mut out = String::with_capacity(value.as_str().len());
    write_value(&mut Scanner::new(value.as_str()), &mut out);
    out
}

/// The items of an array, each as `repr` writes it, with commas between them; none if it is no array.
pub(crate) fn repr_items(value: &Json) -> Option<String> {
    let mut out = String::new();
    let mut scanner = Scanner::new(value.as_str());
    if scanner.peek() != Some(b'[') {
        return None;
    }
    scanner.step();
    write_items(&mut scanner, &mut out);
    Some(out)
}

fn write_items(scanner: &mut Scanner<'_>, out: &mut String) {
    let start = out.len();
    while !matches!(scanner.peek(), None | Some(b']')) {
        if out.len() > start {
            out.push_str(", ");
        }
        write_value(scanner, out);
    }
    scanner.step();
}

fn write_value(scanner: &mut Scanner<'_>, out: &mut String) {
    match scanner.peek() {
        Some(b'[') => {
            scanner.step();
            out.push('[');
            write_items(scanner, out);
            out.push(']');
        }
        Some(b'{') => match tagged::take(scanner) {
            Some(tagged) => out.push_str(&tagged.repr()),
            None => write_dict(scanner, out),
        },
        Some(b'"') => text::write_repr(scan::unescape(scanner.string()), out),
        Some(_) => out.push_str(&scan::scalar(scanner.skip())),
        None => {}
    }
}

fn write_dict(scanner: &mut Scanner<'_>, out: &mut String) {
    scanner.step();
    out.push('{');
    let start = out.len();
    while scanner.peek() == Some(b'"') {
        if out.len() > start {
            out.push_str(", ");
        }
        text::write_repr(scan::unescape(scanner.string()), out);
        out.push_str(": ");
        write_value(scanner, out);
    }
    scanner.step();
    out.push('}');
}

#[cfg(test)]
mod tests;

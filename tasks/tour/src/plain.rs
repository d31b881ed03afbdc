//! Tasks that are functions and nothing more.

use lovage_guest::prelude::*;

/// Adds two numbers.
#[task]
pub fn add(x: i64, y: i64) -> i64 {
    x + y
}

/// Divides two numbers; by zero it raises what Python would.
#[task]
pub fn divide(x: f64, y: f64) -> TaskResult<f64> {
    if y == 0.0 {
        return Err(TaskError::builtin("ZeroDivisionError", "division by zero"));
    }
    Ok(x / y)
}

/// Greets. The name may be left out.
#[task]
pub fn hello(#[default("world")] name: String) -> String {
    format!("Hello, {name}!")
}

/// Does nothing, as fast as it can.
#[task]
pub fn noop() {}

#[cfg(test)]
mod tests {
    use lovage_guest::testing::FakeHost;

    use super::*;

    #[test]
    fn values_are_returned() {
        let host = FakeHost::new();
        assert_eq!(host.run::<add>((2, 3)).value::<i64>(), 5);
        assert_eq!(host.run::<divide>((1, 4)).value::<f64>(), 0.25);
        assert_eq!(host.run::<divide>((1e308, 1e-10)).exception().exc_type, "EncodeError", "infinite");
        assert_eq!(host.run::<hello>(()).value::<String>(), "Hello, world!");
        assert_eq!(host.call::<hello>((), json!({"name": "Ada"})).value::<String>(), "Hello, Ada!");
        assert_eq!(host.run::<noop>(()).value::<Option<u8>>(), None);
    }

    #[test]
    fn dividing_by_zero_raises() {
        let outcome = FakeHost::new().run::<divide>((1, 0));
        assert_eq!(outcome.exception().to_string(), "ZeroDivisionError: division by zero");
    }
}

//! Components written by hand, for what no toolchain makes.

/// A component with one task, `it.runs`; it fits the contract unless it is told not to.
#[derive(Debug, Clone)]
pub struct Written<'a> {
    /// More fields of its core module.
    pub body: &'a str,
    /// The limits of its memory, in pages.
    pub memory: &'a str,
    /// The code of `run`: leaves the address of a result.
    pub run: &'a str,
    /// What `describe` says that it returns.
    pub describe_type: &'a str,
    /// More imports.
    pub imports: &'a str,
    /// The name of the interface it exports.
    pub exports: &'a str,
}

impl Default for Written<'_> {
    fn default() -> Self {
        Self {
            body: "",
            memory: "1",
            run: "unreachable",
            describe_type: "string",
            imports: "",
            exports: "lovage:task/tasks@0.1.0",
        }
    }
}

impl Written<'_> {
    /// The binary.
    pub fn bytes(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// One whose task returns a digit.
    pub fn returning(digit: u8) -> Vec<u8> {
        let body = format!(r#"(data (i32.const 100) "{digit}")"#);
        let run = "(i32.store (i32.const 32) (i32.const 0)) (i32.store (i32.const 36) (i32.const 100))
            (i32.store (i32.const 40) (i32.const 1)) (i32.const 32)";
        Written { body: &body, run, ..Written::default() }.bytes()
    }

    fn text(&self) -> String {
        let Self { body, memory, run, describe_type, imports, exports } = self;
        let lift = r#"(memory (core memory $i "memory")) (realloc (core func $i "realloc"))"#;
        let lift_describe = if *describe_type == "string" { lift } else { "" };
        format!(
            r#"(component
                {imports}
                (import "lovage:task/types@0.1.0" (instance $types
                    (type $raw (record (field "exc-type" string) (field "exc-message" string)
                        (field "exc-module" string) (field "traceback" string)))
                    (export "exception" (type $exception (eq $raw)))
                    (type $raw-ending (variant (case "failure" $exception) (case "retry") (case "replaced")
                        (case "ignore") (case "reject" bool)))
                    (export "ending" (type $ending (eq $raw-ending)))))
                (alias export $types "ending" (type $ending))
                (core module $m
                    (memory (export "memory") {memory})
                    (data (i32.const 64) "[{{\"name\":\"it.runs\"}}]")
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
                    (func (export "describe") (result i32)
                        (i32.store (i32.const 16) (i32.const 64))
                        (i32.store (i32.const 20) (i32.const 20))
                        (i32.const 16))
                    (func (export "run") (param i32 i32 i32 i32 i32 i32) (result i32) {run})
                    {body})
                (core instance $i (instantiate $m))
                (func $describe (result {describe_type}) (canon lift (core func $i "describe") {lift_describe}))
                (func $run (param "task" string) (param "args" string) (param "kwargs" string)
                    (result (result string (error $ending))) (canon lift (core func $i "run") {lift}))
                (instance $tasks (export "describe" (func $describe)) (export "run" (func $run)))
                (export "{exports}" (instance $tasks)))"#
        )
    }
}

//! Components written by hand, for what no toolchain makes.

/// A component that fits the contract, with a core module of one's own: `body` is added to it, `memory` and `run` are
/// its memory's limits and the code of `run`.
pub(crate) struct Written<'a> {
    pub(crate) body: &'a str,
    pub(crate) memory: &'a str,
    pub(crate) run: &'a str,
    pub(crate) describe_type: &'a str,
    pub(crate) imports: &'a str,
    pub(crate) exports: &'a str,
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
    pub(crate) fn bytes(&self) -> Vec<u8> {
        wat::parse_str(self.text()).unwrap_or_else(|error| panic!("{error}\n{}", self.text()))
    }

    fn text(&self) -> String {
        let Self { body, memory, run, describe_type, imports, exports } = self;
        let lift = r#"(memory $i "memory") (realloc (func $i "realloc"))"#;
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

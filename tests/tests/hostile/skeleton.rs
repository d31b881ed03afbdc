//! Components out of the skeleton in `tests/guests/hostile`: text goes into its holes.

/// The text with the holes.
pub(crate) const SKELETON: &str = include_str!("../../guests/hostile/skeleton.wat");

/// What the main module can call: its name there, where it comes from, its type once lowered.
const LOWERED: [(&str, &str, &str); 41] = [
    ("request", "$host request", "(param i32)"),
    ("update-state", "$host update-state", "(param i32 i32 i32 i32 i32)"),
    ("retry", "$host retry", "(param i32 i32)"),
    ("replace", "$host replace", "(param i32 i32 i32)"),
    ("apply-async", "$host apply-async", "(param i32 i32 i32)"),
    ("send-event", "$host send-event", "(param i32 i32 i32 i32 i32)"),
    ("log", "$host log", "(param i32 i32 i32)"),
    ("limits", "$host limits", "(param i32)"),
    ("soft", "$host soft-time-limit-exceeded", "(result i32)"),
    ("sleep", "$host sleep", "(param f64 i32)"),
    ("subscribe", "$host subscribe-soft-limit", "(result i32)"),
    ("ready", "$poll [method]pollable.ready", "(param i32) (result i32)"),
    ("block", "$poll [method]pollable.block", "(param i32)"),
    ("poll", "$poll poll", "(param i32 i32 i32)"),
    ("read", "$streams [method]input-stream.read", "(param i32 i64 i32)"),
    ("check-write", "$streams [method]output-stream.check-write", "(param i32 i32)"),
    ("write", "$streams [method]output-stream.write", "(param i32 i32 i32 i32)"),
    ("write-all", "$streams [method]output-stream.blocking-write-and-flush", "(param i32 i32 i32 i32)"),
    ("write-zeroes", "$streams [method]output-stream.write-zeroes", "(param i32 i64 i32)"),
    ("splice", "$streams [method]output-stream.splice", "(param i32 i32 i64 i32)"),
    ("stdout", "$stdout get-stdout", "(result i32)"),
    ("stderr", "$stderr get-stderr", "(result i32)"),
    ("stdin", "$stdin get-stdin", "(result i32)"),
    ("environment", "$environment get-environment", "(param i32)"),
    ("arguments", "$environment get-arguments", "(param i32)"),
    ("cwd", "$environment initial-cwd", "(param i32)"),
    ("now", "$clock now", "(result i64)"),
    ("resolution", "$clock resolution", "(result i64)"),
    ("at-instant", "$clock subscribe-instant", "(param i64) (result i32)"),
    ("after-duration", "$clock subscribe-duration", "(param i64) (result i32)"),
    ("random", "$random get-random-bytes", "(param i64 i32)"),
    ("insecure", "$insecure get-insecure-random-bytes", "(param i64 i32)"),
    ("same-object", "$files [method]descriptor.is-same-object", "(param i32 i32) (result i32)"),
    ("directories", "$preopens get-directories", "(param i32)"),
    ("network", "$instance-network instance-network", "(result i32)"),
    ("resolve", "$lookup resolve-addresses", "(param i32 i32 i32 i32)"),
    ("tcp", "$tcp-create create-tcp-socket", "(param i32 i32)"),
    ("udp", "$udp-create create-udp-socket", "(param i32 i32)"),
    ("drop-pollable", "drop $pollable", "(param i32)"),
    ("drop-output", "drop $output", "(param i32)"),
    ("drop-descriptor", "drop $descriptor", "(param i32)"),
];

/// What goes into the holes. The default is a well-behaved component that returns 1.
#[derive(Debug, Clone)]
pub(crate) struct Holes<'a> {
    /// At the front of the component, after its imports: the first core module is here, if there is one.
    pub(crate) first: &'a str,
    /// The limits of the memory, in pages.
    pub(crate) memory: &'a str,
    /// More fields of the module with `realloc`.
    pub(crate) realloc_fields: &'a str,
    /// The code of `realloc`.
    pub(crate) realloc: &'a str,
    /// In the component, where `$lowered` is known and the main module is not.
    pub(crate) core: &'a str,
    /// More arguments of the main module's instance.
    pub(crate) with: &'a str,
    /// More imports of the main module.
    pub(crate) imported: &'a str,
    /// More fields of the main module.
    pub(crate) fields: &'a str,
    /// The code of `describe`, before it returns.
    pub(crate) describe: &'a str,
    /// The code of `run`: leaves the address of its result.
    pub(crate) run: &'a str,
    /// More options of how `run` is lifted.
    pub(crate) lift_run: &'a str,
    /// At the end of the component.
    pub(crate) last: &'a str,
}

impl Default for Holes<'_> {
    fn default() -> Self {
        Self {
            first: "",
            memory: "1",
            realloc_fields: "",
            realloc: "(global.get $at) (global.set $at (i32.and (i32.const -16)
                (i32.add (i32.const 15) (i32.add (global.get $at) (local.get $size)))))",
            core: "",
            with: "",
            imported: "",
            fields: "",
            describe: "",
            run: "(call $one)",
            lift_run: "",
            last: "",
        }
    }
}

impl Holes<'_> {
    /// The text.
    pub(crate) fn text(&self) -> String {
        let mut lowered = String::new();
        let mut exports = String::new();
        let mut imported = self.imported.to_owned();
        for (name, from, core_type) in LOWERED {
            let (instance, function) = from.split_once(' ').expect("an instance and a function");
            lowered += &match instance {
                "drop" => format!("(core func ${name} (canon resource.drop {function}))\n"),
                _ => format!(
                    "(core func ${name} (canon lower (func {instance} \"{function}\") (memory (core memory $libc \"memory\"))
                        (realloc (core func $libc \"realloc\"))))\n"
                ),
            };
            exports += &format!("(export \"{name}\" (func ${name}))");
            imported += &format!("(import \"host\" \"{name}\" (func ${name} {core_type}))\n");
        }
        lowered += &format!("(core instance $lowered {exports})");
        let holes = [
            ("first", self.first),
            ("memory", self.memory),
            ("realloc-fields", self.realloc_fields),
            ("realloc", self.realloc),
            ("lowered", &lowered),
            ("core", self.core),
            ("with", self.with),
            ("imported", &imported),
            ("fields", self.fields),
            ("describe", self.describe),
            ("run", self.run),
            ("lift-run", self.lift_run),
            ("last", self.last),
        ];
        holes.iter().fold(SKELETON.to_owned(), |text, (name, with)| text.replace(&format!("<{name}>"), with))
    }

    /// The binary.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        binary(&self.text())
    }
}

/// A component, or anything else, out of its text.
pub(crate) fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A component that is well-behaved but for what its task does.
pub(crate) fn running(run: &str) -> Vec<u8> {
    Holes { run, ..Holes::default() }.bytes()
}

/// The same with more fields in its main module.
pub(crate) fn with_fields(fields: &str, run: &str) -> Vec<u8> {
    Holes { fields, run, ..Holes::default() }.bytes()
}

/// The same with a memory of so many pages.
pub(crate) fn with_memory(memory: &str, fields: &str, run: &str) -> Vec<u8> {
    Holes { memory, fields, run, ..Holes::default() }.bytes()
}

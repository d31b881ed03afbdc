//! Canvases at random, each task with a number of its own.

use lovage_model::{Canvas, Json, Signature};

/// The name of every task.
pub(super) const TASK: &str = "t.task";

/// Where chance comes from: bytes, then nothing but zeroes.
pub(super) struct Tape(std::vec::IntoIter<u8>);

impl Tape {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into_iter())
    }

    /// A number below `below`.
    pub(super) fn next(&mut self, below: usize) -> u32 {
        u32::from(self.0.next().unwrap_or_default()) % u32::try_from(below).unwrap()
    }
}

#[derive(Debug, Clone)]
pub(super) enum Shape {
    Task { number: u32, immutable: bool },
    Chain(Vec<Shape>),
    Group(Vec<Shape>),
    Chord(Vec<Shape>, Box<Shape>),
}

impl Shape {
    pub(super) fn task(made: &mut u32, immutable: bool) -> Self {
        *made += 1;
        Self::Task { number: *made, immutable }
    }

    pub(super) fn random(tape: &mut Tape, made: &mut u32, depth: u32) -> Self {
        let kind = if depth == 0 { 0 } else { tape.next(8) };
        let mut some = |tape: &mut Tape| (0..=tape.next(4)).map(|_| Self::random(tape, made, depth - 1)).collect();
        match kind {
            2 | 3 => Self::Chain(some(tape)),
            4 | 5 => Self::Group(some(tape)),
            6 | 7 => {
                let header = some(tape);
                Self::Chord(header, Box::new(Self::random(tape, made, depth - 1)))
            }
            _ => Self::task(made, tape.next(5) == 1),
        }
    }

    pub(super) fn signature(&self) -> Signature {
        Json::of(&self.canvas()).unwrap().read().unwrap()
    }

    fn canvas(&self) -> Canvas {
        let all = |shapes: &[Self]| shapes.iter().map(Self::canvas).collect::<Vec<_>>();
        match self {
            Self::Task { number, immutable } => {
                Canvas::task(TASK).arg(Json::from(serde_json::Value::from(*number))).immutable(*immutable)
            }
            Self::Chain(steps) => Canvas::chain(all(steps)),
            Self::Group(members) => Canvas::group(all(members)),
            Self::Chord(header, body) => Canvas::chord(Canvas::group(all(header)), body.canvas()),
        }
    }
}

//! How much is a signature, with all that is in it?
//!
//! What is said of a canvas, or linked to it, is copied to each of its tasks: a text of a megabyte can be ten thousand links for each of ten
//! thousand members. So copies are counted, and what they say is, before they are made.

use lovage_model::{Fields, WireOptions, WireShape, WireSignature};

use super::{Invalid, Scope};

/// What a signature takes besides what it says, where it is written.
const EACH_BYTES: usize = 256;

/// How many signatures there are, and how long what they say is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    calls: usize,
    bytes: usize,
}

impl Extent {
    /// Of signatures, with what they are made of, what is linked to them and what follows them.
    pub(super) fn of<'s>(all: impl IntoIterator<Item = &'s WireSignature>) -> Self {
        all.into_iter().fold(Self::default(), |sum, sig| sum.and(Self::of_one(sig)))
    }

    fn of_one(sig: &WireSignature) -> Self {
        let own = Self { calls: 1, bytes: sig.args.as_str().len() };
        let made_of = match &sig.shape {
            WireShape::Task(kwargs) => Self::said(kwargs),
            WireShape::Chain(tasks) | WireShape::Group(tasks) => Self::of(tasks),
            WireShape::Chord { header, body, kwargs } => {
                Self::said(kwargs).and(Self::of(header)).and(Self::of(body.as_deref()))
            }
        };
        own.and(made_of).and(Self::of_options(&sig.options))
    }

    /// Of all that options say.
    pub(super) fn of_options(options: &WireOptions) -> Self {
        let WireOptions { chord, chain, link, link_error, rest, .. } = options;
        let linked = Self::of(link).and(Self::of(link_error)).and(Self::of(chain.iter().flatten()));
        Self::said(rest).and(linked).and(Self::of(chord.as_deref()))
    }

    fn said(fields: &Fields) -> Self {
        Self { calls: 0, bytes: fields.iter().map(|(name, value)| name.len() + value.as_str().len()).sum() }
    }

    fn and(self, other: Self) -> Self {
        Self { calls: self.calls.saturating_add(other.calls), bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// Of so many copies.
    pub(super) fn times(self, copies: usize) -> Self {
        Self { calls: self.calls.saturating_mul(copies), bytes: self.bytes.saturating_mul(copies) }
    }

    /// About how long all of it is as text.
    pub(super) fn text_bytes(self) -> usize {
        self.calls.saturating_mul(EACH_BYTES).saturating_add(self.bytes)
    }
}

impl Scope<'_> {
    /// Copies so much, if it may be copied.
    pub(super) fn copy(&mut self, extent: Extent) -> Result<(), Invalid> {
        // Nothing may be copied at any time, also after there was too much.
        if extent == Extent::default() {
            return Ok(());
        }
        self.link(extent.calls)?;
        self.make(extent.bytes)
    }
}

//! What does `#[task(...)]` ask for?

mod value;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, MetaNameValue, Result, Token};

use value::Kind;

/// The options there are, in the order of the model.
const KNOWN: [(&str, Kind); 25] = [
    ("max_retries", Kind::Retries),
    ("default_retry_delay", Kind::Seconds),
    ("autoretry_for", Kind::Exceptions),
    ("dont_autoretry_for", Kind::Exceptions),
    ("retry_backoff", Kind::Backoff),
    ("retry_backoff_max", Kind::Seconds),
    ("retry_jitter", Kind::Flag),
    ("throws", Kind::Exceptions),
    ("acks_late", Kind::Flag),
    ("acks_on_failure", Kind::Flag),
    ("reject_on_worker_lost", Kind::Flag),
    ("ignore_result", Kind::Flag),
    ("store_errors_even_if_ignored", Kind::Flag),
    ("track_started", Kind::Flag),
    ("rate_limit", Kind::Rate),
    ("time_limit", Kind::Limit),
    ("soft_time_limit", Kind::Limit),
    ("expires", Kind::Limit),
    ("priority", Kind::Priority),
    ("serializer", Kind::Serializer),
    ("compression", Kind::Compression),
    ("resultrepr_maxsize", Kind::Bytes),
    ("trail", Kind::Flag),
    ("shadow", Kind::Text),
    ("typing", Kind::Flag),
];

/// The handlers there are, and how many arguments each takes.
pub(crate) const HANDLERS: [(&str, usize); 5] =
    [("before_start", 1), ("on_success", 2), ("on_retry", 2), ("on_failure", 2), ("after_return", 3)];

/// What was written, checked; what is left out has its default.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    /// The options, with the values of their fields.
    pub(crate) chosen: Vec<(Ident, TokenStream)>,
    /// The handlers, with the paths of their functions.
    pub(crate) handlers: Vec<(Ident, Expr)>,
    soft_time_limit: Option<f64>,
    time_limit: Option<f64>,
}

impl Parse for Options {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut options = Self::default();
        let mut faults: Option<Error> = None;
        let mut seen: Vec<String> = Vec::new();
        let written = Punctuated::<MetaNameValue, Token![,]>::parse_terminated(input).map_err(|fault| {
            Error::new(fault.span(), format!("options are written `#[task(name = value, ...)]`: {fault}"))
        })?;
        for option in &written {
            let name = option.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let read = if seen.contains(&name) {
                Err(Error::new(option.path.span(), format!("`{name}` is given twice")))
            } else {
                options.set(&name, option)
            };
            seen.push(name);
            if let Err(fault) = read.and_then(|()| options.check(option)) {
                faults = Some(faults.map_or(fault.clone(), |mut all| {
                    all.combine(fault);
                    all
                }));
            }
        }
        faults.map_or(Ok(options), Err)
    }
}

impl Options {
    fn set(&mut self, name: &str, option: &MetaNameValue) -> Result<()> {
        let (ident, value) = (option.path.get_ident(), &option.value);
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        match (ident, known) {
            (Some(_), None) if name == "name" => self.name = Some(value::task_name(value)?),
            (Some(ident), None) if HANDLERS.iter().any(|(handler, _)| *handler == name) => {
                self.handlers.push((ident.clone(), handler(name, value)?));
            }
            (Some(ident), Some((_, kind))) => {
                self.chosen.push((ident.clone(), kind.read(name, value)?));
                match name {
                    "soft_time_limit" => self.soft_time_limit = value::number(value),
                    "time_limit" => self.time_limit = value::number(value),
                    _ => {}
                }
            }
            _ => {
                let handlers = HANDLERS.iter().map(|(name, _)| *name);
                let known: Vec<_> =
                    ["name"].into_iter().chain(KNOWN.iter().map(|(name, _)| *name)).chain(handlers).collect();
                let text = format!("unknown option `{name}`; there are {}", known.join(", "));
                return Err(Error::new(option.path.span(), text));
            }
        }
        Ok(())
    }

    /// What holds between two options, once both are known.
    fn check(&self, last: &MetaNameValue) -> Result<()> {
        match (self.soft_time_limit, self.time_limit) {
            (Some(soft), Some(hard))
                if soft >= hard
                    && last.path.get_ident().is_some_and(|name| name.to_string().ends_with("time_limit")) =>
            {
                let text = format!(
                    "soft_time_limit ({soft}) must be below time_limit ({hard}): \
                    a task is told to end before it is killed"
                );
                Err(Error::new(last.value.span(), text))
            }
            _ => Ok(()),
        }
    }
}

fn handler(name: &str, value: &Expr) -> Result<Expr> {
    match value {
        Expr::Path(_) => Ok(value.clone()),
        Expr::Group(group) => handler(name, &group.expr),
        _ => {
            let text = format!(
                "{name} is the name of a function, such as `{name} = told` beside `fn told(ctx: &Context, ..)`"
            );
            Err(Error::new(value.span(), text))
        }
    }
}

impl ToTokens for Options {
    /// The fields of the options that were written.
    fn to_tokens(&self, tokens: &mut TokenStream) {
        for (name, value) in &self.chosen {
            tokens.extend(quote!(#name: #value,));
        }
    }
}

//! Can an option have this value, and how is it written in Rust?

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Lit, Result};

/// The longest time, as the model has it: 366 days.
const MOST_SECONDS: f64 = 366.0 * 86_400.0;
/// The most starts in a time, as the model has it.
const MOST_STARTS: f64 = 1e9;
/// The longest name for logs and lists, in bytes.
const SHADOW_BYTES: usize = 255;

/// What an option can be.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Retries,
    Seconds,
    Limit,
    Backoff,
    Flag,
    Priority,
    Exceptions,
    Rate,
    Serializer,
    Compression,
    Bytes,
    Text,
}

impl Kind {
    /// The value of the option's field.
    pub(super) fn read(self, name: &str, value: &Expr) -> Result<TokenStream> {
        let read = match self {
            Self::Retries => retries(value),
            Self::Seconds => seconds(value).map(|seconds| quote!(#seconds)),
            Self::Limit => match seconds(value) {
                Some(0.0) => {
                    return Err(Error::new(value.span(), format!("{name} must be above 0: no task could run")));
                }
                limit => limit.map(some),
            },
            Self::Backoff => backoff(value),
            Self::Flag => flag(value).map(|flag| quote!(#flag)),
            Self::Priority => integer::<u8>(value).filter(|priority| *priority <= 9).map(some),
            Self::Exceptions => exceptions(value),
            Self::Rate => rate(value).map(some),
            Self::Serializer => one_of(value, &[("json", "Json"), ("msgpack", "Msgpack")])
                .map(|variant| quote!(::lovage_guest::Serializer::#variant)),
            Self::Compression => one_of(value, &[("gzip", "Gzip"), ("zstd", "Zstd")])
                .map(|variant| some(quote!(::lovage_guest::Compression::#variant))),
            Self::Bytes => integer::<u32>(value).map(|bytes| {
                let bytes = proc_macro2::Literal::usize_suffixed(bytes as usize);
                quote!(#bytes)
            }),
            Self::Text => {
                text(value).filter(|text| text.len() <= SHADOW_BYTES && !text.chars().any(char::is_control)).map(some)
            }
        };
        read.ok_or_else(|| Error::new(value.span(), format!("{name} is {}", self.wanted())))
    }

    fn wanted(self) -> String {
        match self {
            Self::Retries => "a whole number from 0, or None for no end of retries".to_owned(),
            Self::Seconds | Self::Limit => format!("a number of seconds from 0 to {MOST_SECONDS}, such as 2.5"),
            Self::Backoff => format!("true (1 second), false, or a number of seconds from 0 to {MOST_SECONDS}"),
            Self::Flag => "true or false".to_owned(),
            Self::Priority => "a whole number from 0 (first) to 9 (last)".to_owned(),
            Self::Exceptions => {
                "a list of exceptions by name, such as [\"KeyError\", \"requests.exceptions.Timeout\"]; \
                 \"Exception\" is any"
                    .to_owned()
            }
            Self::Rate => "a rate such as \"10/s\", \"100/m\", \"5/h\" or 2.5 (a second)".to_owned(),
            Self::Serializer => "\"json\" or \"msgpack\"".to_owned(),
            Self::Compression => "\"gzip\" or \"zstd\"".to_owned(),
            Self::Bytes => "a number of bytes".to_owned(),
            Self::Text => format!("a text of at most {SHADOW_BYTES} bytes, without control characters"),
        }
    }
}

/// The name of a task.
pub(super) fn task_name(value: &Expr) -> Result<String> {
    let Some(name) = text(value) else {
        return Err(Error::new(value.span(), "name is a text, such as \"images.resize\""));
    };
    let fits = |c: char| c.is_alphanumeric() || "_.-:".contains(c);
    if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
        return Err(Error::new(value.span(), "a task name is 1 to 255 bytes of letters, digits, '_', '.', '-' or ':'"));
    }
    Ok(name)
}

/// A number, whole or not.
pub(super) fn number(value: &Expr) -> Option<f64> {
    match literal(value)? {
        Lit::Float(number) => number.base10_parse::<f64>().ok(),
        Lit::Int(number) => number.base10_parse::<f64>().ok(),
        _ => None,
    }
}

fn some(value: impl quote::ToTokens) -> TokenStream {
    quote!(::core::option::Option::Some(#value))
}

fn none() -> TokenStream {
    quote!(::core::option::Option::None)
}

fn retries(value: &Expr) -> Option<TokenStream> {
    match value {
        Expr::Path(path) if path.path.is_ident("None") => Some(none()),
        _ => integer::<u32>(value).map(some),
    }
}

fn seconds(value: &Expr) -> Option<f64> {
    number(value).filter(|number| (0.0..=MOST_SECONDS).contains(number))
}

/// As in Celery, where `True` counts as 1.
fn backoff(value: &Expr) -> Option<TokenStream> {
    match (flag(value), seconds(value)) {
        (Some(true), _) => Some(some(1.0_f64)),
        (Some(false), _) | (_, Some(0.0)) => Some(none()),
        (None, seconds) => seconds.map(some),
    }
}

fn flag(value: &Expr) -> Option<bool> {
    match literal(value)? {
        Lit::Bool(flag) => Some(flag.value),
        _ => None,
    }
}

fn integer<N: std::str::FromStr<Err: std::fmt::Display>>(value: &Expr) -> Option<N> {
    match literal(value)? {
        Lit::Int(number) => number.base10_parse().ok(),
        _ => None,
    }
}

fn text(value: &Expr) -> Option<String> {
    match literal(value)? {
        Lit::Str(text) => Some(text.value()),
        _ => None,
    }
}

fn exceptions(value: &Expr) -> Option<TokenStream> {
    let Expr::Array(array) = value else { return None };
    let names: Vec<String> = array.elems.iter().map(text).collect::<Option<_>>()?;
    let is_part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    names.iter().all(|name| name.split('.').all(is_part)).then(|| quote!(&[#(#names),*]))
}

/// As the model reads it.
fn rate(value: &Expr) -> Option<String> {
    let text = text(value).or_else(|| number(value).map(|number| number.to_string()))?;
    let (count, unit) = text.split_once('/').unwrap_or((&text, "s"));
    let count = count.trim().parse::<f64>().ok()?;
    (["s", "m", "h"].contains(&unit) && (0.0..=MOST_STARTS).contains(&count)).then_some(text)
}

fn one_of(value: &Expr, known: &[(&str, &str)]) -> Option<syn::Ident> {
    let text = text(value)?;
    let (_, variant) = known.iter().find(|(name, _)| *name == text)?;
    Some(syn::Ident::new(variant, proc_macro2::Span::call_site()))
}

fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

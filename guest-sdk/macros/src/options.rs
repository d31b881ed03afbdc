//! What does `#[task(...)]` ask for?

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Lit, MetaNameValue, Result, Token};

/// The options there are, for the message about one that there is not.
const KNOWN: [&str; 7] =
    ["name", "max_retries", "default_retry_delay", "soft_time_limit", "time_limit", "ignore_result", "priority"];

/// The longest time, as the model has it: 366 days.
const MOST_SECONDS: f64 = 366.0 * 86_400.0;

/// What was written; none: the default.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    /// The inner `None` is the author's: no end of retries.
    pub(crate) max_retries: Option<Option<u32>>,
    pub(crate) default_retry_delay: Option<f64>,
    pub(crate) soft_time_limit: Option<f64>,
    pub(crate) time_limit: Option<f64>,
    pub(crate) ignore_result: Option<bool>,
    pub(crate) priority: Option<u8>,
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
        let value = &option.value;
        match name {
            "name" => self.name = Some(task_name(value)?),
            "max_retries" => self.max_retries = Some(retries(value)?),
            "default_retry_delay" => self.default_retry_delay = Some(seconds(name, value)?),
            "soft_time_limit" => self.soft_time_limit = Some(limit(name, value)?),
            "time_limit" => self.time_limit = Some(limit(name, value)?),
            "ignore_result" => self.ignore_result = Some(boolean(name, value)?),
            "priority" => self.priority = Some(priority(value)?),
            _ => {
                let known = KNOWN.join(", ");
                return Err(Error::new(option.path.span(), format!("unknown option `{name}`; there are {known}")));
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

fn task_name(value: &Expr) -> Result<String> {
    let Some(Lit::Str(text)) = literal(value) else {
        return Err(Error::new(value.span(), "name is a text, such as \"images.resize\""));
    };
    let name = text.value();
    let fits = |c: char| c.is_alphanumeric() || "_.-:".contains(c);
    if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
        return Err(Error::new(value.span(), "a task name is 1 to 255 letters, digits, '_', '.', '-' or ':'"));
    }
    Ok(name)
}

fn retries(value: &Expr) -> Result<Option<u32>> {
    if matches!(value, Expr::Path(path) if path.path.is_ident("None")) {
        return Ok(None);
    }
    match literal(value) {
        Some(Lit::Int(number)) if number.base10_parse::<u32>().is_ok() => number.base10_parse().map(Some),
        _ => Err(Error::new(value.span(), "max_retries is a whole number from 0, or None for no end of retries")),
    }
}

fn seconds(name: &str, value: &Expr) -> Result<f64> {
    let number = match literal(value) {
        Some(Lit::Float(number)) => number.base10_parse::<f64>().ok(),
        Some(Lit::Int(number)) => number.base10_parse::<f64>().ok(),
        _ => None,
    };
    number.filter(|number| (0.0..=MOST_SECONDS).contains(number)).ok_or_else(|| {
        Error::new(value.span(), format!("{name} is a number of seconds from 0 to {MOST_SECONDS}, such as 2.5"))
    })
}

fn limit(name: &str, value: &Expr) -> Result<f64> {
    match seconds(name, value)? {
        0.0 => Err(Error::new(value.span(), format!("{name} must be above 0: no task could run"))),
        number => Ok(number),
    }
}

fn boolean(name: &str, value: &Expr) -> Result<bool> {
    match literal(value) {
        Some(Lit::Bool(flag)) => Ok(flag.value),
        _ => Err(Error::new(value.span(), format!("{name} is true or false"))),
    }
}

fn priority(value: &Expr) -> Result<u8> {
    match literal(value) {
        Some(Lit::Int(number)) => number.base10_parse::<u8>().ok().filter(|priority| *priority <= 9),
        _ => None,
    }
    .ok_or_else(|| Error::new(value.span(), "priority is a whole number from 0 (first) to 9 (last)"))
}

fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}

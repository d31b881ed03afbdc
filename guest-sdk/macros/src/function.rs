//! Can this function be a task, and what are its parameters?

use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, FnArg, Ident, ItemFn, Lit, Meta, Pat, PatType, Result, ReturnType, Signature, Type};

/// A function that can be a task.
pub(crate) struct Function {
    /// The function itself, without what only `#[task]` understands.
    pub(crate) item: ItemFn,
    /// Its doc comment, without the indentation of its lines.
    pub(crate) doc: String,
    /// Whether its first parameter is the context.
    pub(crate) takes_context: bool,
    /// Its arguments, in order.
    pub(crate) parameters: Vec<Parameter>,
}

/// One argument.
pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) absent: Absent,
}

/// What an argument is when it is left out.
pub(crate) enum Absent {
    /// An error.
    Required,
    /// Its type's default.
    Default,
    /// This.
    Value(Box<Expr>),
    /// It takes all further ones without a name, so there may be none.
    Args,
    /// It takes all further ones with a name.
    Kwargs,
}

impl Parameter {
    /// The name that callers use: without the `r#` of a keyword.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// As in Python: those that take one, then `*args`, then `**kwargs`, each of these once.
    fn may_stand_before(&self, next: &Self) -> bool {
        match self.absent {
            Absent::Args => matches!(next.absent, Absent::Kwargs),
            Absent::Kwargs => false,
            _ => true,
        }
    }

    pub(crate) fn is_required(&self) -> bool {
        matches!(self.absent, Absent::Required)
    }
}

impl Function {
    /// Checks all of it and reports every fault.
    pub(crate) fn read(mut item: ItemFn) -> Result<Self> {
        let mut faults = kind_faults(&item.sig);
        let mut takes_context = false;
        let mut parameters: Vec<Parameter> = Vec::new();
        for (place, input) in item.sig.inputs.iter().enumerate() {
            match read_input(input, place) {
                Ok(None) => takes_context = true,
                Ok(Some(parameter)) => {
                    faults.extend(order_fault(parameters.last(), &parameter));
                    parameters.push(parameter);
                }
                Err(fault) => faults.push(fault),
            }
        }
        let all = faults.into_iter().reduce(|mut all, fault| {
            all.combine(fault);
            all
        });
        if let Some(all) = all {
            return Err(all);
        }
        let doc = doc(&item.attrs);
        strip(&mut item);
        Ok(Self { item, doc, takes_context, parameters })
    }

    /// Where to point when what it returns does not fit.
    pub(crate) fn output_span(&self) -> proc_macro2::Span {
        match &self.item.sig.output {
            ReturnType::Default => self.item.sig.ident.span(),
            ReturnType::Type(_, ty) => ty.span(),
        }
    }
}

/// The attributes of parameters, which the compiler does not know.
const ATTRIBUTES: [&str; 3] = ["default", "args", "kwargs"];

/// Removes them from the parameters.
pub(crate) fn strip(item: &mut ItemFn) {
    for input in &mut item.sig.inputs {
        if let FnArg::Typed(input) = input {
            input.attrs.retain(|attribute| !ATTRIBUTES.iter().any(|known| attribute.path().is_ident(known)));
        }
    }
}

/// What no task can be, whatever its parameters.
fn kind_faults(sig: &Signature) -> Vec<Error> {
    let mut faults = Vec::new();
    if let Some(token) = &sig.asyncness {
        faults.push(Error::new(token.span(), "a task is not async: it has its sandbox to itself, so it may block"));
    }
    if let Some(token) = &sig.unsafety {
        faults.push(Error::new(token.span(), "a task is not unsafe: anybody may call it with anything"));
    }
    if let Some(abi) = &sig.abi {
        faults.push(Error::new(abi.span(), "a task is a plain Rust function: leave out `extern`"));
    }
    if let Some(parameter) = sig.generics.params.first() {
        faults.push(Error::new(parameter.span(), "a task is not generic: it is called by name, with JSON"));
    }
    faults
}

/// One parameter; none if it is the context.
fn read_input(input: &FnArg, place: usize) -> Result<Option<Parameter>> {
    let input = match input {
        FnArg::Receiver(receiver) => {
            return Err(Error::new(
                receiver.span(),
                "a task is a free function: move it out of its `impl`, without `self`",
            ));
        }
        FnArg::Typed(input) => input,
    };
    if is_named(referred(&input.ty), "Context") {
        return context(input, place).map(|()| None);
    }
    match &*input.ty {
        Type::Reference(reference) => {
            let text =
                "a task owns its arguments, since they come as JSON: take `String` for `&str`, `Vec<T>` for `&[T]`";
            return Err(Error::new(reference.span(), text));
        }
        Type::ImplTrait(ty) => {
            return Err(Error::new(ty.span(), "a task is not generic: name the type of this argument"));
        }
        _ => {}
    }
    let Pat::Ident(pattern) = &*input.pat else {
        return Err(Error::new(
            input.pat.span(),
            "name this argument, and take it apart inside: callers may pass it by name",
        ));
    };
    let ident = pattern.ident.clone();
    Ok(Some(Parameter { ident, ty: (*input.ty).clone(), absent: absent(input)? }))
}

fn context(input: &PatType, place: usize) -> Result<()> {
    if place > 0 {
        return Err(Error::new(input.span(), "the context comes first, and once"));
    }
    match &*input.ty {
        Type::Reference(reference) if reference.mutability.is_none() => Ok(()),
        ty => Err(Error::new(ty.span(), "the context is taken as `&Context`")),
    }
}

/// Whether it takes all further ones.
fn takes_all(input: &PatType) -> Result<Option<Absent>> {
    let mut found = input.attrs.iter().filter(|it| it.path().is_ident("args") || it.path().is_ident("kwargs"));
    let Some(first) = found.next() else { return Ok(None) };
    if let Some(other) = found.next().or_else(|| input.attrs.iter().find(|it| it.path().is_ident("default"))) {
        return Err(Error::new(
            other.span(),
            "one of `#[args]`, `#[kwargs]` and `#[default]`: the first two may be empty anyway",
        ));
    }
    if !matches!(first.meta, Meta::Path(_)) {
        return Err(Error::new(first.span(), "write `#[args]` or `#[kwargs]`, without a value"));
    }
    Ok(Some(if first.path().is_ident("args") { Absent::Args } else { Absent::Kwargs }))
}

fn absent(input: &PatType) -> Result<Absent> {
    if let Some(all) = takes_all(input)? {
        return Ok(all);
    }
    let mut defaults = input.attrs.iter().filter(|attribute| attribute.path().is_ident("default"));
    let first = defaults.next();
    if let Some(second) = defaults.next() {
        return Err(Error::new(second.span(), "`#[default]` is given twice"));
    }
    let usage = "write `#[default]` for the type's default, or `#[default(value)]`";
    match first.map(|attribute| &attribute.meta) {
        Some(Meta::Path(_)) => Ok(Absent::Default),
        Some(Meta::List(list)) => {
            let value = list.parse_args::<Expr>().map_err(|_| Error::new(list.span(), usage))?;
            Ok(Absent::Value(Box::new(value)))
        }
        Some(Meta::NameValue(wrong)) => Err(Error::new(wrong.span(), usage)),
        None if is_named(&input.ty, "Option") => Ok(Absent::Default),
        None => Ok(Absent::Required),
    }
}

/// As in Python: an argument that must be passed does not come after one that may be left out.
fn order_fault(before: Option<&Parameter>, this: &Parameter) -> Option<Error> {
    if let Some(after) = before.filter(|before| !before.may_stand_before(this)) {
        let text = format!("`{}` takes all that is left, so it comes after `{}`", after.name(), this.name());
        return Some(Error::new(this.ident.span(), text));
    }
    let before = before.filter(|before| this.is_required() && !before.is_required())?;
    let text =
        format!("`{}` must be passed, so it comes before `{}`, which may be left out", this.name(), before.name());
    Some(Error::new(this.ident.span(), text))
}

fn referred(ty: &Type) -> &Type {
    match ty {
        Type::Reference(reference) => &reference.elem,
        other => other,
    }
}

fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == name))
}

fn doc(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(syn::ExprLit { lit: Lit::Str(text), .. }) => {
                let text = text.value();
                Some(text.strip_prefix(' ').unwrap_or(&text).trim_end().to_owned())
            }
            _ => None,
        },
        _ => None,
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join("\n").trim().to_owned()
}

//! What stands beside the function: a type of its name, the task's definition, its call, and its signatures.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Ident, Lit};

use crate::function::{Absent, Function, Parameter};
use crate::options::{HANDLERS, Options};

/// All of it.
pub(crate) fn task(options: &Options, function: &Function) -> TokenStream {
    let item = &function.item;
    let (vis, ident) = (&item.vis, &item.sig.ident);
    let docs = item.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let definition = definition(options, function);
    let handlers = handlers(options);
    let call = call(function);
    let signatures = signatures(function);
    quote! {
        #item

        #(#docs)*
        #[allow(non_camel_case_types, dead_code)]
        #[derive(Debug)]
        #vis struct #ident {}

        #[automatically_derived]
        #[allow(clippy::needless_update)]
        impl ::lovage_guest::Task for #ident {
            const DEFINITION: ::lovage_guest::Definition = #definition;
            #handlers
            #call
        }

        #signatures
    }
}

fn definition(options: &Options, function: &Function) -> TokenStream {
    let function_name = function.item.sig.ident.unraw().to_string();
    let name = match &options.name {
        Some(name) => quote!(#name),
        None => {
            let tail = format!(".{function_name}");
            quote!(::core::concat!(::core::env!("CARGO_CRATE_NAME"), #tail))
        }
    };
    let doc = &function.doc;
    let parameters = function.parameters.iter().map(|parameter| {
        let (name, required) = (parameter.name(), parameter.is_required());
        let kind = match parameter.absent {
            Absent::Args => quote!(Args),
            Absent::Kwargs => quote!(Kwargs),
            _ => quote!(One),
        };
        quote!(::lovage_guest::Parameter {
            name: #name,
            required: #required,
            kind: ::lovage_guest::ParameterKind::#kind,
        })
    });
    quote! {
        ::lovage_guest::Definition {
            name: #name,
            function: #function_name,
            doc: #doc,
            parameters: &[#(#parameters),*],
            options: ::lovage_guest::TaskOptions { #options ..::lovage_guest::TaskOptions::DEFAULT },
        }
    }
}

/// The table of the task's handlers. A function that does not fit is an error at its name.
fn handlers(options: &Options) -> TokenStream {
    let fields = options.handlers.iter().map(|(name, path)| {
        let count = HANDLERS.iter().find(|(known, _)| name == known).map_or(0, |(_, count)| *count);
        let arguments: Vec<_> = (0..count).map(|place| format_ident!("__argument_{place}")).collect();
        let span = at(path.span());
        let settle = quote_spanned!(span=> ::lovage_guest::__private::Returned(#path(#(#arguments),*)).settle());
        quote! {
            #name: ::core::option::Option::Some(|#(#arguments),*| {
                #[allow(unused_imports)]
                use ::lovage_guest::__private::Settle as _;
                #settle.map(::core::mem::drop)
            }),
        }
    });
    let fields: Vec<_> = fields.collect();
    if fields.is_empty() {
        return TokenStream::new();
    }
    quote! {
        #[allow(clippy::unit_arg)]
        const HANDLERS: ::lovage_guest::Handlers =
            ::lovage_guest::Handlers { #(#fields)* ..::lovage_guest::Handlers::NONE };
    }
}

fn call(function: &Function) -> TokenStream {
    let ident = &function.item.sig.ident;
    let names: Vec<_> = (0..function.parameters.len()).map(|place| format_ident!("__argument_{place}")).collect();
    let reads = function.parameters.iter().zip(&names).enumerate().map(|(place, (parameter, name))| {
        let (ty, value) = (&parameter.ty, read(place, parameter));
        quote!(let #name: #ty = #value;)
    });
    let bound = (!names.is_empty()).then(|| quote!(mut));
    let context = function.takes_context.then(|| quote!(__ctx,));
    let output = at(function.output_span());
    let settle = quote_spanned!(output=> ::lovage_guest::__private::Returned(__returned).settle());
    quote! {
        #[allow(unused_variables, clippy::let_unit_value)]
        fn call(
            __ctx: &::lovage_guest::Context,
            __arguments: ::lovage_guest::Arguments,
        ) -> ::core::result::Result<::lovage_guest::Json, ::lovage_guest::TaskError> {
            #[allow(unused_imports)]
            use ::lovage_guest::__private::Settle as _;
            let #bound __bound = __arguments.bind(&<Self as ::lovage_guest::Task>::DEFINITION)?;
            #(#reads)*
            let __returned = #ident(#context #(#names),*);
            #settle
        }
    }
}

/// Where an error is shown, while names keep their meaning even if the function came out of another macro.
fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}

fn read(place: usize, parameter: &Parameter) -> TokenStream {
    let (ty, span) = (&parameter.ty, at(parameter.ty.span()));
    match &parameter.absent {
        Absent::Required => quote_spanned!(span=> __bound.required::<#ty>(#place)?),
        Absent::Args | Absent::Kwargs => quote_spanned!(span=> __bound.all::<#ty>(#place)?),
        Absent::Default => quote_spanned!(span=> __bound.optional::<#ty>(#place)?.unwrap_or_default()),
        Absent::Value(value) => {
            let (given, value) = (quote_spanned!(span=> __bound.optional::<#ty>(#place)?), owned(value));
            quote!(match #given {
                ::core::option::Option::Some(__given) => __given,
                ::core::option::Option::None => #value,
            })
        }
    }
}

/// A text literal becomes whatever owned text the parameter is.
fn owned(value: &Expr) -> TokenStream {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => quote!(::core::convert::From::from(#text)),
        other => quote!(#other),
    }
}

fn signatures(function: &Function) -> TokenStream {
    let (vis, ident) = (&function.item.vis, &function.item.sig.ident);
    let required: Vec<_> = function.parameters.iter().filter(|parameter| parameter.is_required()).collect();
    let names: Vec<_> = required.iter().map(|parameter| &parameter.ident).collect();
    let types: Vec<_> = required.iter().map(|parameter| &parameter.ty).collect();
    let signature = quote!(::lovage_guest::Signature);
    let sent = quote!(::lovage_guest::TaskResult<::lovage_guest::AsyncResult>);
    // Hygienic, so that a parameter may have the same name.
    let ctx = Ident::new("ctx", Span::mixed_site());
    let options = Ident::new("options", Span::mixed_site());
    // By reference, so that rustc does not refuse the bound by itself: a task whose argument can be read but not written
    // is a task, without signatures.
    let writable = quote!(where #(for<'a> &'a #types: ::lovage_guest::__private::Serialize),*);
    quote! {
        #[allow(dead_code, clippy::too_many_arguments, clippy::should_implement_trait)]
        impl #ident {
            /// A call with these arguments, to be sent or to replace another. More go on with `kwarg`.
            #vis fn s(#(#names: #types),*) -> #signature #writable {
                Self::partial()#(.arg(&#names))*
            }

            /// The same, immutable: it does not take the result of the task before it.
            #vis fn si(#(#names: #types),*) -> #signature #writable {
                Self::s(#(#names),*).immutable()
            }

            /// A call without arguments: for those that come from the task before it.
            #vis fn partial() -> #signature {
                #signature::of(<Self as ::lovage_guest::Task>::DEFINITION.name)
            }

            /// One task that calls it with each item, one after the other, and returns the list of what it returned.
            #vis fn map(items: impl ::core::iter::IntoIterator<Item: ::lovage_guest::__private::Serialize>) -> #signature {
                Self::partial().map(items)
            }

            /// The same with a tuple or an array of arguments for each call.
            #vis fn starmap(
                items: impl ::core::iter::IntoIterator<Item: ::lovage_guest::__private::Serialize>,
            ) -> #signature {
                Self::partial().starmap(items)
            }

            /// A group of such tasks, each for `n` items.
            #vis fn chunks(
                items: impl ::core::iter::IntoIterator<Item: ::lovage_guest::__private::Serialize>,
                n: usize,
            ) -> #signature {
                Self::partial().chunks(items, n)
            }

            /// Sends it as a subtask.
            #vis fn delay(#ctx: &::lovage_guest::Context, #(#names: #types),*) -> #sent #writable {
                #ctx.apply_async(Self::s(#(#names),*))
            }

            /// Sends it as a subtask, with options.
            #vis fn apply_async(
                #ctx: &::lovage_guest::Context,
                (#(#names,)*): (#(#types,)*),
                #options: ::lovage_guest::Options,
            ) -> #sent #writable {
                #ctx.apply_async(Self::s(#(#names),*).set(#options))
            }
        }
    }
}

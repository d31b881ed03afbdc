//! May this component come in? What it is, what it imports, what it exports, and which tasks it says it has.

use lovage_model::{Digest, Message, Request, TaskDefinition, TaskId, TaskName, TenantId};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::Refusal;
use crate::attempt::{Attempt, Outcome};

/// The interfaces of WASI that every guest of the standard library imports; all of them answer with nothing.
const WASI: [&str; 7] = ["io", "cli", "clocks", "random", "filesystem", "sockets", "http"];
const MAX_TASKS: usize = 1000;
const MAX_DOC_BYTES: usize = 64 << 10;
/// So many of the imports that nobody may have are named.
const MAX_NAMED: usize = 50;

/// Refuses what is not a component, by its first bytes.
pub(super) fn check_kind(bytes: &[u8]) -> Result<(), Refusal> {
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
    let what = if bytes.starts_with(COMPONENT) {
        return Ok(());
    } else if bytes.starts_with(CORE_MODULE) {
        "a core WebAssembly module, not a component: build it with `cargo build --target wasm32-wasip2` and a crate-type \
         of cdylib"
    } else if bytes.starts_with(b"\x7fELF") {
        "a native or precompiled binary, not a WebAssembly component: push the .wasm file"
    } else if bytes.starts_with(b"(") {
        "WebAssembly text, not a component: push the binary .wasm file"
    } else if bytes.is_empty() {
        "empty: push the .wasm file that `cargo build --target wasm32-wasip2` made"
    } else {
        "not a WebAssembly component: push the .wasm file that `cargo build --target wasm32-wasip2` made"
    };
    Err(Refusal { code: "not_a_component", message: format!("the module is {what}") })
}

/// Refuses imports that nobody may have, and a component without tasks.
pub(super) fn check_interface(engine: &Engine, component: &Component) -> Result<(), Refusal> {
    let component_type = component.component_type();
    let denied: Vec<&str> =
        component_type.imports(engine).map(|(name, _)| name).filter(|name| !is_allowed(name)).take(MAX_NAMED).collect();
    if !denied.is_empty() {
        let message = format!(
            "the module imports {}, which no task can have: there are lovage:task/host, an empty WASI 0.2, and by grant \
             wasi:http, wasi:keyvalue (store, atomics) and lovage:task/secrets; remove the dependency that needs it",
            denied.join(", ")
        );
        return Err(Refusal::new("import_not_allowed", message));
    }
    if component_type.exports(engine).any(|(name, _)| is_contract(name, "tasks")) {
        return Ok(());
    }
    Err(Refusal {
        code: "no_tasks",
        message:
            "the module does not export lovage:task/tasks@0.1: name its tasks in export_tasks!(...), and build a cdylib"
                .to_owned(),
    })
}

fn is_allowed(import: &str) -> bool {
    ["host", "types", "secrets"].into_iter().any(|interface| is_contract(import, interface))
        || ["wasi:keyvalue/store@0.2.0-draft", "wasi:keyvalue/atomics@0.2.0-draft"].contains(&import)
        || import.strip_prefix("wasi:").is_some_and(|rest| {
            rest.split_once('/').is_some_and(|(package, _)| WASI.contains(&package)) && rest.contains("@0.2.")
        })
}

fn is_contract(name: &str, interface: &str) -> bool {
    let version = name.strip_prefix("lovage:task/").and_then(|rest| rest.strip_prefix(interface));
    version.is_some_and(|version| version.starts_with("@0.1."))
}

/// What linking found against the contract.
pub(super) fn mismatch(error: &wasmtime::Error) -> Refusal {
    let message =
        format!("the module does not fit the contract lovage:task@0.1 (`lovage-guest` of this version): {error:#}");
    Refusal::new("contract_mismatch", message)
}

/// An artifact that verified and still cannot be loaded: no place of the pool is large enough for it.
pub(super) fn unloadable(error: &wasmtime::Error) -> Refusal {
    let message = format!(
        "the module needs more from its start than a sandbox has: {error:#}; declare less, or, if it is memory, raise \
         limits.memory_bytes"
    );
    Refusal::new("too_demanding", message)
}

/// The component was removed while it was being asked.
pub(super) fn vanished() -> Refusal {
    Refusal { code: "removed", message: "the module was removed while it was being checked: push it again".to_owned() }
}

/// An attempt that asks for nothing but the list of tasks.
pub(super) fn question(module: &Digest) -> Attempt {
    let nobody = TaskId::from_uuid(uuid::Uuid::nil());
    let message = Message::new(nobody, TaskName::new("describe").expect("a name"));
    Attempt {
        tenant: TenantId::default(),
        module: module.clone(),
        request: Request::of(&message, "", false),
        handlers: Vec::new(),
    }
}

/// The component ended instead of answering.
pub(super) fn speechless(outcome: &Outcome) -> Refusal {
    let why = match outcome {
        Outcome::Faulted(fault) => format!("{} ({})", fault.exception, fault.kind.name()),
        _ => "no sandbox could be set up for it; try again".to_owned(),
    };
    Refusal::new("describe_failed", format!("the module could not be asked for its tasks: {why}"))
}

/// Reads what `describe` returned.
pub(super) fn tasks(described: &str) -> Result<Vec<TaskDefinition>, Refusal> {
    let tasks: Vec<TaskDefinition> = serde_json::from_str(described).map_err(|error| {
        Refusal::new("bad_description", format!("`describe` does not list tasks as the contract says: {error}"))
    })?;
    if tasks.is_empty() {
        let message = "the module has no tasks: name at least one in export_tasks!(...)".to_owned();
        return Err(Refusal { code: "no_tasks", message });
    }
    if tasks.len() > MAX_TASKS {
        let message = format!("the module has {} tasks, at most {MAX_TASKS} are allowed: split it", tasks.len());
        return Err(Refusal { code: "bad_description", message });
    }
    for (place, task) in tasks.iter().enumerate() {
        check_task(task, &tasks[..place])?;
    }
    Ok(tasks)
}

/// Refuses handlers that a module lists and does not have.
pub(super) fn check_handlers(tasks: &[TaskDefinition], exported: bool) -> Result<(), Refusal> {
    match tasks.iter().find(|task| !task.handlers.is_empty()) {
        Some(task) if !exported => {
            let name = &task.name;
            let message = format!(
                "the module lists handlers of {name}, but does not export lovage:task/handlers@0.1 with all its functions: \
                 export it, or list none"
            );
            Err(Refusal { code: "contract_mismatch", message })
        }
        _ => Ok(()),
    }
}

fn check_task(task: &TaskDefinition, before: &[TaskDefinition]) -> Result<(), Refusal> {
    let name = &task.name;
    let refuse = |code, message| Err(Refusal { code, message });
    if before.iter().any(|other| other.name == *name) {
        return refuse(
            "duplicate_task",
            format!("the module has two tasks named {name}: give one another name (#[task(name = \"...\")])"),
        );
    }
    if task.doc.len() > MAX_DOC_BYTES {
        return refuse("bad_description", format!("the description of {name} is longer than {MAX_DOC_BYTES} bytes"));
    }
    let options = &task.options;
    if let (Some(soft), Some(hard)) = (options.soft_time_limit, options.time_limit)
        && soft > hard
    {
        return refuse(
            "bad_description",
            format!("soft_time_limit of {name} ({}) is over its time_limit ({})", soft.get(), hard.get()),
        );
    }
    if options.priority.is_some_and(|priority| priority > 9) {
        return refuse("bad_description", format!("priority of {name} is not between 0 (first) and 9 (last)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_file_is_named() {
        for (bytes, says) in [
            (&b"\0asm\x01\0\0\0"[..], "core WebAssembly module"),
            (b"\x7fELF", "precompiled"),
            (b"(component)", "text"),
            (b"", "empty"),
            (b"hello", "not a WebAssembly component"),
        ] {
            assert!(check_kind(bytes).unwrap_err().message.contains(says), "{says}");
        }
    }

    #[test]
    fn imports_are_an_allow_list() {
        for good in [
            "lovage:task/host@0.1.0",
            "lovage:task/types@0.1.7",
            "lovage:task/secrets@0.1.0",
            "wasi:io/poll@0.2.6",
            "wasi:cli/stdout@0.2.12",
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:keyvalue/store@0.2.0-draft",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in [
            "wasi:http/handler@0.3.0",
            "wasi:io/poll@0.3.0",
            "wasi:keyvalue/batch@0.2.0-draft",
            "wasi:keyvalue/store@0.2.0-draft2",
            "lovage:task/hostile@0.1.0",
            "a:b/c",
            "x",
        ] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_refusal_is_brief_whatever_it_is_about() {
        let long = "\u{e9}".repeat(32 << 20);
        let refusal = mismatch(&wasmtime::Error::msg(long.clone()));
        assert!(refusal.message.capacity() < 10_000 && refusal.message.ends_with("..."), "{refusal}");
        let written = serde_json::json!({"code": "no_tasks", "message": long});
        let read: Refusal = serde_json::from_value(written).unwrap();
        assert!(read.code == "no_tasks" && read.message.capacity() < 10_000, "{read}");
    }

    #[test]
    fn descriptions_are_checked() {
        assert_eq!(tasks("[]").unwrap_err().code, "no_tasks");
        assert_eq!(tasks("{").unwrap_err().code, "bad_description");
        assert_eq!(tasks(r#"[{"name":"a"},{"name":"a"}]"#).unwrap_err().code, "duplicate_task");
        assert_eq!(tasks(r#"[{"name":"a","options":{"priority":10}}]"#).unwrap_err().code, "bad_description");
        let soft = r#"[{"name":"a","options":{"soft_time_limit":2,"time_limit":1}}]"#;
        assert!(tasks(soft).unwrap_err().message.contains("soft_time_limit of a (2)"));
        let listed = tasks(r#"[{"name":"a","handlers":["on_failure"]}]"#).unwrap();
        assert!(check_handlers(&listed, true).is_ok());
        assert!(check_handlers(&listed, false).unwrap_err().message.contains("handlers of a,"));
        assert_eq!(tasks(r#"[{"name":"a","doc":"Adds."}]"#).unwrap()[0].doc, "Adds.");
    }
}

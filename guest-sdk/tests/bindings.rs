//! Are the committed bindings those of the contract?
//!
//! `src/bindings.rs` is committed so that a task crate builds without the generator. `UPDATE_BINDINGS=1` rewrites it.

use std::path::Path;

use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

fn generate(wit: &Path) -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).expect("wit/ parses");
    let world = resolve.select_world(&[package], Some("task-with-capabilities")).expect("there is that world");
    let options = wit_bindgen_rust::Opts {
        format: true,
        generate_all: true,
        pub_export_macro: true,
        runtime_path: Some("::wit_bindgen::rt".to_owned()),
        default_bindings_module: Some("::lovage_guest::bindings".to_owned()),
        ..Default::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files).expect("the world has bindings");
    let (_, contents) = files.iter().next().expect("one file");
    String::from_utf8(contents.to_vec()).expect("Rust is text")
}

#[test]
fn the_committed_bindings_are_those_of_the_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/bindings.rs");
    let wanted = generate(&root.join("wit"));
    if std::env::var_os("UPDATE_BINDINGS").is_some() {
        std::fs::write(&committed, &wanted).expect("src/bindings.rs can be written");
    }
    let found = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(found == wanted, "wit/ has changed: run `UPDATE_BINDINGS=1 cargo test -p lovage-guest --test bindings`");
}

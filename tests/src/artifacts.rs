//! Compiled guests, made once and kept between test runs: compiling is most of what the tests would do otherwise.
//!
//! The cache is one that a sandbox made; a daemon that starts with a copy of it finds its modules compiled.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use lovage::sandbox::{Compiler, Sandbox, Settings};
use lovage_model::Digest;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

/// The digest by which a component is known.
pub fn digest_of(component: &[u8]) -> Digest {
    Digest::from_bytes(&Sha256::digest(component).into())
}

/// The cache, with every admissible guest in it.
pub fn directory() -> &'static Path {
    static FILLED: OnceLock<()> = OnceLock::new();
    let directory = Path::new(env!("GUEST_ARTIFACTS"));
    FILLED.get_or_init(|| fill(directory));
    directory
}

/// Copies the cache's key and what was compiled from these guests into a new cache.
pub fn seed(cache: &Path, guests: &[&Path]) -> io::Result<()> {
    let code = |cache: &Path| cache.join("code");
    fs::create_dir_all(code(cache))?;
    fs::copy(directory().join("key"), cache.join("key"))?;
    let digests: Vec<String> = guests.iter().map(|guest| digest_of(&fs::read(guest).unwrap()).to_string()).collect();
    for entry in fs::read_dir(code(directory()))? {
        let name = entry?.file_name();
        if digests.iter().any(|digest| name.to_string_lossy().starts_with(digest)) {
            fs::copy(code(directory()).join(&name), code(cache).join(&name))?;
        }
    }
    Ok(())
}

/// In a thread of its own: the caller may be inside a runtime.
fn fill(directory: &'static Path) {
    fs::create_dir_all(directory).expect("the target directory can be written");
    let lock = File::create(directory.join("lock")).expect("the target directory can be written");
    flock(&lock, FlockOperation::LockExclusive).expect("a lock");
    let filling = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(admit_all(directory));
    });
    filling.join().expect("the guests are admitted");
}

async fn admit_all(directory: &Path) {
    let settings = Settings {
        concurrency: 1,
        memory_bytes: 64 << 20,
        cache: directory.to_owned(),
        compiler: Compiler::InProcess,
        executors: None,
    };
    let sandbox = Sandbox::new(settings).expect("a sandbox");
    for guest in crate::guests::admissible() {
        let component = fs::read(guest).expect("the guest was built");
        let admitted = sandbox.admit(&digest_of(&component), &component).await;
        admitted.unwrap_or_else(|refusal| panic!("{}: {refusal}", guest.display()));
    }
}

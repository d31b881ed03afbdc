//! Which group are chunks? One map for each, so that they run at once.

use lovage_model::{Json, WireShape, WireSignature};

use super::{Invalid, tree};
use crate::canvas::read::check_chunks;
use crate::canvas::{Rules, builtin};

/// What chunks are made of.
#[derive(serde::Deserialize)]
struct Chunks {
    task: WireSignature,
    it: Vec<Json>,
    n: usize,
}

/// Whether a signature says that it is chunks.
pub(super) fn are(sig: &WireSignature) -> bool {
    sig.subtask_type.as_deref() == Some("chunks")
}

/// The group of maps that chunks are, with the options that they have.
pub(super) fn group_of(sig: &WireSignature, rules: Rules) -> Result<WireSignature, Invalid> {
    let wrong = |error: serde_json::Error| Invalid::wrong("kwargs", format!("do not make chunks: {error}"));
    let WireShape::Task(kwargs) = &sig.shape else { unreachable!("chunks are written as a task") };
    let Chunks { task, it, n } = Json::of(kwargs).and_then(|kwargs| kwargs.read()).map_err(wrong)?;
    let task = Json::of(&task).map_err(wrong)?;
    check_chunks(it.len(), n, task.as_str().len(), rules)?;
    let maps = it.chunks(n).map(|items| starmap(&task, items)).collect::<Result<_, _>>().map_err(wrong)?;
    Ok(WireSignature { options: sig.options.clone(), ..tree::group(maps) })
}

fn starmap(task: &Json, items: &[Json]) -> serde_json::Result<WireSignature> {
    let it = tree::array(items.iter().map(Json::as_str))?;
    let kwargs = [("task".to_owned(), task.clone()), ("it".to_owned(), it)].into_iter().collect();
    let name = builtin::STARMAP.parse().expect("a name of Celery's own");
    let starmap = WireSignature::task(name, Json::empty_array(), kwargs);
    Ok(WireSignature { subtask_type: Some("xstarmap".to_owned()), immutable: true, ..starmap })
}

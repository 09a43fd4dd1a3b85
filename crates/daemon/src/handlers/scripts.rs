use std::path::{Path, PathBuf};

use longshore_plan::handlers::FoundScript;
use rustix::fs::{Access, access};

/// Where a script lies that a definition names: an absolute path is taken as it is, any other is looked for in the
/// folders, in order.
pub(super) fn find(folders: &[PathBuf], script: &str) -> FoundScript {
    if script.is_empty() {
        return FoundScript::Nowhere;
    }
    let script = Path::new(script);
    if script.is_absolute() {
        return look(script);
    }
    let mut seen = FoundScript::Nowhere;
    for folder in folders {
        match look(&folder.join(script)) {
            found @ FoundScript::At(_) => return found,
            FoundScript::Nowhere => {}
            found @ FoundScript::NotExecutable(_) => {
                if seen == FoundScript::Nowhere {
                    seen = found;
                }
            }
        }
    }
    seen
}

fn look(path: &Path) -> FoundScript {
    let Ok(path) = std::path::absolute(path) else { return FoundScript::Nowhere };
    if !path.is_file() {
        return FoundScript::Nowhere;
    }
    match access(&path, Access::EXEC_OK) {
        Ok(()) => FoundScript::At(path),
        Err(_) => FoundScript::NotExecutable(path),
    }
}

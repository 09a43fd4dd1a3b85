use std::path::{Path, PathBuf};

use longshore_plan::handlers::FoundScript;
use longshore_runtime::files::within_time;
use rustix::fs::{Access, access};

/// Finds the script that a definition names: an absolute path is used as is; any other is looked up in the
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
            // It may be there, and would then be the right one.
            found @ FoundScript::Unanswered(_) => return found,
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
    let folder = path.parent().unwrap_or(&path).to_owned();
    let script = path.clone();
    let look = move || script.is_file().then(|| access(&script, Access::EXEC_OK).is_ok());
    match within_time(&folder, look) {
        Ok(None) => FoundScript::Nowhere,
        Ok(Some(true)) => FoundScript::At(path),
        Ok(Some(false)) => FoundScript::NotExecutable(path),
        Err(_) => FoundScript::Unanswered(folder),
    }
}

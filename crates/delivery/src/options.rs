//! The INI file that a script receives for a handler from the settings file.

use std::path::Path;

use longshore_model::{Handler, Job};
use longshore_runtime::files::{private_folder, replace};

/// Returns the handler with an INI file for its options; the file is written if the handler has none of its own.
pub(crate) fn with_file(handler: &Handler, data_dir: &Path) -> Handler {
    let mut handler = handler.clone();
    if let Job::Script { ini: ini @ None, .. } = &mut handler.job {
        *ini = Some(data_dir.join("handlers").join(format!("{}.ini", handler.name)));
    }
    if let Job::Script { ini: Some(ini), .. } = &handler.job
        && ini.starts_with(data_dir)
        && let Err(error) = write(ini, &longshore_plan::handlers::written(&handler))
    {
        tracing::error!(handler = handler.name, file = %ini.display(), %error, "cannot write the handler's options");
    }
    handler
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    private_folder(path.parent().unwrap_or(path))?;
    replace(path, text.as_bytes())
}

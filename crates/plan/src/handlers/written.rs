use longshore_model::Handler;

/// Returns a handler of the settings file as an INI file, the first argument of its script: `crudini --get
/// FILE params KEY` finds its options.
pub fn written(handler: &Handler) -> String {
    let mut text = format!(
        "[handler]\nclass={}\nevents={}\nenabled={}\ntriggers-none={}\n\n[params]\n",
        handler.job.word(),
        handler.filter.events.words().collect::<Vec<_>>().join(","),
        u8::from(handler.enabled),
        u8::from(handler.triggers_none),
    );
    for (key, value) in &handler.params {
        // A line that begins with a space continues the previous one.
        let value = value.replace("\r\n", "\n").replace(['\r', '\n'], "\n ");
        text.push_str(&format!("{key}={value}\n"));
    }
    text
}

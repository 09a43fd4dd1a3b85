/// The header that names the hosts whose containers may not be as they are shown.
pub const SILENT_HOSTS: &str = "longshore-silent-hosts";

/// A host that has its place in the cluster, but does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentHost {
    /// Its name.
    pub host: String,
    /// Why: `it is suspect`.
    pub why: String,
}

impl SilentHost {
    /// Writes a list of hosts as the value of a header: `"web1";why="it is suspect", "web2";why="…"`.
    pub fn list(hosts: &[Self]) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let each = hosts.iter().map(|silent| format!("{};why={}", quoted(&silent.host), quoted(&silent.why)));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Reads such a list. What is not understood ends it.
    pub fn read(mut text: &str) -> Vec<Self> {
        let mut hosts = Vec::new();
        while let Some((host, rest)) = unquoted(text) {
            let Some((why, rest)) = rest.strip_prefix(";why=").and_then(unquoted) else { break };
            hosts.push(Self { host, why });
            let Some(rest) = rest.strip_prefix(", ") else { break };
            text = rest;
        }
        hosts
    }
}

/// Reads a text in quotes at the beginning of another. Returns it, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut read = String::new();
    let mut characters = inside.char_indices();
    loop {
        match characters.next()? {
            (end, '"') => return Some((read, inside.get(end + 1..)?)),
            (_, '\\') => read.push(characters.next()?.1),
            (_, character) => read.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silent(host: &str, why: &str) -> SilentHost {
        SilentHost { host: host.to_owned(), why: why.to_owned() }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let hosts = [silent("web1", "it is suspect"), silent("a\"b\\", "c, \";why=")];
        assert_eq!(SilentHost::read(&SilentHost::list(&hosts)), hosts);
        assert_eq!(SilentHost::list(&hosts[..1]), "\"web1\";why=\"it is suspect\"");
        assert_eq!(SilentHost::read(&SilentHost::list(&[])), []);
        assert_eq!(SilentHost::read("\"a\";why=\"b\", c"), [silent("a", "b")]);
        assert_eq!(SilentHost::read("\"a\\"), []);
    }
}

//! Words that must not appear in the sources.

use super::{Source, Violation};

/// Marks of unfinished work. Written in halves, so that this file does not match itself.
const UNDONE: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Words for one side's power over another, by their beginnings.
const POWER: [&str; 2] = [concat!("sla", "ve"), concat!("mas", "ter")];

/// Where such a word is another program's own: the file's path starts with the first, and the line contains the
/// second in lower case.
const ANOTHERS: [(&str, &str); 18] = [
    // HAProxy's processes and sockets: the room that talks to it, and its user documentation.
    ("crates/haproxy/", POWER[1]),
    ("", concat!("mas", "ter-worker")),
    ("", concat!("mas", "ter socket")),
    ("", concat!("mas", "ter.sock")),
    ("", concat!("mas", "ter process")),
    ("", concat!("reload::Mas", "ter")),
    // nginx's, in the bench.
    ("workbench/src/bench/", concat!("mas", "ter_process")),
    // iproute2's, for a bridge's port.
    ("crates/testkit/src/lab/wiring.rs", concat!("mas", "ter {}")),
    // Podder's file format and environment.
    ("", concat!("podder_mas", "ter")),
    ("", concat!("sla", "ves.yml")),
    ("", concat!("`sla", "ves`")),
    ("crates/plan/src/sidecars/file.rs", concat!("\"sla", "ves\"")),
    ("crates/plan/tests/sidecars.rs", concat!("sla", "ves:")),
    ("crates/longshore/tests/lab/sidecars.rs", concat!("sla", "ves:")),
    ("crates/longshore/src/cli/compat.rs", concat!("long = \"sla", "ves\"")),
    ("docs/sidecars.md", concat!("sla", "ves:")),
    // Linux's, for mounts below a mount.
    ("crates/plan/src/sidecars/mounts.rs", concat!("sla", "ve\",")),
    // The house plan's own denial.
    ("ARCHITECTURE.md", concat!("no mas", "ter")),
];

/// Phrases that read as translated, and their replacements. Written in halves, too.
const TRANSLATED: [(&str, &str); 36] = [
    (concat!("trie", "d again"), "retried"),
    (concat!("trie", "s again"), "retries"),
    (concat!("men", "d it"), "fix it"),
    (concat!("men", "ded"), "fixed"),
    (concat!("see t", "o the"), "check the"),
    (concat!("is to", "ld of"), "receives, is notified of"),
    (concat!("are t", "old of"), "receive, are notified of"),
    (concat!("was t", "old of"), "received"),
    (concat!("were t", "old of"), "received"),
    (concat!("be to", "ld of"), "receive, be notified of"),
    (concat!("been t", "old of"), "received"),
    (concat!("told ", "of it"), "notified of it"),
    (concat!("told ", "of the"), "notified of the"),
    (concat!("tell", "s of"), "reports"),
    (concat!("an", "ew"), "again"),
    (concat!("mad", "e up"), "synthetic"),
    (concat!("as it s", "hould be"), "as configured, converged"),
    (concat!("as they ", "should be"), "as configured, converged"),
    (concat!("goes o", "n with"), "keeps"),
    (concat!("goes ", "on as"), "stays as"),
    (concat!("goes ", "on to"), "continues to"),
    (concat!("let f", "inish"), "drained"),
    (concat!("is no ", "weight"), "invalid weight x: expected …"),
    (concat!("is n", "o port"), "invalid port x: expected …"),
    (concat!("is no ", "address"), "invalid address x: expected …"),
    (concat!("is n", "o name"), "invalid name x: expected …"),
    (concat!("is no h", "ost name"), "invalid host name x: expected …"),
    (concat!("is no f", "rontend"), "invalid frontend x: expected …"),
    (concat!("is no ", "number"), "invalid number x"),
    (concat!("is n", "o event"), "unknown event x"),
    (concat!("handle", "r gone"), "handler removed"),
    (concat!("handle", "r found"), "handler added"),
    (concat!("is no ", "domain"), "invalid domain x: expected …"),
    (concat!("must not chang", "e anything here"), "cross-site request refused"),
    (concat!("it does not answ", "er; what is known"), "not responding; keeping the last known state"),
    (concat!("bring", "_about"), "converge"),
];

pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in source.lines() {
        if let Some(mark) = UNDONE.iter().find(|mark| has_word(line, mark)) {
            let message = format!("{mark}: do it, or file an issue");
            found.push(Violation::new(&source.path, number, message));
        }
        let lower = line.to_lowercase();
        if let Some((phrase, better)) = TRANSLATED.iter().find(|(phrase, _)| has_word(&lower, phrase)) {
            found.push(Violation::new(&source.path, number, format!("{phrase:?}: write {better:?}")));
        }
        let power = POWER.iter().find(|word| lower.contains(*word));
        if let Some(word) = power
            && !is_anothers(source, &lower)
        {
            let message =
                format!("{word:?}: say what it does, or allow another program's word in tidy/words.rs");
            found.push(Violation::new(&source.path, number, message));
        }
    }
    found
}

fn is_anothers(source: &Source, line: &str) -> bool {
    ANOTHERS.iter().any(|(path, known)| source.path.starts_with(path) && line.contains(&known.to_lowercase()))
}

/// Returns whether the line contains the word with no letter, digit or underscore next to it.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&Source::sample("a.rs", text)).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn what_is_left_undone_is_found() {
        assert_eq!(lines(&format!("fine\n// {}: later\n", UNDONE[0])), [2]);
        assert_eq!(lines(&format!("/tmp/a.{0}{0}\n", UNDONE[2])), [0; 0]);
    }

    #[test]
    fn a_phrase_that_reads_as_translated_is_found() {
        for (phrase, _) in TRANSLATED {
            assert_eq!(lines(&format!("fine\nso {phrase}, then\n")), [2], "{phrase}");
        }
    }

    #[test]
    fn a_word_of_power_is_found_unless_it_is_another_programs() {
        assert_eq!(lines(&format!("the {} node\n", POWER[1])), [1]);
        assert_eq!(lines(&format!("{}s: []\n", POWER[0])), [1]);
        assert!(lines(&format!("HAProxy in {}-worker mode\n", POWER[1])).is_empty());
        let haproxys = Source::sample("crates/haproxy/src/a.rs", &format!("the {}\n", POWER[1]));
        assert!(check(&haproxys).is_empty());
    }
}

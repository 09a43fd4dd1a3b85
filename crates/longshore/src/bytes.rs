//! Numbers of bytes as the docker command prints them.

/// Prints memory: `12.3MiB`.
pub(crate) fn binary(bytes: u64) -> String {
    scaled(bytes, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Prints what was sent or stored: `12.3MB`.
pub(crate) fn decimal(bytes: u64) -> String {
    scaled(bytes, 1000.0, ["B", "kB", "MB", "GB", "TB"])
}

fn scaled(bytes: u64, base: f64, units: [&str; 5]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut units = units.into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if value < base {
            break;
        }
        value /= base;
        unit = larger;
    }
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_bytes_has_a_unit_and_three_digits() {
        let all = [0, 999, 1024, 1536, 12_900_000, 1 << 40].map(binary);
        assert_eq!(all, ["0B", "999B", "1KiB", "1.5KiB", "12.3MiB", "1TiB"]);
        assert_eq!([1_000, 4_260_000, 123_400_000].map(decimal), ["1kB", "4.26MB", "123MB"]);
    }
}

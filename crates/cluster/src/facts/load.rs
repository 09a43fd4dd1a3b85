use longshore_model::{Capacity, Load};

/// The least change of CPU use that is worth telling all peers, in thousandths of one CPU for each CPU.
const CPU_STEP: u32 = 20;

/// The least change of memory use that is worth it, as a part of all memory.
const MEMORY_STEP: u64 = 100;

/// Returns the load to tell: what was measured if it moved noticeably, else what was told last. A host that idles
/// would otherwise tell all its peers twice a second.
pub fn settled(told: Load, measured: Load, capacity: Capacity) -> Load {
    let cpu = capacity.cpus.max(1).saturating_mul(CPU_STEP);
    let moved = told.millicpus.abs_diff(measured.millicpus) > cpu
        || told.memory.abs_diff(measured.memory) > capacity.memory / MEMORY_STEP;
    if moved { measured } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_told_only_when_it_moved() {
        let capacity = Capacity { cpus: 4, memory: 1000 };
        let load = |millicpus, memory| Load { millicpus, memory };
        let told = load(1000, 500);
        for (measured, expected) in [
            (load(1080, 510), told),
            (load(920, 490), told),
            (load(1081, 500), load(1081, 500)),
            (load(1000, 511), load(1000, 511)),
        ] {
            assert_eq!(settled(told, measured, capacity), expected);
        }
    }
}

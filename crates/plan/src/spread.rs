//! Where a batch of new containers goes.

/// Returns how many of `instances` new containers each host gets, in the order of `loads`. The batch is even: no host
/// gets two more than another. What remains of the division goes to the hosts with the least load, the first of equals.
///
/// Without hosts, nothing is placed.
pub fn spread<L: Ord>(loads: &[L], instances: usize) -> Vec<usize> {
    let hosts = loads.len().max(1);
    let (each, rest) = (instances / hosts, instances % hosts);
    let mut placed = vec![each; loads.len()];
    let mut least: Vec<(&L, &mut usize)> = loads.iter().zip(&mut placed).collect();
    least.sort_by_key(|(load, _)| *load);
    least.into_iter().take(rest).for_each(|(_, count)| *count += 1);
    placed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rest_goes_to_the_hosts_with_the_least_load() {
        assert_eq!(spread(&[3, 1, 2], 1), [0, 1, 0]);
        assert_eq!(spread(&[3, 1, 2], 5), [1, 2, 2]);
        assert_eq!(spread(&[1, 1, 1], 4), [2, 1, 1]);
        assert_eq!(spread(&[9], 4), [4]);
        assert_eq!(spread::<u32>(&[], 4), Vec::<usize>::new());
    }

    proptest! {
        #[test]
        fn every_instance_is_placed_evenly(loads in prop::collection::vec(0..50_u32, 1..60), instances in 0..1000_usize) {
            let placed = spread(&loads, instances);
            prop_assert_eq!(placed.len(), loads.len());
            prop_assert_eq!(placed.iter().sum::<usize>(), instances);
            let (least, most) = (placed.iter().min().unwrap(), placed.iter().max().unwrap());
            prop_assert!(most - least <= 1);
            for (load, count) in loads.iter().zip(&placed) {
                for (other, fewer) in loads.iter().zip(&placed) {
                    prop_assert!(count <= fewer || load <= other, "{} got more than {}", load, other);
                }
            }
        }

        #[test]
        fn the_order_of_hosts_with_different_loads_does_not_matter(
            loads in prop::collection::btree_set(0..500_u32, 1..40).prop_map(Vec::from_iter).prop_shuffle(),
            instances in 0..200_usize,
        ) {
            let mut sorted = loads.clone();
            sorted.sort_unstable();
            let by_load = |loads: &[u32]| -> std::collections::BTreeMap<u32, usize> {
                loads.iter().copied().zip(spread(loads, instances)).collect()
            };
            prop_assert_eq!(by_load(&loads), by_load(&sorted));
        }
    }
}

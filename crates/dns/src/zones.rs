use std::sync::Arc;

use arc_swap::ArcSwap;
use longshore_plan::dns::Zone;

/// The zone that is answered from. Cheap to clone; reading takes no lock.
pub type Zones = Arc<ArcSwap<Zone>>;

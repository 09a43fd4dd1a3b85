//! Watch, World and deliveries under a seed, against a reference model.
//!
//! A simulated engine loses, delays and repeats events, forgets them, and restarts; the agent dies between any two steps
//! and continues from what its journal holds; handlers fail, take their time and are changed. Whatever happens, each
//! handler gets each event, marked where it may be a repeat, in an order that can have been; and in the end World and
//! what handlers were told are what the engine says. Where nothing is lost, nothing is synthetic.
//!
//! `LONGSHORE_SIM_RUNS` says how many runs there are, `LONGSHORE_SIM_SEED` with which seed the first begins. A failure
//! names its seed:
//!
//! ```console
//! $ LONGSHORE_SIM_SEED=17 LONGSHORE_SIM_RUNS=1 cargo test -p longshore-simulation
//! ```

#[cfg(test)]
mod agent;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod handlers;
#[cfg(test)]
mod run;
#[cfg(test)]
mod watch;

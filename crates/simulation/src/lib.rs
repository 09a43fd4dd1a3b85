//! Watch, World and deliveries under a seed, against a reference model.
//!
//! A simulated engine loses, delays and repeats events, forgets them, and restarts; the agent dies between any two
//! steps and continues from its journal; handlers fail, are slow and change. Whatever happens, each handler gets each
//! event, marked if it may be a repeat, in a possible order; and in the end World and what handlers received match
//! the engine. If nothing is lost, nothing is synthetic.
//!
//! `LONGSHORE_SIM_RUNS` sets the number of runs, `LONGSHORE_SIM_SEED` the seed of the first. A failure names its
//! seed:
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

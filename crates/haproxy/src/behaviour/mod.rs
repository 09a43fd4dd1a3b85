//! Tests of the engine with a real HAProxy, on ports of 127.0.0.1.

mod attached;
mod faults;
mod hostile;
mod lab;
mod ports;
mod routing;
mod templates;
mod traffic;

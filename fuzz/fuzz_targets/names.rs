//! Host names, prefixes, weights, frontends and image references: what parses is written back as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_model::{Frontend, HostPattern, ImageReference, PathPrefix, Weight};

fuzz_target!(|text: &str| {
    if let Ok(host) = text.parse::<HostPattern>() {
        assert_eq!(host.to_string().parse::<HostPattern>(), Ok(host));
    }
    if let Ok(prefix) = text.parse::<PathPrefix>() {
        assert_eq!(prefix.to_string().parse::<PathPrefix>(), Ok(prefix.clone()));
        assert!(prefix.covers(&prefix.to_string()));
    }
    if let Ok(frontend) = text.parse::<Frontend>() {
        assert_eq!(frontend.to_string().parse::<Frontend>(), Ok(frontend));
    }
    if let Ok(image) = text.parse::<ImageReference>() {
        assert_eq!(image.to_string().parse::<ImageReference>(), Ok(image));
    }
    if let Ok(weight) = text.parse::<Weight>() {
        assert!(weight.get() <= Weight::MAX);
    }
});

//! Arbitrary bytes from another host: lines of facts, frames of calls, and orders about the cluster. None may panic,
//! and what is understood is understood again after it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use longshore_cluster::facts::Replica;
use longshore_model::HostId;
use longshore_wire::call::{CallRow, Frame, Frames, InputFrame, ReplyFrame};
use longshore_wire::control::{ControlRow, LookRow};
use longshore_wire::facts::Line;

fuzz_target!(|bytes: &[u8]| {
    let mut replica = Replica::new(HostId::from_u128(1));
    replica.open();
    let mut is_open = true;
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(Line { number, fact }) = Line::read(line) {
            let written = fact.encode().line(number);
            let again = Line::read(written.trim_ascii_end()).unwrap();
            assert_eq!((again.number, again.fact), (number, fact));
        }
        let taken = replica.take(line);
        assert!(is_open || taken.is_err(), "a stream that broke goes on");
        is_open &= taken.is_ok();
    }
    frames::<ReplyFrame>(bytes);
    frames::<InputFrame>(bytes);
    let _ = serde_json::from_slice::<CallRow>(bytes);
    let _ = serde_json::from_slice::<LookRow>(bytes);
    if let Ok(order) = serde_json::from_slice::<ControlRow>(bytes) {
        let written = serde_json::to_vec(&order).unwrap();
        assert_eq!(serde_json::from_slice::<ControlRow>(&written).unwrap(), order);
    }
});

/// Reads frames, however their bytes arrive.
fn frames<T: Frame>(bytes: &[u8]) {
    let (mut whole, mut apart) = (Frames::default(), Frames::default());
    whole.push(bytes);
    let mut counts = [0, 0];
    while let Ok(Some(_)) = whole.take::<T>() {
        counts[0] += 1;
    }
    'pieces: for piece in bytes.chunks(3) {
        apart.push(piece);
        loop {
            match apart.take::<T>() {
                Ok(Some(_)) => counts[1] += 1,
                Ok(None) => break,
                Err(_) => break 'pieces,
            }
        }
    }
    assert_eq!(counts[0], counts[1]);
}

//! Any bytes are a message or an error, for the server as for the client. What is accepted has to stand its own
//! round trip, and so do the layouts in it.

#![no_main]

use hostwatch_wire::{EncodeError, EncodedLayout, HostBody, HostMessage, MAX_MESSAGE_BYTES, ServerMessage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = HostMessage::decode(bytes) {
        host_message(&message);
    }
    if let Ok(message) = ServerMessage::decode(bytes) {
        server_message(&message);
    }
});

fn host_message(message: &HostMessage<'_>) {
    let mut again = Vec::new();
    match message.encode(&mut again) {
        Ok(()) => assert_eq!(HostMessage::decode(&again).as_ref(), Ok(message)),
        Err(error) => check_length(error),
    }
    let layouts = match &message.body {
        HostBody::Report(report) => report.layouts.as_slice(),
        HostBody::Layouts(layouts) => layouts.layouts.as_slice(),
        _ => &[],
    };
    for layout in layouts.iter().filter_map(|layout| layout.decode().ok()) {
        assert_eq!(EncodedLayout::new(&layout).decode(), Ok(layout));
    }
}

fn server_message(message: &ServerMessage) {
    match message.encode() {
        Ok(again) => {
            // As bytes, because a parameter may be NaN, which equals nothing.
            let decoded = ServerMessage::decode(&again).expect("what was encoded can be decoded");
            assert_eq!(decoded.encode(), Ok(again));
        }
        Err(error) => check_length(error),
    }
}

/// A message without the names of its fields is decoded too, and may be too long with them.
fn check_length(EncodeError(length): EncodeError) {
    assert!(length > MAX_MESSAGE_BYTES);
}

//! Any bytes are a page or a mistake; and what is a page makes a layout, and reads back as the same from what it writes.

#![no_main]

use hostwatch_plugins::{Origin, Page, Samples};
use hostwatch_wire::text::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for origin in [Origin::File, Origin::Exporter(Format::Text), Origin::Exporter(Format::OpenMetrics)] {
        let mut page = Page::default();
        match page.parse(bytes, origin) {
            Ok(()) => {
                let once = written(&page);
                page.parse(once.as_bytes(), Origin::Exporter(Format::Text)).expect("what was written can be read");
                assert_eq!(written(&page), once);
            }
            Err(mistake) => assert!(mistake.what.len() < 1_000 && page.is_empty()),
        }
    }
});

fn written(page: &Page) -> String {
    let mut samples = Samples::new();
    samples.begin();
    page.push_to(&mut samples);
    samples.finish().expect("a page makes a layout");
    samples.text()
}

//! Progress bars, the one door to indicatif. On a terminal a bar with bytes, rate and time left;
//! elsewhere nothing, so that logs stay readable.

use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Bytes with a binary unit, three digits or more.
pub(crate) fn show_bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A bar over bytes.
#[derive(Debug)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar named `what`; without a length it shows bytes and rate alone.
    pub(crate) fn bytes(what: &str, length: Option<u64>) -> Self {
        let template = if length.is_some() {
            "{prefix:>9} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left {msg}"
        } else {
            "{prefix:>9} {spinner} {bytes} {bytes_per_sec} {msg}"
        };
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_style(style);
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Moves on.
    pub(crate) fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Sets what is done.
    pub(crate) fn set(&self, bytes: u64) {
        self.0.set_position(bytes);
    }

    /// Sets what there is to do.
    pub(crate) fn set_length(&self, bytes: u64) {
        self.0.set_length(bytes);
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

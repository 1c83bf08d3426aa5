//! Which figures are plotted.

use siltstone_peers::{
    plot::{Bar, Panel},
    report::{Report, Row},
};

/// The panels of what was measured; one without figures stays empty and is not drawn.
pub(crate) fn of(report: &Report<'_>) -> Vec<Panel> {
    let times = |section: &str, what: &str, of: fn(&Row) -> f64| {
        let rows = report.rows.iter().filter(|row| row.section == section);
        let bar = |row: &Row| bar(&row.name, of(row));
        Panel { title: format!("{section}: {what}"), bars: rows.map(bar).collect() }
    };
    let mut panels = Vec::new();
    for section in ["read", "folder", "folder, compressed", "codecs", "restore"] {
        panels.push(times(section, "GB a second", |row| row.gb_per_second));
        panels.push(times(section, "CPU seconds a GiB", |row| row.cpu_per_gib));
    }
    let tails = report.findings.iter().filter(|finding| finding.what.ends_with(": p99"));
    let bars = tails.map(|finding| bar(finding.what.trim_end_matches(": p99"), finding.value));
    let title = "foreground: p99 of 20,000 puts a second, microseconds".to_owned();
    panels.push(Panel { title, bars: bars.collect() });
    panels
}

fn bar(name: &str, value: f64) -> Bar {
    Bar { name: name.to_owned(), value, own: name.starts_with("siltstone") }
}

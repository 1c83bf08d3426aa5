//! Layouts as tables: one source for the code, the compile-time check and `docs/format.md`.

use std::fmt::Write;

/// One fixed-width field: name, offset and size in bytes.
pub type Field = (&'static str, usize, usize);

/// Whether the fields follow each other from 0 to `length` without gap or overlap; for
/// `const _: () = assert!(fills(&HEADER, HEADER_BYTES));`.
pub const fn fills(fields: &[Field], length: usize) -> bool {
    let mut at = 0;
    let mut i = 0;
    while i < fields.len() {
        if fields[i].1 != at {
            return false;
        }
        at += fields[i].2;
        i += 1;
    }
    at == length
}

/// The table as it stands in `docs/format.md`.
pub fn render(fields: &[Field]) -> String {
    let mut out = String::from("offset  size  field\n");
    for (name, offset, size) in fields {
        writeln!(out, "{offset:>6}  {size:>4}  {name}").expect("a string takes all text");
    }
    out
}

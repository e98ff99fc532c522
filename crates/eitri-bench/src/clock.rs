//! Local time as Python's `datetime` writes it.

use jiff::Zoned;

/// `%Y%m%d-%H%M%S`.
pub(crate) fn file_stamp() -> String {
    Zoned::now().strftime("%Y%m%d-%H%M%S").to_string()
}

/// `isoformat()`, with microseconds.
pub(crate) fn iso_stamp() -> String {
    Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.6f").to_string()
}

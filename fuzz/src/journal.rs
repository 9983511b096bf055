//! What the filter logs, so that a target can look into it for secrets.

use std::cell::RefCell;
use std::fmt::Write as _;

thread_local! {
    static LINES: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Journal;

impl log::Log for Journal {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| {
            writeln!(lines, "{}", record.args()).expect("a string takes any text")
        });
    }

    fn flush(&self) {}
}

/// Forgets what was logged and listens from now on.
pub(crate) fn listen() {
    LINES.with_borrow_mut(String::clear);
    // Only the first call of a process can succeed, and the others need not.
    if log::set_logger(&Journal).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}

/// What was logged since.
pub(crate) fn lines() -> String {
    LINES.with_borrow(String::clone)
}

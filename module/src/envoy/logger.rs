//! Lines of the log, which go to Envoy's.

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::hostcalls;

/// Above all levels of the crate `log`: what traps the module.
const CRITICAL: u32 = 5;

struct Lines;

/// Has lines go to Envoy from now on, as many as it writes, and a panic's before it traps.
pub(super) fn begin() {
    // Envoy starts no virtual machine twice; if it did, all is as it should be.
    let _ = log::set_logger(&Lines);
    log::set_max_level(match hostcalls::log_level() {
        Ok(0) => LevelFilter::Trace,
        Ok(1) => LevelFilter::Debug,
        Ok(2) | Err(_) => LevelFilter::Info,
        Ok(3) => LevelFilter::Warn,
        Ok(4) => LevelFilter::Error,
        Ok(_) => LevelFilter::Off,
    });
    std::panic::set_hook(Box::new(|panic| {
        hostcalls::log(CRITICAL, &panic.to_string());
    }));
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                Level::Trace => 0,
                Level::Debug => 1,
                Level::Info => 2,
                Level::Warn => 3,
                Level::Error => 4,
            };
            hostcalls::log(level, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

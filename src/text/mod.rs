//! Rules of spelling that more than one module goes by.

pub mod escapes;

//! The benchmark: what Waykeeper costs, side by side with the other ways to do its work.
//!
//! A [`contender`] is one such way. Each [`measure`]ment runs several of them in turn, round by round, and leaves
//! numbers in a [`report`]; everything that is said of them (the terminal's table, the goals, the chart) is worked out
//! from the report alone, so it can be said again, and of several runs together.

pub mod balance;
pub mod chart;
pub mod chat;
pub mod contender;
pub mod cores;
mod error;
pub mod exchange;
pub mod generator;
pub mod goals;
pub mod h2load;
pub mod machine;
pub mod measure;
pub mod process;
pub mod report;
pub mod server;
pub mod statistics;
pub mod table;

pub use error::Error;

//! The configuration: its document, the checks that tell all faults with their places, and the policies it is
//! compiled into.

pub mod policy;

//! x
use crate::Error;
use crate::report::Report;
/// x
pub fn draw(_: &Report) -> Result<String, Error> {
    Err(Error::new("x"))
}

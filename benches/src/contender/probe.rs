//! Modules that do nothing but make one call to Envoy, or take one of its calls: what that costs is the difference to a
//! module that does not.

use std::path::{Path, PathBuf};

use crate::Error;

/// How often a probe makes its call in each request.
pub const TIMES: usize = 10;

/// What a probe does with each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It takes the headers of the request, and does no more: what the others are compared with.
    RequestHeaders,
    /// It takes those of the response too.
    ResponseHeaders,
    /// It takes the beginning and the end of each stream too.
    Streams,
    /// It takes the response's body too.
    ResponseBody,
    /// It asks for the time, [`TIMES`] times; so do all that follow with their calls.
    Time,
    /// It asks for all headers.
    AllHeaders,
    /// It sets another header of the request.
    SetRequestHeader,
    /// It removes a header of the request.
    RemoveRequestHeader,
    /// It sets another header of the response.
    SetResponseHeader,
    /// It asks for the caller's address, a property.
    Property,
    /// It writes a note for the access log, a property.
    SetProperty,
    /// It reads 16 bytes of shared data.
    ReadSharedData,
    /// It writes them.
    WriteSharedData,
    /// It adds to a counter.
    Counter,
}

impl Probe {
    /// Every probe.
    pub const ALL: [Self; 14] = [
        Self::RequestHeaders,
        Self::ResponseHeaders,
        Self::Streams,
        Self::ResponseBody,
        Self::Time,
        Self::AllHeaders,
        Self::SetRequestHeader,
        Self::RemoveRequestHeader,
        Self::SetResponseHeader,
        Self::Property,
        Self::SetProperty,
        Self::ReadSharedData,
        Self::WriteSharedData,
        Self::Counter,
    ];

    /// What it is called in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestHeaders => "request headers",
            Self::ResponseHeaders => "response headers",
            Self::Streams => "streams",
            Self::ResponseBody => "response body",
            Self::Time => "time",
            Self::AllHeaders => "all headers",
            Self::SetRequestHeader => "set request header",
            Self::RemoveRequestHeader => "remove request header",
            Self::SetResponseHeader => "set response header",
            Self::Property => "property",
            Self::SetProperty => "set property",
            Self::ReadSharedData => "read shared data",
            Self::WriteSharedData => "write shared data",
            Self::Counter => "counter",
        }
    }

    /// The module, translated into `directory`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn module(self, directory: &Path) -> Result<PathBuf, Error> {
        let bytes = wat::parse_str(self.text())
            .map_err(|error| Error::new(format!("{self:?} is no module: {error}")))?;
        let path = directory.join("probe.wasm");
        std::fs::write(&path, bytes).map_err(|error| Error::at(&path, error))?;
        Ok(path)
    }

    /// The callbacks beside that of the request's headers.
    fn callbacks(self) -> &'static str {
        match self {
            Self::ResponseHeaders | Self::SetResponseHeader => {
                r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                    call $response i32.const 0)"#
            }
            Self::Streams => {
                r#"(func (export "proxy_on_context_create") (param i32 i32))
                (func (export "proxy_on_delete") (param i32))"#
            }
            Self::ResponseBody => {
                r#"(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
                    i32.const 0)"#
            }
            _ => "",
        }
    }

    /// The call, once for each `number`. Names of headers are `x-probe-0` and so on, from 1024 on in memory.
    fn call(self, number: usize) -> String {
        let name = format!("i32.const {} i32.const 9", 1024 + 16 * number);
        match self {
            Self::RequestHeaders | Self::ResponseHeaders | Self::Streams | Self::ResponseBody => {
                String::new()
            }
            Self::Time => "i32.const 0 call $time call $check".to_owned(),
            Self::AllHeaders => {
                "i32.const 0 i32.const 0 i32.const 4 call $headers call $check".to_owned()
            }
            Self::SetRequestHeader => format!("i32.const 0 {name} {name} call $set call $check"),
            Self::RemoveRequestHeader => format!("i32.const 0 {name} call $remove call $check"),
            Self::SetResponseHeader => format!("i32.const 2 {name} {name} call $set call $check"),
            Self::Property => {
                "i32.const 512 i32.const 14 i32.const 0 i32.const 4 call $property call $check"
                    .to_owned()
            }
            Self::SetProperty => format!("{name} {name} call $note call $check"),
            Self::ReadSharedData => {
                format!("{name} i32.const 0 i32.const 4 i32.const 8 call $read call $check")
            }
            Self::WriteSharedData => {
                format!("{name} i32.const 1024 i32.const 16 i32.const 0 call $write call $check")
            }
            Self::Counter => "i32.const 16 i32.load i64.const 1 call $count call $check".to_owned(),
        }
    }

    fn text(self) -> String {
        let calls: Vec<String> = (0..TIMES).map(|number| self.call(number)).collect();
        let calls = calls.join("\n");
        // Removed headers are there, so that removing them is work.
        let (before, request, response) = match self {
            Self::SetResponseHeader => (String::new(), "", calls.as_str()),
            Self::RemoveRequestHeader => {
                let set = |number| Self::SetRequestHeader.call(number);
                let sets: Vec<String> = (0..TIMES).map(set).collect();
                (sets.join("\n"), calls.as_str(), "")
            }
            _ => (String::new(), calls.as_str(), ""),
        };
        let names: String = (0..TIMES).fold(String::new(), |names, number| {
            names
                + &format!(
                    r#"(data (i32.const {}) "x-probe-{number}")"#,
                    1024 + 16 * number
                )
        });
        let cells: String = (0..TIMES).fold(String::new(), |cells, number| {
            cells + &Self::WriteSharedData.call(number) + "\n"
        });
        format!(
            r#"(module
            (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
            (import "env" "proxy_get_header_map_pairs" (func $headers (param i32 i32 i32) (result i32)))
            (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
            (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_set_property" (func $note (param i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_get_shared_data" (func $read (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_set_shared_data" (func $write (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_increment_metric" (func $count (param i32 i64) (result i32)))
            (memory (export "memory") 2)
            (data (i32.const 512) "source\00address")
            {names}
            (func (export "_initialize"))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 65536)
            (func (export "proxy_on_configure") (param i32 i32) (result i32)
                {cells}
                i32.const 0 i32.const 1024 i32.const 9 i32.const 16 call $define call $check
                i32.const 1)
            ;; A call that Envoy refuses would be measured for what it is not: the module traps.
            (func $check (param i32) local.get 0 if unreachable end)
            (func $response {response})
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                {before}
                {request}
                i32.const 0)
            {}
            )"#,
            self.callbacks()
        )
    }
}

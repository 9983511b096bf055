//! The last step of the filter's build.
//!
//! Envoy calls every callback that a module exports, each time for about as much as a header costs, and compiles all that is there
//! when it starts. So only those exports stay that the filter has work in; code that none of them reaches goes too.

/// What the host calls, and what it needs to load the module at all.
pub const EXPORTS: [&str; 20] = [
    "memory",
    "_initialize",
    "proxy_abi_version_0_2_1",
    "proxy_on_memory_allocate",
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_http_call_response",
    "proxy_on_grpc_receive",
    "proxy_on_grpc_close",
    "proxy_on_queue_ready",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_log",
    "proxy_on_delete",
];

/// Why a module cannot be finished.
#[derive(Debug)]
pub enum Error {
    /// It cannot be read.
    Unreadable(String),
    /// It lacks exports that Envoy needs.
    Missing(Vec<&'static str>),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "not a WebAssembly module: {why}"),
            Self::Missing(names) => write!(f, "the module does not export {}", names.join(", ")),
        }
    }
}

impl std::error::Error for Error {}

/// The module with no other exports than [`EXPORTS`], and without the code that only those reached.
///
/// # Errors
/// When `module` is none, or lacks one of them.
pub fn finish(module: &[u8]) -> Result<Vec<u8>, Error> {
    let mut module =
        walrus::Module::from_buffer(module).map_err(|why| Error::Unreadable(why.to_string()))?;
    let has = |name: &&str| module.exports.iter().any(|export| export.name == *name);
    let missing: Vec<_> = EXPORTS.into_iter().filter(|name| !has(name)).collect();
    if !missing.is_empty() {
        return Err(Error::Missing(missing));
    }
    let needless: Vec<_> = module
        .exports
        .iter()
        .filter(|export| !EXPORTS.contains(&export.name.as_str()))
        .map(walrus::Export::id)
        .collect();
    for export in needless {
        module.exports.delete(export);
    }
    walrus::passes::gc::run(&mut module);
    shorten_names(&mut module);
    Ok(module.emit_wasm())
}

/// Gives the filter's own functions the names that they have in their sources, as the backtrace of a trap is to show them, without the
/// filter's own name, which stands in all. What the compiler calls them is longer by a tenth of the module. Those of libraries have none, nor have instances of theirs for
/// the filter's types: their names take more room than all others, and who has called them is named.
fn shorten_names(module: &mut walrus::Module) {
    for function in module.funcs.iter_mut() {
        let name = function.name.take();
        let name = name.map(|name| format!("{:#}", rustc_demangle::demangle(&name)));
        let own = name.filter(|name| {
            let owner = name.trim_start_matches(['<', '&']);
            owner.starts_with("waykeeper") || owner.starts_with("proxy_")
        });
        function.name = own.map(|name| name.replace("waykeeper::", ""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with `exports`, all functions, and one function that nothing else reaches for each.
    fn module(exports: &[&str]) -> Vec<u8> {
        let functions: String = exports
            .iter()
            .filter(|name| **name != "memory")
            .map(|name| format!("(func (export \"{name}\") call ${name}) (func ${name})"))
            .collect();
        let memory = exports
            .contains(&"memory")
            .then_some("(memory (export \"memory\") 1)");
        wat::parse_str(format!(
            "(module {} {functions})",
            memory.unwrap_or_default()
        ))
        .unwrap()
    }

    fn exports(module: &[u8]) -> Vec<String> {
        let module = walrus::Module::from_buffer(module).unwrap();
        module
            .exports
            .iter()
            .map(|export| export.name.clone())
            .collect()
    }

    #[test]
    fn only_what_the_host_needs_stays() {
        let mut names = EXPORTS.to_vec();
        names.extend(["proxy_on_done", "proxy_on_grpc_receive_initial_metadata"]);
        let whole = module(&names);
        let finished = finish(&whole).unwrap();
        let mut left = exports(&finished);
        let mut wanted = EXPORTS.map(str::to_owned).to_vec();
        left.sort();
        wanted.sort();
        assert_eq!(left, wanted);
        let functions = |module: &[u8]| {
            walrus::Module::from_buffer(module)
                .unwrap()
                .funcs
                .iter()
                .count()
        };
        assert_eq!(functions(&finished), functions(&whole) - 4);
    }

    #[test]
    fn a_module_that_lacks_a_callback_is_refused_by_its_name() {
        let names = EXPORTS
            .into_iter()
            .filter(|name| *name != "proxy_on_delete");
        let error = finish(&module(&names.collect::<Vec<_>>())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the module does not export proxy_on_delete"
        );
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(matches!(finish(b"\x7fELF"), Err(Error::Unreadable(_))));
    }

    #[test]
    fn functions_bear_the_names_of_their_sources() {
        let mangled = "_ZN9waykeeper4walk17h0123456789abcdefE";
        let library = "_ZN5alloc4grow17h0123456789abcdefE";
        let instance = "_ZN4core3ptr33drop_in_place$LT$waykeeper..Walk$GT$17h0123456789abcdefE";
        let exports: String = EXPORTS
            .iter()
            .filter(|name| **name != "memory")
            .map(|name| format!("(export \"{name}\" (func ${mangled}))"))
            .collect();
        let text = format!(
            "(module (memory (export \"memory\") 1) (func ${mangled} call ${library} call ${instance})
                (func ${library}) (func ${instance}) {exports})"
        );
        let finished = finish(&wat::parse_str(text).unwrap()).unwrap();
        let text = String::from_utf8_lossy(&finished);
        assert!(text.contains("\u{4}walk") && !text.contains("17h0123"));
        assert!(!text.contains("grow") && !text.contains("drop"), "{text}");
    }
}

//! Links the filter's own entry points in place of those that the crate `proxy-wasm` brings under the same names:
//! of two definitions the linker takes the first, and ours stands before its dependencies.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("wasm32") {
        println!("cargo::rustc-cdylib-link-arg=-zmuldefs");
    }
}

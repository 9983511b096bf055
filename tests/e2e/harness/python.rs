//! Clients of the field, in Python: what stands in a script beside the tests runs with a package that `make test-tools`
//! installs.

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::{PATIENCE, needed, repository};

/// Has `tests/e2e/PACKAGE_client.py` do a case against a base URL, and takes what it printed.
pub(crate) async fn python(package: &str, base_url: &str, case: &str) -> Value {
    let client = Command::new("python3")
        .arg(repository(&format!("tests/e2e/{package}_client.py")))
        .args([base_url, case])
        .env(
            "PYTHONPATH",
            needed(&format!(".tools/{package}"), "make test-tools"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let output = timeout(3 * PATIENCE, client)
        .await
        .expect("the client is not done");
    let output = output.expect("python3");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

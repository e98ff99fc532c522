//! The OpenAI Python SDK against the server.

use std::process::Command;

use eitri_tests::{Server, smollm2, workspace};

#[test]
fn openai_python_sync_async_and_stream() {
    let python = workspace().join("local/python/bin/python");
    assert!(python.is_file(), "the SDK is missing: install it with `cargo xtask python`");
    let server = Server::start(&smollm2().unwrap(), &[]).unwrap();
    let output = Command::new(python)
        .arg(workspace().join("tests/python/sdk_check.py"))
        .arg(&server.base)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("ok  many"), "{text}");
}

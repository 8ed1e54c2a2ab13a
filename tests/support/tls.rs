//! Certificates and TLS connections of tests, by the `openssl` command.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").current_dir(folder).args(arguments).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `ca.crt`, and for each name `NAME.crt` and `NAME.key`, signed by it, for localhost.
pub fn make_certificates(folder: &Path, names: &[&str]) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = ["req", "-x509", "-days", "30", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt"];
    openssl(folder, &[&ca[..], &key].concat());
    fs::write(folder.join("extensions"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .expect("written");
    for name in names {
        let [certificate, private, request, subject] =
            [format!("{name}.crt"), format!("{name}.key"), format!("{name}.csr"), format!("/CN={name}")];
        openssl(folder, &[&["req", "-subj", &subject, "-keyout", &private, "-out", &request][..], &key].concat());
        let sign = ["x509", "-req", "-days", "30", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
        let files = ["-extfile", "extensions", "-in", &request, "-out", &certificate];
        openssl(folder, &[&sign[..], &files].concat());
    }
}

/// Killed when it goes out of scope.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A TLS connection whose bytes go through the pipes of a process; the daemon must be "localhost".
pub fn s_client(folder: &Path, address: SocketAddr, arguments: &[&str]) -> Running {
    let child = Command::new("openssl")
        .current_dir(folder)
        .args(["s_client", "-quiet", "-verify_return_error", "-CAfile", "ca.crt", "-verify_hostname", "localhost"])
        .args(["-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Running(child.expect("openssl runs"))
}

//! Certificates of receivers.

use std::{
    fs,
    io::{Read, Write},
    sync::Arc,
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use insta::assert_snapshot;
use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};
use rustls::{ServerConfig, ServerConnection, pki_types::PrivatePkcs8KeyDer};
use watchkeeper_core::{Sink, author::SinkError};

use super::sink;
use crate::{
    loopback::{listen, response},
    samples::{build, finding, mistake},
    webhook::Webhook,
};

/// Makes a self-signed certificate for `localhost`, valid until the end of a
/// year.
fn certificate(until: i32) -> CertifiedKey<KeyPair> {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 12, 31);
    let signing_key = KeyPair::generate().unwrap();
    CertifiedKey { cert: params.self_signed(&signing_key).unwrap(), signing_key }
}

fn pem(certificate: &CertifiedKey<KeyPair>) -> String {
    let der = STANDARD.encode(certificate.cert.der());
    format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n")
}

/// Posts to a receiver with `certificate`, from a sink whose `ca_file` contains `trusted`.
fn post_over_tls(
    host: &str,
    certificate: &CertifiedKey<KeyPair>,
    trusted: Option<&CertifiedKey<KeyPair>>,
) -> Result<(), SinkError> {
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    let (listener, url) = listen();
    let receiver = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut stream);
        // A sink that does not trust the certificate sends no request.
        let mut request = [0; 4096];
        if stream.read(&mut request).is_ok_and(|it| it != 0) {
            stream.write_all(response("200 OK", "").as_bytes()).unwrap();
        }
    });
    let url = url.replace("http://127.0.0.1", &format!("https://{host}"));
    let folder = tempfile::tempdir().unwrap();
    let ca_file = trusted.map(|trusted| {
        let path = folder.path().join("ca.pem");
        fs::write(&path, pem(trusted)).unwrap();
        format!("ca_file = '{}'", path.display())
    });
    let mut sink = sink(&url, &ca_file.unwrap_or_default());
    let outcome = sink.deliver(&finding());
    receiver.join().unwrap();
    outcome
}

#[test]
fn a_certificate_must_be_trusted_current_and_for_the_host() {
    let localhost = &certificate(4000);
    let expired = &certificate(2001);
    post_over_tls("localhost", localhost, Some(localhost)).unwrap();

    let error = |outcome: Result<(), SinkError>| outcome.unwrap_err().to_string();
    assert_snapshot!(error(post_over_tls("localhost", localhost, None)), @"unavailable: invalid peer certificate: UnknownIssuer");
    // An authority of one's own replaces all others.
    let other = &certificate(4000);
    assert_snapshot!(error(post_over_tls("localhost", localhost, Some(other))), @"unavailable: invalid peer certificate: BadSignature");
    assert_snapshot!(error(post_over_tls("127.0.0.1", localhost, Some(localhost))), @r#"unavailable: invalid peer certificate: certificate not valid for name "[secret]"; certificate is only valid for DnsName("localhost")"#);
    let error = error(post_over_tls("localhost", expired, Some(expired)));
    assert!(
        error.starts_with("unavailable: invalid peer certificate: certificate expired"),
        "{error}"
    );
}

#[test]
fn a_file_without_certificates_is_reported_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let options = format!("url = 'https://example.com'\nca_file = '{}'", path.display());
    let mut sink = build::<Webhook>(&options).unwrap();
    let mut open = || match sink.open() {
        Ok(()) => "ok".to_owned(),
        Err(err) => err.to_string().replace(&folder.path().display().to_string(), ""),
    };
    assert_snapshot!(open(), @"unavailable: cannot read `ca_file` /ca.pem");
    fs::write(&path, "not a certificate").unwrap();
    assert_snapshot!(open(), @"unavailable: `ca_file` /ca.pem contains no certificate");
    fs::write(&path, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    assert_snapshot!(open(), @"unavailable: `ca_file` /ca.pem is not a file of certificates in PEM format");
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert_snapshot!(open(), @"unavailable: `ca_file` /ca.pem has more than 1 MiB");
    fs::write(&path, pem(&certificate(4000))).unwrap();
    assert_snapshot!(open(), @"ok");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_snapshot!(open(), @"unavailable: `ca_file` /ca.pem is not a regular file");
    assert_snapshot!(mistake::<Webhook>("url = 'https://example.com'\nca_file = ''"), @"invalid value for `ca_file`: is empty");
}

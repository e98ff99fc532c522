//! Servers behind TLS.

use std::sync::Arc;

use eitri_bench::{
    Progress, RunControl, ServerAddress,
    dataset::Sample,
    first_model,
    outcome::{BenchOutcome, FailureKind},
    run,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::{
    scripted::{Answer, Scripted},
    vllm,
};

/// Valid until 2126 for `localhost` and 127.0.0.1, signed by itself:
/// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 36500 -nodes ...`.
const CERTIFICATE: &[u8] = include_bytes!("../certificates/localhost.der");
const KEY: &[u8] = include_bytes!("../certificates/localhost.key.der");

/// Speaks TLS before a server that does not; its address.
async fn front(behind: &Scripted) -> String {
    let provider = Arc::new(rustls_graviola::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let behind = behind.address;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust the certificate ends it here.
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let mut inside = TcpStream::connect(behind).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            });
        }
    });
    format!("https://localhost:{}", address.port())
}

async fn measure(base_url: &str, flags: &str) -> BenchOutcome {
    let tokenizer = vllm::workspace().join("models/robot");
    let mut words = vec!["--base-url", base_url, "--tokenizer", tokenizer.to_str().unwrap()];
    words.extend(["--model", "sim", "--ready-check-timeout-sec", "0", "--num-prompts", "2"]);
    words.extend(flags.split_whitespace());
    let plan = vllm::parse(&words).plan(None, None).unwrap();
    let sample = Sample { prompt: "p".to_owned(), prompt_tokens: 1, output_tokens: 9 };
    let samples = vec![sample; 2];
    let arrivals = plan.prepare().unwrap().arrivals;
    let (_keep, stop) = watch::channel(false);
    let control = RunControl { progress: Arc::new(Progress::default()), stop };
    run(plan.run, samples, &arrivals, None, &control, |_| {}).await.unwrap()
}

#[tokio::test]
async fn a_certificate_is_checked_unless_any_will_do() {
    const EVENTS: [&str; 2] =
        [r#"{"choices": [{"index": 0, "text": "go ", "finish_reason": "stop"}]}"#, "[DONE]"];
    let server = Scripted::start(|_| Answer::stream(&EVENTS)).await;
    let url = front(&server).await;
    let outcome = measure(&url, "--insecure").await;
    assert_eq!((outcome.metrics.completed, outcome.metrics.failed), (2, 0));
    assert!(outcome.settings.api_url.starts_with("https://localhost:"));
    let outcome = measure(&url, "").await;
    assert_eq!(outcome.metrics.failed, 2);
    let failure = outcome.requests[0].failure.as_ref().unwrap();
    assert_eq!(failure.kind, FailureKind::Connect);
    assert!(failure.message.contains("certificate"), "{}", failure.message);
    assert_eq!(server.received().len(), 2);
    let address = ServerAddress { base_url: url, ..ServerAddress::default() };
    let error = first_model(&address, None).await.unwrap_err().to_string();
    assert!(error.contains("https://localhost") && error.contains("certificate"), "{error}");
}

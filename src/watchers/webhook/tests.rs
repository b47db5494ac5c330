//! Webhooks, against small servers on the loopback address.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::analysis::alert_event::{AlertId, Phase};
use crate::analysis::kind::Level;
use crate::etf::text::parse;

const NOW: Timestamp = Timestamp::from_micros(1_614_265_330_500_000);

fn alert() -> AlertEvent {
    AlertEvent {
        rule: "too many".into(),
        phase: Phase::Firing,
        id: AlertId::parse("00f0345979ddc09c").unwrap(),
        number: 1,
        at: NOW,
        severity: Level::Error,
        instance: "error_logger".into(),
        by: Some(parse("'a@b'").unwrap()),
        text: "too many errors on a@b".into(),
        count: 17,
        entry: None,
        firing_at: None,
        explanation: None,
    }
}

fn webhook(url: &str) -> Webhook {
    Webhook {
        name: "on_call".into(),
        url: url.to_owned(),
        template: Template::Generic,
        secret: Some(Secret::parse("a secret of the test").unwrap()),
        allow_private: true,
    }
}

/// Takes one connection. What it does with it is `answer`'s business, when it has read the request, which is returned.
fn serve(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/services/topsecret?key=topsecret", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream);
        answer(&mut stream);
        request
    });
    (url, server)
}

fn read_request(stream: &mut impl Read) -> String {
    let mut request = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "the request is whole");
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.unwrap().parse::<usize>().unwrap() {
            return text.into_owned();
        }
    }
}

/// What comes of an answer, and the request.
fn answered(answer: &'static str) -> (Result<(), SendError>, String) {
    let (url, server) = serve(move |stream| stream.write_all(answer.as_bytes()).unwrap());
    let sent = Sender::new(&webhook(&url), None).send(&alert(), NOW);
    (sent, server.join().unwrap())
}

/// A listener, and whether nobody has called it.
fn watched() -> (u16, impl Fn() -> bool) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, move || listener.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock))
}

/// The example of the specification's own tests.
#[test]
fn signatures_are_those_of_standard_webhooks() {
    let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signed =
        secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", r#"{"test": 2432232314}"#);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn secrets_are_long_enough_and_errors_do_not_show_them() {
    for (text, expected) in [
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Ok(24)),
        ("0123456789abcdef", Ok(16)),
        ("0123456789abcde", Err("15 bytes")),
        ("", Err("0 bytes")),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", Err("base64")),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2La", Err("21 bytes")),
    ] {
        match (Secret::parse(text), expected) {
            (Ok(secret), expected) => assert_eq!(Ok(secret.0.len()), expected),
            (Err(why), Err(part)) => assert!(why.contains(part) && !why.contains("MfK"), "{why}"),
            (Err(why), _) => panic!("{why}"),
        }
    }
    let long = format!("whsec_{}", "A".repeat(88));
    assert!(Secret::parse(&long).unwrap_err().contains("66 bytes"));
}

#[test]
fn only_urls_that_can_be_sent_to_are_taken() {
    for (url, expected) in [
        ("https://hooks.example/services/T0/B0", ""),
        ("http://hooks.example:8080/?a=b", ""),
        ("https://8.8.8.8/x", ""),
        ("https://[2606:4700::1111]/x", ""),
        ("https://4server/x", ""),
        ("hooks.example/x", "no URL"),
        ("/x", "neither https"),
        ("ftp://hooks.example/x", "neither https"),
        ("https://", "no URL"),
        ("https://:80/x", "no host"),
        ("https://a b/x", "no URL"),
        ("", "no URL"),
        ("https://me:topsecret@hooks.example/x", "password"),
        ("https://me@hooks.example/x", "password"),
        ("https://hooks.example/x#y", "fragment"),
        ("http://127.0.0.1/x", "allow_private"),
        ("http://127.0.0.1./x", "allow_private"),
        ("http://10.1.2.3:80/x", "allow_private"),
        ("http://[::1]/x", "allow_private"),
        ("http://[::ffff:127.0.0.1]/x", "allow_private"),
        ("http://localhost/x", "allow_private"),
        ("http://LocalHost./x", "allow_private"),
        ("http://a.localhost/x", "allow_private"),
        ("http://2130706433/x", "four decimal"),
        ("http://0x7f.1/x", "four decimal"),
        ("http://127.1/x", "four decimal"),
        ("http://0x7f000001/x", "four decimal"),
        ("http://0177.0.0.1/x", "four decimal"),
    ] {
        let why = Webhook::check_url(url, false).err().unwrap_or_default();
        assert_eq!(why.is_empty(), expected.is_empty(), "{url}: {why}");
        assert!(why.contains(expected) && !why.contains("topsecret"), "{url}: {why}");
    }
    for url in ["http://127.0.0.1/x", "http://localhost:80/x", "http://[::1]/x"] {
        assert_eq!(Webhook::check_url(url, true), Ok(()), "{url}");
    }
}

#[test]
fn what_is_shown_of_a_webhook_holds_no_secrets() {
    let webhook = webhook("https://me:topsecret@hooks.example:8443/topsecret?key=topsecret");
    assert_eq!(
        format!("{webhook:?}"),
        r#"Webhook { name: "on_call", url: Some("https://hooks.example:8443"), template: Generic, secret: Some(Secret(..)), allow_private: true }"#
    );
    assert_eq!(place("/x"), None);
}

#[test]
fn a_request_says_who_sends_what_and_is_signed() {
    for answer in
        ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 204 No Content\r\n\r\n"]
    {
        let (sent, request) = answered(answer);
        sent.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /services/topsecret?key=topsecret HTTP/1.1\r\n"), "{head}");
        let secret = webhook("").secret.unwrap();
        let signature = secret.sign("00f0345979ddc09c-firing", "1614265330", body);
        for line in [
            "content-type: application/json",
            &format!("user-agent: {USER_AGENT}"),
            "webhook-id: 00f0345979ddc09c-firing",
            "webhook-timestamp: 1614265330",
            &format!("webhook-signature: {signature}"),
        ] {
            assert!(head.lines().any(|it| it == line), "{line} in {head}");
        }
        assert_eq!(body, body::generic(&alert(), None));
    }
}

#[test]
fn slack_is_told_with_a_link_and_without_a_signature() {
    let (url, server) =
        serve(|stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap());
    let webhook = Webhook { template: Template::Slack, secret: None, ..webhook(&url) };
    Sender::new(&webhook, Some("https://logs.example")).send(&alert(), NOW).unwrap();
    let request = server.join().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("webhook-signature"), "{head}");
    let link = "https://logs.example/?instance=error_logger&to=1614265330500000";
    assert_eq!(body, body::slack(&alert(), Some(link)));
}

#[test]
fn what_is_refused_says_whether_and_when_to_try_again() {
    for (answer, message, is_final, retry_after) in [
        (
            "500 Oh\r\nContent-Length: 9\r\n\r\n\nno\x1b[2J\n",
            r"answered 500: no\u{1b}[2J",
            false,
            None,
        ),
        ("404 No\r\nContent-Length: 0\r\n\r\n", "answered 404: ", true, None),
        ("304 No\r\n\r\n", "answered 304: ", true, None),
        ("408 No\r\nContent-Length: 0\r\n\r\n", "answered 408: ", false, None),
        ("425 No\r\nContent-Length: 0\r\n\r\n", "answered 425: ", false, None),
        (
            "429 No\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n",
            "answered 429: ",
            false,
            Some(30),
        ),
        (
            "503 No\r\nRetry-After: 7200\r\nContent-Length: 0\r\n\r\n",
            "answered 503: ",
            false,
            Some(3600),
        ),
        (
            // 9.5 s after `NOW`.
            "503 No\r\nRetry-After: Thu, 25 Feb 2021 15:02:20 GMT\r\nContent-Length: 0\r\n\r\n",
            "answered 503: ",
            false,
            Some(9),
        ),
        (
            "503 No\r\nRetry-After: Thu, 25 Feb 2021 15:02:00 GMT\r\nContent-Length: 0\r\n\r\n",
            "answered 503: ",
            false,
            Some(0),
        ),
        ("503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", "answered 503: ", false, None),
    ] {
        let answer: &'static str = format!("HTTP/1.1 {answer}").leak();
        let error = answered(answer).0.unwrap_err();
        assert!(matches!(error, SendError::Refused { .. }), "{error:?}");
        assert_eq!(error.to_string(), message);
        assert_eq!(error.is_final(), is_final, "{answer}");
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), retry_after, "{answer}");
    }
}

#[test]
fn a_redirect_is_named_and_not_followed() {
    let (port, is_quiet) = watched();
    for status in [301, 302, 303, 307, 308] {
        let head = format!(
            "HTTP/1.1 {status} Moved\r\nLocation: http://127.0.0.1:{port}/topsecret\r\nContent-Length: 0\r\n\r\n"
        );
        let error = answered(head.leak()).0.unwrap_err();
        assert!(error.is_final());
        assert_eq!(
            error.to_string(),
            format!(
                "answered {status}, a redirect to http://127.0.0.1:{port}; none is followed: write that URL"
            )
        );
        assert!(is_quiet());
    }
    let (sent, _) = answered("HTTP/1.1 302 Found\r\nLocation: /topsecret\r\n\r\n");
    assert!(sent.unwrap_err().to_string().contains("to another place"));
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    for (status, is_taken) in [(200, true), (500, false)] {
        let (url, server) = serve(move |stream| {
            let head = format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            while stream.write_all(b"4\r\nover\r\n").is_ok() {}
        });
        let sent = Sender::new(&webhook(&url), None).send(&alert(), NOW);
        assert_eq!(sent.is_ok(), is_taken);
        if let Err(error) = sent {
            assert!(error.to_string().len() < 300 && error.to_string().contains("overover"));
        }
        server.join().unwrap();
    }
}

#[test]
fn who_does_not_answer_is_not_waited_for() {
    let times = Times { connect: CONNECT_TIME, whole: Duration::from_millis(300) };
    for (begins, message) in [
        ("", "no answer within 300ms"),
        ("HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\nbec", "answered 500: bec"),
    ] {
        let (url, server) = serve(|stream| {
            stream.write_all(begins.as_bytes()).unwrap();
            // It waits until we have gone.
            let _ = stream.read(&mut [0]);
        });
        let sender = Sender::with(&webhook(&url), None, times, Vec::new);
        let error = sender.send(&alert(), NOW).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(!error.is_final() && error.retry_after().is_none());
        server.join().unwrap();
    }

    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sent = Sender::new(&webhook(&format!("http://{gone}/topsecret")), None).send(&alert(), NOW);
    let error = sent.unwrap_err();
    assert!(matches!(error, SendError::Connection(_)) && !error.is_final(), "{error:?}");
    assert!(!error.to_string().contains("topsecret"), "{error}");
}

/// However its address is written: systems take all of these for 127.0.0.1.
#[test]
fn what_is_not_public_is_not_connected_to() {
    let (port, is_quiet) = watched();
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "localhost",
        "0.0.0.0",
    ] {
        let webhook =
            Webhook { allow_private: false, ..webhook(&format!("http://{host}:{port}/topsecret")) };
        let error = Sender::new(&webhook, None).send(&alert(), NOW).unwrap_err();
        assert!(matches!(error, SendError::NotPublic(_)), "{host}: {error:?}");
        assert!(error.to_string().contains("allow_private = true") && !error.is_final());
    }
    // Not every system knows it.
    let webhook =
        Webhook { allow_private: false, ..webhook(&format!("http://localhost.:{port}/")) };
    Sender::new(&webhook, None).send(&alert(), NOW).unwrap_err();
    assert!(is_quiet());
}

#[test]
fn https_is_spoken_with_who_is_vouched_for() {
    let CertifiedKey::<KeyPair> { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let times = Times { connect: CONNECT_TIME, whole: WHOLE_TIME };
    for (is_known, message) in [(true, ""), (false, "SSL_CERT_FILE")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/topsecret", listener.local_addr().unwrap());
        let config = config.clone();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
            if is_known {
                read_request(&mut stream);
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            } else {
                stream.read(&mut [0]).unwrap_err();
            }
        });
        let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap().cert;
        let authority = if is_known { cert.der() } else { other.der() };
        let authorities = || vec![Certificate::from_der(authority).to_owned()];
        let sent = Sender::with(&webhook(&url), None, times, authorities).send(&alert(), NOW);
        let said = sent.err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(said.is_empty(), is_known, "{said}");
        assert!(said.contains(message), "{said}");
        server.join().unwrap();
    }

    let (port, is_quiet) = watched();
    let webhook = webhook(&format!("https://127.0.0.1:{port}/"));
    let error = Sender::with(&webhook, None, times, Vec::new).send(&alert(), NOW).unwrap_err();
    assert!(matches!(error, SendError::NoAuthorities) && is_quiet(), "{error:?}");
}

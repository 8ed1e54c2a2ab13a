//! Two transports face to face in memory, whatever the sizes in which their bytes arrive.

use super::websocket::Framed;
use super::*;
use std::path::PathBuf;
use std::process::Command;

/// A folder with a self-signed certificate for "localhost" and its key.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().unwrap() };
        this.make("server", &["-days", "30"]);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `NAME.crt` and `NAME.key`.
    fn make(&self, name: &str, options: &[&str]) {
        let (certificate, key) = (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            // A plain certificate: as its own authority it must not be one that may sign others.
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(options)
            .arg("-out")
            .arg(certificate)
            .arg("-keyout")
            .arg(key)
            .output()
            .expect("openssl runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn settings(&self, name: &str) -> crate::config::Tls {
        crate::config::Tls {
            certificate: self.path(&format!("{name}.crt")),
            key_file: self.path(&format!("{name}.key")),
            chain_file: None,
            cert_authority: None,
        }
    }
}

fn has_openssl() -> bool {
    Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success())
}

fn frame(body: &[u8]) -> Bytes {
    let mut bytes = (body.len() as u16).to_le_bytes().to_vec();
    bytes.extend(body);
    bytes.into()
}

fn flushed(transport: &mut Transport) -> Vec<u8> {
    let mut bytes = Vec::new();
    transport.flush(|flushed| bytes.extend_from_slice(&flushed));
    bytes
}

/// Feeds bytes in pieces of `size`; what was not used is given again with more, as a connection does.
fn feed(transport: &mut Transport, bytes: &[u8], size: usize, plaintext: &mut Vec<u8>) -> Result<(), TransportError> {
    let mut waiting = Vec::new();
    for piece in bytes.chunks(size) {
        waiting.extend_from_slice(piece);
        let (used, result) = transport.receive(&waiting, plaintext);
        waiting.drain(..used);
        result?;
    }
    Ok(())
}

fn shake_hands(client: &mut Transport, server: &mut Transport, size: usize) {
    let mut nothing = Vec::new();
    for _ in 0..10 {
        let sent = flushed(client);
        feed(server, &sent, size, &mut nothing).unwrap();
        let sent = flushed(server);
        feed(client, &sent, size, &mut nothing).unwrap();
    }
    assert!(client.is_ready() && server.is_ready() && nothing.is_empty());
}

/// A client and a server that believe each other.
fn tls_pair() -> (Transport, Transport) {
    let certificates = Certificates::new();
    let mut settings = certificates.settings("server");
    settings.cert_authority = Some(certificates.path("server.crt"));
    let (client, server) = (tls::client(&settings).unwrap(), tls::server(&settings).unwrap());
    assert_eq!((server.warnings.len(), client.warnings.len()), (0, 0));
    let transport = |side| Transport::new(&Layers { tls: Some(side), ..Layers::default() }).unwrap();
    (
        transport(TlsSide::Client(client.config, "localhost".try_into().unwrap())),
        transport(TlsSide::Server(server.config)),
    )
}

#[test]
fn tls_carries_frames_both_ways_in_pieces_of_any_size_and_closes() {
    if !has_openssl() {
        return;
    }
    for size in [1, 7, 100_000] {
        let (mut client, mut server) = tls_pair();
        assert!(!server.is_ready() && !client.is_ready());
        shake_hands(&mut client, &mut server, size);

        let frames = [frame(b"hello"), frame(&[7; 65_535]), frame(b"")];
        for (from, to) in [(0, 1), (1, 0)] {
            let sides = [&mut client, &mut server];
            for frame in &frames {
                sides[from].send(frame, &mut Framed::default(), |_| panic!("nothing leaves before it is encrypted"));
            }
            let sent = flushed(sides[from]);
            let mut plaintext = Vec::new();
            feed(sides[to], &sent, size, &mut plaintext).unwrap();
            assert_eq!(plaintext, frames.concat());
        }
        client.close();
        let sent = flushed(&mut client);
        assert!(matches!(feed(&mut server, &sent, size, &mut Vec::new()), Err(TransportError::Closed)));
    }
}

#[test]
fn what_is_sent_together_is_encrypted_together() {
    if !has_openssl() {
        return;
    }
    let (mut client, mut server) = tls_pair();
    let frame = frame(&[7; 30]);
    // Before the handshake it waits.
    for _ in 0..3 {
        client.send(&frame, &mut Framed::default(), |_| panic!("not before it is encrypted"));
    }
    assert_eq!(client.unsealed_bytes(), 3 * frame.len());
    let mut plaintext = Vec::new();
    while plaintext.is_empty() {
        feed(&mut server, &flushed(&mut client), usize::MAX, &mut plaintext).expect("well-formed");
        feed(&mut client, &flushed(&mut server), usize::MAX, &mut Vec::new()).expect("well-formed");
    }
    for _ in 0..1000 {
        client.send(&frame, &mut Framed::default(), |_| panic!("not before it is encrypted"));
    }
    let sealed = flushed(&mut client);
    assert!(sealed.len() < 1000 * frame.len() + 128, "{} bytes for {}", sealed.len(), 1000 * frame.len());
    assert_eq!(client.unsealed_bytes(), 0);
    feed(&mut server, &sealed, usize::MAX, &mut plaintext).expect("well-formed");
    assert_eq!(plaintext, frame.repeat(1003));
}

#[test]
fn a_server_with_an_authority_refuses_a_client_without_its_certificate() {
    if !has_openssl() {
        return;
    }
    let certificates = Certificates::new();
    certificates.make("other", &["-days", "30"]);
    let mut settings = certificates.settings("server");
    settings.cert_authority = Some(certificates.path("server.crt"));
    let server = tls::server(&settings).unwrap().config;
    let mut stranger = certificates.settings("other");
    stranger.cert_authority = settings.cert_authority;
    let stranger = tls::client(&stranger).unwrap().config;
    let side = TlsSide::Server(server);
    let mut server = Transport::new(&Layers { tls: Some(side), ..Layers::default() }).unwrap();
    let side = TlsSide::Client(stranger, "localhost".try_into().unwrap());
    let mut client = Transport::new(&Layers { tls: Some(side), ..Layers::default() }).unwrap();
    let mut outcome = Ok(());
    for _ in 0..4 {
        let sent = flushed(&mut client);
        outcome = outcome.and(feed(&mut server, &sent, 4096, &mut Vec::new()));
        let sent = flushed(&mut server);
        let _ = feed(&mut client, &sent, 4096, &mut Vec::new());
    }
    assert!(matches!(outcome, Err(TransportError::Tls(_))), "{outcome:?}");
    assert!(!server.is_ready());
}

#[test]
fn what_is_no_tls_is_refused_at_once() {
    if !has_openssl() {
        return;
    }
    let certificates = Certificates::new();
    let side = TlsSide::Server(tls::server(&certificates.settings("server")).unwrap().config);
    let mut server = Transport::new(&Layers { tls: Some(side), ..Layers::default() }).unwrap();
    let result = feed(&mut server, b"\x0c\x00\x01\x00 not a client hello of TLS at all", 1000, &mut Vec::new());
    assert!(matches!(result, Err(TransportError::Tls(_))));
}

#[test]
fn certificates_that_cannot_be_used_are_told_with_their_file_and_key() {
    if !has_openssl() {
        return;
    }
    let certificates = Certificates::new();
    certificates.make("other", &["-days", "30"]);
    let good = certificates.settings("server");
    let refusal = |settings: &crate::config::Tls| tls::server(settings).unwrap_err().to_string();

    let mut missing = good.clone();
    missing.certificate = certificates.path("none.crt");
    let text = refusal(&missing);
    assert!(text.contains("none.crt") && text.contains("`certificate`") && text.contains("No such file"), "{text}");

    let mut swapped = good.clone();
    swapped.key_file = certificates.path("server.crt");
    assert!(refusal(&swapped).contains("holds no private key"), "{}", refusal(&swapped));
    let mut swapped = good.clone();
    swapped.certificate = certificates.path("server.key");
    assert!(refusal(&swapped).contains("holds no certificate"), "{}", refusal(&swapped));

    let mut mismatch = good.clone();
    mismatch.key_file = certificates.path("other.key");
    assert!(refusal(&mismatch).contains("is not that of the first certificate"), "{}", refusal(&mismatch));

    let mut damaged = good.clone();
    damaged.cert_authority = Some(certificates.path("damaged.crt"));
    std::fs::write(certificates.path("damaged.crt"), "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")
        .unwrap();
    let text = refusal(&damaged);
    assert!(text.contains("damaged.crt") && text.contains("`cert_authority`"), "{text}");
}

#[test]
fn an_expired_certificate_is_a_warning() {
    if !has_openssl() {
        return;
    }
    let certificates = Certificates::new();
    let openssl = |arguments: &[&str]| {
        let folder = certificates.folder.path();
        let made = Command::new("openssl").current_dir(folder).args(arguments).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    // Of the commands that sign, only this one takes dates in every version of openssl.
    let authority = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\n\
        policy=p\nx509_extensions=v3\n[p]\ncommonName=supplied\n[v3]\nsubjectAltName=DNS:localhost\n";
    for (name, text) in [("ca.cnf", authority), ("index.txt", ""), ("serial", "01\n")] {
        std::fs::write(certificates.path(name), text).unwrap();
    }
    openssl(&["req", "-new", "-subj", "/CN=localhost", "-key", "server.key", "-out", "old.csr"]);
    let sign =
        ["ca", "-batch", "-notext", "-config", "ca.cnf", "-selfsign", "-keyfile", "server.key", "-in", "old.csr"];
    let dates = ["-out", "old.crt", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z"];
    openssl(&[&sign[..], &dates].concat());
    let mut settings = certificates.settings("old");
    settings.key_file = certificates.path("server.key");
    let warnings = tls::server(&settings).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("old.crt expired"), "{warnings:?}");
}

/// A client's side of WebSocket: tungstenite's own, over memory.
mod browser {
    use super::*;
    use tungstenite::protocol::Role;

    #[derive(Debug, Default)]
    pub struct Memory {
        pub incoming: std::collections::VecDeque<u8>,
        pub outgoing: Vec<u8>,
    }

    impl Read for Memory {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.incoming.read(into)? {
                0 => Err(std::io::ErrorKind::WouldBlock.into()),
                length => Ok(length),
            }
        }
    }

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.outgoing.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    pub const REQUEST: &str = "GET /game HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Protocol: binary, other\r\n\r\n";

    pub fn open() -> tungstenite::WebSocket<Memory> {
        tungstenite::WebSocket::from_raw_socket(Memory::default(), Role::Client, None)
    }
}

fn websocket() -> Transport {
    Transport::new(&Layers { websocket: true, ..Layers::default() }).unwrap()
}

fn opened(size: usize) -> Transport {
    let mut server = websocket();
    feed(&mut server, browser::REQUEST.as_bytes(), size, &mut Vec::new()).unwrap();
    let answer = String::from_utf8(flushed(&mut server)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the vector of RFC 6455: {answer}");
    assert!(answer.to_lowercase().contains("sec-websocket-protocol: binary\r\n"), "{answer}");
    assert!(server.is_ready());
    server
}

#[test]
fn one_binary_message_is_one_datagram_without_its_length() {
    use tungstenite::Message;
    for size in [8, 100_000] {
        let mut server = opened(size);
        let mut client = browser::open();
        let bodies: [&[u8]; 5] = [b"x", b"", &[1; 125], &[2; 126], &[3; 65_535]];
        for body in bodies {
            client.send(Message::binary(body.to_vec())).unwrap();
        }
        let mut plaintext = Vec::new();
        let sent = std::mem::take(&mut client.get_mut().outgoing);
        feed(&mut server, &sent, size, &mut plaintext).unwrap();
        let expected: Vec<Bytes> = bodies.iter().map(|body| frame(body)).collect();
        assert_eq!(plaintext, expected.concat());

        let mut framed = Framed::default();
        for frame in &expected {
            server.send(frame, &mut framed, |bytes| client.get_mut().incoming.extend(&bytes));
        }
        for body in bodies {
            assert_eq!(client.read().unwrap(), Message::binary(body.to_vec()));
        }
    }
}

#[test]
fn a_broadcast_is_framed_once_for_all_who_get_it() {
    let (mut first, mut second, mut framed) = (opened(4096), opened(4096), Framed::default());
    let frame = frame(b"for everybody");
    let mut sent = Vec::new();
    first.send(&frame, &mut framed, |bytes| sent.push(bytes));
    second.send(&frame, &mut framed, |bytes| sent.push(bytes));
    assert_eq!(&sent[0][..], b"\x82\x0dfor everybody");
    assert_eq!(sent[0].as_ptr(), sent[1].as_ptr());
}

#[test]
fn pings_are_answered_and_a_close_is_answered_and_ends_it() {
    use tungstenite::Message;
    let mut server = opened(4096);
    let mut client = browser::open();
    client.send(Message::Ping("are you there".into())).unwrap();
    let sent = std::mem::take(&mut client.get_mut().outgoing);
    feed(&mut server, &sent, 3, &mut Vec::new()).unwrap();
    client.get_mut().incoming.extend(flushed(&mut server));
    assert_eq!(client.read().unwrap(), Message::Pong("are you there".into()));

    client.send(Message::binary(vec![5])).unwrap();
    client.close(None).unwrap();
    let sent = std::mem::take(&mut client.get_mut().outgoing);
    let mut plaintext = Vec::new();
    assert!(matches!(feed(&mut server, &sent, 1000, &mut plaintext), Err(TransportError::Closed)));
    assert_eq!(plaintext, [1, 0, 5], "what came before the Close counts");
    client.get_mut().incoming.extend(flushed(&mut server));
    assert!(matches!(client.read().unwrap(), Message::Close(_)));
}

#[test]
fn our_goodbye_is_a_close_frame_behind_what_was_sent() {
    use tungstenite::Message;
    let mut server = opened(4096);
    let mut client = browser::open();
    server.send(&frame(b"you are ejected"), &mut Framed::default(), |bytes| client.get_mut().incoming.extend(&bytes));
    server.close();
    client.get_mut().incoming.extend(flushed(&mut server));
    assert_eq!(client.read().unwrap(), Message::binary(b"you are ejected".to_vec()));
    assert!(matches!(client.read().unwrap(), Message::Close(Some(close)) if u16::from(close.code) == 1000));
}

#[test]
fn text_unmasked_oversized_and_broken_messages_end_it_with_the_code_of_the_rfc() {
    let cases: [(&[u8], u16); 6] = [
        (&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'], 1003),
        (&[0x82, 0x02, b'h', b'i'], 1002),
        // 65,536 bytes, as a length of 8 bytes.
        (&[0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], 1009),
        (&[0xF2, 0x80, 0, 0, 0, 0], 1002),
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),
        (&[0x8B, 0x80, 0, 0, 0, 0], 1002),
    ];
    for (bytes, code) in cases {
        let mut server = opened(4096);
        let result = feed(&mut server, bytes, 1000, &mut Vec::new());
        assert!(matches!(result, Err(TransportError::WebSocket(_))), "{bytes:?}: {result:?}");
        let said = flushed(&mut server);
        assert_eq!((said[0], u16::from_be_bytes([said[2], said[3]])), (0x88, code), "{bytes:?}");
    }
}

#[test]
fn fragments_make_one_datagram_and_no_more_than_the_largest() {
    let mut server = opened(4096);
    let mut plaintext = Vec::new();
    let mut fragment = |first_byte: u8, body: &[u8], plaintext: &mut Vec<u8>| {
        let mut bytes = vec![first_byte, 0xFE];
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        feed(&mut server, &bytes, 100_000, plaintext)
    };
    fragment(0x02, &[1; 200], &mut plaintext).unwrap();
    assert!(plaintext.is_empty());
    fragment(0x80, &[2; 200], &mut plaintext).unwrap();
    assert_eq!(plaintext, frame(&[vec![1; 200], vec![2; 200]].concat()));
    fragment(0x02, &[1; 65_000], &mut plaintext).unwrap();
    assert!(fragment(0x80, &[2; 1000], &mut plaintext).is_err());
}

#[test]
fn what_is_no_websocket_is_told_so_in_http() {
    for request in ["POST / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\u{c}\0\u{1}\0\r\n\r\n"] {
        let mut server = websocket();
        let result = feed(&mut server, request.as_bytes(), 1000, &mut Vec::new());
        assert!(matches!(result, Err(TransportError::WebSocket(_))), "{request:?}: {result:?}");
        assert!(flushed(&mut server).starts_with(b"HTTP/1.1 400 "));
    }
    let mut server = websocket();
    let endless = format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(20_000));
    assert!(feed(&mut server, endless.as_bytes(), 4096, &mut Vec::new()).is_err());
}

#[test]
fn a_proxy_header_comes_before_everything_else() {
    let mut server = Transport::new(&Layers { proxy: true, websocket: true, ..Layers::default() }).unwrap();
    let bytes = [b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 7198\r\n", browser::REQUEST.as_bytes()].concat();
    feed(&mut server, &bytes, 5, &mut Vec::new()).unwrap();
    assert!(server.is_ready());
    let Some(Proxied::Client { remote, .. }) = server.proxied() else { panic!("no header") };
    assert_eq!(remote.to_string(), "192.0.2.7:4000");

    let mut server = Transport::new(&Layers { proxy: true, ..Layers::default() }).unwrap();
    let mut plaintext = Vec::new();
    feed(&mut server, b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 7198\r\nthe rest", 50, &mut plaintext).unwrap();
    assert_eq!(plaintext, b"the rest");
    let mut server = Transport::new(&Layers { proxy: true, ..Layers::default() }).unwrap();
    assert!(matches!(feed(&mut server, b"\x01\x00", 50, &mut plaintext), Err(TransportError::Proxy(_))));
}

#[test]
fn random_bytes_never_panic_and_never_make_it_ready() {
    use donet_shards::sim::Random;
    let layers = [
        Layers { websocket: true, ..Layers::default() },
        Layers { proxy: true, ..Layers::default() },
        Layers { proxy: true, websocket: true, ..Layers::default() },
    ];
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut transport = Transport::new(&layers[random.below(layers.len())]).unwrap();
        let bytes: Vec<u8> = (0..random.below(3000)).map(|_| random.number() as u8).collect();
        let _ = feed(&mut transport, &bytes, 1 + random.below(500), &mut Vec::new());
        assert!(!transport.is_ready() || transport.proxied().is_some(), "seed {seed}");
    }
    // Behind the handshake: whatever a client sends.
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut server = opened(4096);
        let mut plaintext = Vec::new();
        let bytes: Vec<u8> =
            (0..random.below(3000)).map(|index| if index == 0 { 0x82 } else { random.number() as u8 }).collect();
        let _ = feed(&mut server, &bytes, 1 + random.below(500), &mut plaintext);
    }
}

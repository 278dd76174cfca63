//! Which addresses are fetched from.

use std::time::{Duration, Instant};

use modelpool::images::{ImageError, ImageLimits, ImageSource};

use crate::drawing::gradient;
use crate::server::{Server, file, redirect};

fn refused(url: &str) -> ImageError {
    let limits = ImageLimits::default();
    let error = ImageSource::url(url).check(&limits).unwrap_err();
    assert!(ImageSource::url(url).load(&limits).is_err());
    error
}

#[test]
fn addresses_that_are_not_public_are_refused_however_they_are_written() {
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001::1]",
        "[2001:db8::1]",
        "[3fff:1::1]",
        "[fc00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[100::1]",
    ] {
        let error = refused(&format!("http://{host}/cat.png"));
        let is_forbidden = matches!(error, ImageError::ForbiddenAddress { .. });
        assert!(is_forbidden, "{host}: {error}");
    }
}

#[test]
fn public_addresses_and_names_pass_the_check() {
    for host in [
        "example.com",
        "93.184.215.14",
        "172.32.0.1",
        "100.128.0.1",
        "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]",
        "[::ffff:93.184.215.14]",
    ] {
        let url = format!("https://{host}/cat.png");
        let checked = ImageSource::url(url).check(&ImageLimits::default());
        assert!(checked.is_ok(), "{host}: {checked:?}");
    }
}

#[test]
fn addresses_of_other_kinds_are_refused() {
    for url in [
        "file:///etc/passwd",
        "ftp://example.com/cat.png",
        "gopher://example.com",
        "data:image/png;base64,AAAA",
        "cat.png",
        "",
        "http://",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://exa mple.com/",
    ] {
        let error = refused(url);
        assert!(matches!(error, ImageError::BadUrl { .. }), "{url}: {error}");
    }
    refused(&format!("http://example.com/{}", "a".repeat(10_000)));
    let off = ImageLimits::default().allow_urls(false);
    let error = ImageSource::url("https://example.com/cat.png").load(&off);
    assert!(matches!(error, Err(ImageError::UrlsForbidden)));
}

#[test]
fn a_name_that_leads_inside_is_never_connected_to() {
    let server = Server::answering(|_| file(b""));
    let url = format!("http://localhost:{}/cat.png", server.port);
    let source = ImageSource::url(url);
    source.check(&ImageLimits::default()).unwrap();
    let error = source.load(&ImageLimits::default()).unwrap_err();
    assert!(
        matches!(&error, ImageError::ForbiddenAddress { host, .. } if host == "localhost"),
        "{error}"
    );
    assert_eq!(server.asked(), 0);
}

#[test]
fn a_picture_is_fetched_where_private_addresses_are_allowed() {
    let picture = gradient(5, 3);
    let png = picture.to_png().unwrap();
    let server = Server::answering(move |path| match path {
        "/cat.png" => file(&png),
        "/moved" => redirect("/cat.png"),
        "/gone" => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
        _ => redirect("/round"),
    });
    let limits = ImageLimits::default().allow_private_addresses(true);
    let load = |path: &str| {
        let url = format!("http://127.0.0.1:{}{path}", server.port);
        ImageSource::url(url).load(&limits)
    };
    assert_eq!(load("/cat.png").unwrap(), picture);
    assert_eq!(load("/moved").unwrap(), picture);
    let gone = load("/gone").unwrap_err();
    assert!(matches!(gone, ImageError::Refused { status: 404, .. }));
    let before = server.asked();
    let round = load("/round").unwrap_err();
    assert!(matches!(round, ImageError::TooManyRedirects { limit: 3 }));
    assert_eq!(server.asked(), before + 4);
    let once = limits.clone().max_redirects(0);
    let moved = ImageSource::url(format!("http://127.0.0.1:{}/moved", server.port)).load(&once);
    assert!(matches!(
        moved,
        Err(ImageError::TooManyRedirects { limit: 0 })
    ));
}

#[test]
fn each_redirect_is_checked() {
    let inside = Server::answering(|_| file(b""));
    let port = inside.port;
    let server = Server::answering(move |path| match path {
        "/literal" => redirect(&format!("http://127.0.0.1:{port}/")),
        "/name" => redirect(&format!("http://ip6-localhost.localhost:{port}/")),
        "/file" => redirect("file:///etc/passwd"),
        _ => redirect("http://user:secret@localhost/"),
    });
    let limits = ImageLimits::default().trusted_host("localhost");
    let load = |path: &str| {
        let url = format!("http://localhost:{}{path}", server.port);
        ImageSource::url(url).load(&limits).unwrap_err()
    };
    let literal = load("/literal");
    assert!(
        matches!(literal, ImageError::ForbiddenAddress { .. }),
        "{literal}"
    );
    let name = load("/name");
    assert!(
        matches!(
            name,
            ImageError::ForbiddenAddress { .. } | ImageError::Unreachable { .. }
        ),
        "{name}"
    );
    for path in ["/file", "/secret"] {
        let error = load(path);
        assert!(matches!(error, ImageError::BadUrl { .. }), "{error}");
    }
    assert_eq!((server.asked(), inside.asked()), (4, 0));
}

#[test]
fn an_answer_without_an_end_stops_at_the_limit() {
    let large = vec![7; 100_000];
    let server = Server::answering(move |path| match path {
        "/said" => file(&large),
        _ => [
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".as_slice(),
            &large,
        ]
        .concat(),
    });
    let limits = ImageLimits::default()
        .allow_private_addresses(true)
        .max_bytes(50_000);
    for path in ["/said", "/unsaid"] {
        let url = format!("http://127.0.0.1:{}{path}", server.port);
        let error = ImageSource::url(url).load(&limits).unwrap_err();
        assert!(
            matches!(error, ImageError::TooManyBytes { limit: 50_000 }),
            "{path}: {error}"
        );
    }
}

#[test]
fn a_host_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let limits = ImageLimits::default()
        .allow_private_addresses(true)
        .fetch_timeout(Duration::from_millis(50));
    let started = Instant::now();
    let error = ImageSource::url(format!("http://127.0.0.1:{port}/"))
        .load(&limits)
        .unwrap_err();
    // By this limit and not by the default one.
    assert!(started.elapsed() < ImageLimits::default().fetch_timeout);
    assert!(matches!(error, ImageError::Unreachable { .. }), "{error}");
    drop(listener);
}

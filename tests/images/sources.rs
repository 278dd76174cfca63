//! Paths, bytes, base64 and data URLs.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use modelpool::images::{ImageError, ImageLimits, ImageSource};

use crate::drawing::gradient;

#[test]
fn base64_of_any_dialect_is_read() {
    let picture = gradient(9, 5);
    let png = picture.to_png().unwrap();
    let standard = STANDARD.encode(&png);
    let wrapped: Vec<&str> = standard
        .as_bytes()
        .chunks(76)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    for text in [
        standard.clone(),
        STANDARD_NO_PAD.encode(&png),
        URL_SAFE.encode(&png),
        wrapped.join("\r\n"),
        format!("data:image/png;base64,{standard}"),
        format!("DATA:image/png;charset=x;BASE64,{standard}"),
        format!("data:;base64,{standard}"),
        // What it says it is does not matter; what it is does.
        format!("data:image/jpeg;base64,{standard}"),
    ] {
        let loaded = ImageSource::base64(&text).load(&ImageLimits::default());
        assert_eq!(loaded.unwrap(), picture, "{}", &text[..30]);
    }
}

#[test]
fn text_that_is_no_picture_is_told() {
    let load = |text: &str| {
        ImageSource::base64(text)
            .load(&ImageLimits::default())
            .unwrap_err()
    };
    for text in ["%%%", "a", "AAAA=AAAA", "héllo"] {
        let error = load(text);
        assert!(
            matches!(error, ImageError::NotBase64 { .. }),
            "{text}: {error}"
        );
    }
    for text in [
        "data:",
        "data:image/png;base64",
        "data:image/png,AAAA",
        "data:text/html;base64,AAAA",
        "data:,hello",
    ] {
        let error = load(text);
        assert!(
            matches!(error, ImageError::BadDataUrl { .. }),
            "{text}: {error}"
        );
    }
    let far = format!("data:{};base64,AAAA", "x".repeat(1000));
    assert!(matches!(load(&far), ImageError::BadDataUrl { .. }));
    assert!(matches!(load(""), ImageError::UnknownFormat));
    assert!(matches!(load("AAAAAAAA"), ImageError::UnknownFormat));
}

#[test]
fn text_that_stands_for_too_much_is_refused_unread() {
    let limits = ImageLimits::default().max_bytes(3000);
    let check = |text: String| ImageSource::base64(text).check(&limits);
    check("A".repeat(4000)).unwrap();
    let error = check("A".repeat(10_000_000)).unwrap_err();
    assert!(matches!(error, ImageError::TooManyBytes { limit: 3000 }));
    // Within what white space might explain, but not within the limit.
    let error = ImageSource::base64("A".repeat(6000)).load(&limits);
    assert!(matches!(error, Err(ImageError::TooManyBytes { .. })));
}

#[test]
fn paths_are_read_if_they_are_files() {
    let folder = std::env::temp_dir().join(format!("modelpool-images-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("picture.png");
    let picture = gradient(4, 4);
    let png = picture.to_png().unwrap();
    std::fs::write(&path, &png).unwrap();

    let limits = ImageLimits::default();
    assert_eq!(ImageSource::path(&path).load(&limits).unwrap(), picture);
    let small = limits.clone().max_bytes(png.len() as u64 - 1);
    let error = ImageSource::path(&path).load(&small).unwrap_err();
    assert!(matches!(error, ImageError::TooManyBytes { .. }));
    let error = ImageSource::path(&folder).load(&limits).unwrap_err();
    assert!(matches!(error, ImageError::NoFile { .. }));
    let error = ImageSource::path(folder.join("none.png")).load(&limits);
    assert!(matches!(error, Err(ImageError::Unreadable { .. })));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_source_travels_and_shows_nothing_of_its_content() {
    for source in [
        ImageSource::path("a.png"),
        ImageSource::url("https://example.com/a.png?token=secret"),
        ImageSource::base64("c2VjcmV0"),
        ImageSource::bytes(*b"secret"),
        ImageSource::pixels(gradient(2, 2)),
    ] {
        let text = serde_json::to_string(&source).unwrap();
        assert_eq!(serde_json::from_str::<ImageSource>(&text).unwrap(), source);
        assert!(!format!("{source:?}").contains("secret"));
    }
}

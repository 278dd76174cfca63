//! From probabilities to lines: exact where it can be told, and unharmed by what makes no sense.

use modelpool::images::RgbImage;
use modelpool::testing::ocr::{Corners, cut, lines, reading_order, recogniser_pixels};

/// A map of `width` by `height` with `value` where `inside` says so.
fn map(width: usize, height: usize, value: f32, inside: impl Fn(f64, f64) -> bool) -> Vec<f32> {
    (0..width * height)
        .map(|place| {
            let (x, y) = ((place % width) as f64, (place / width) as f64);
            if inside(x, y) { value } else { 0.0 }
        })
        .collect()
}

fn assert_near(found: &Corners, wanted: Corners, tolerance: f32) {
    let pairs = found.as_flattened().iter().zip(wanted.as_flattened());
    for (one, other) in pairs {
        assert!((one - other).abs() <= tolerance, "{found:?} for {wanted:?}");
    }
}

#[test]
fn an_upright_region_grows_by_what_it_was_shrunk_by() {
    // From 20 to 79 and from 30 to 39: 59 by 9, so it grows by 59 · 9 · 1.4 / 136 = 5.47 all around.
    let inside = |x, y| (20.0..80.0).contains(&x) && (30.0..40.0).contains(&y);
    let found = lines(128, 64, &map(128, 64, 0.9, inside), [128, 64]).unwrap();
    let wanted = [[15.0, 25.0], [84.0, 25.0], [84.0, 44.0], [15.0, 44.0]];
    assert_eq!(found.len(), 1);
    assert_near(&found[0], wanted, 0.0);
    // The same in a picture that is twice as large, but for rounding.
    let found = lines(128, 64, &map(128, 64, 0.9, inside), [256, 128]).unwrap();
    assert_near(
        &found[0],
        wanted.map(|corner| corner.map(|place| 2.0 * place)),
        0.0,
    );
}

#[test]
fn a_turned_region_has_a_turned_rectangle() {
    let (sin, cos) = 0.3_f64.sin_cos();
    let inside = |x: f64, y: f64| {
        let (x, y) = (x - 100.0, y - 60.0);
        (x * cos + y * sin).abs() <= 70.0 && (y * cos - x * sin).abs() <= 9.0
    };
    let found = lines(200, 120, &map(200, 120, 0.9, inside), [200, 120]).unwrap();
    assert_eq!(found.len(), 1);
    // 140 · 18 · 1.4 / 316 = 11.2 all around.
    let corner = |x: f64, y: f64| {
        [
            (100.0 + x * cos - y * sin) as f32,
            (60.0 + x * sin + y * cos) as f32,
        ]
    };
    let (along, across) = (81.2, 20.2);
    let wanted = [
        corner(-along, -across),
        corner(along, -across),
        corner(along, across),
        corner(-along, across),
    ];
    assert_near(&found[0], wanted, 2.0);
}

#[test]
fn what_is_faint_or_tiny_is_no_line() {
    let inside = |x, y| (20.0..80.0).contains(&x) && (30.0..40.0).contains(&y);
    let count = |value| {
        lines(128, 64, &map(128, 64, value, inside), [128, 64])
            .unwrap()
            .len()
    };
    assert_eq!(
        [0.1, 0.2, 0.3, 0.39, 0.41, 1.0].map(count),
        [0, 0, 0, 0, 1, 1]
    );
    let tiny = |x, y| (20.0..23.0).contains(&x) && (30.0..33.0).contains(&y);
    let found = lines(128, 64, &map(128, 64, 1.0, tiny), [128, 64]);
    assert!(found.unwrap().is_empty());
}

#[test]
fn maps_that_make_no_sense_have_no_lines_or_lines_in_the_picture() {
    assert!(lines(3, 3, &[0.5; 8], [3, 3]).is_none());
    assert!(lines(0, 0, &[], [3, 3]).is_none());
    assert!(lines(usize::MAX, 2, &[0.5; 8], [3, 3]).is_none());
    let (width, height) = (96, 64);
    let count = width * height;
    let maps = [
        vec![f32::NAN; count],
        vec![f32::INFINITY; count],
        vec![f32::NEG_INFINITY; count],
        vec![f32::MAX; count],
        vec![1.0; count],
        map(width, height, 1.0, |x, y| (x + y) % 2.0 == 0.0),
        map(width, height, 1.0, |x, y| x % 2.0 == 0.0 && y % 2.0 == 0.0),
        map(width, height, f32::NAN, |x, _| x % 5.0 < 2.0),
        map(width, height, 1.0, |x, y| x % 12.0 < 9.0 && y % 12.0 < 9.0),
    ];
    for size in [[96, 64], [1, 1], [0, 0], [u32::MAX, 1], [1, u32::MAX]] {
        for map in &maps {
            for corners in lines(width, height, map, size).unwrap() {
                let [right, bottom] = size.map(|side| side.saturating_sub(1) as f32);
                for [x, y] in corners {
                    assert!((0.0..=right).contains(&x) && (0.0..=bottom).contains(&y));
                }
            }
        }
    }
}

#[test]
fn no_more_than_three_thousand_regions_are_looked_at() {
    // 80 rows of 80 squares of 9 by 9.
    let squares = |x: f64, y: f64| x % 12.0 < 9.0 && y % 12.0 < 9.0;
    let map = map(960, 960, 1.0, squares);
    assert_eq!(lines(960, 960, &map, [960, 960]).unwrap().len(), 3000);
}

#[test]
fn lines_are_read_by_rows_and_in_them_from_the_left() {
    let line = |x: f32, y: f32| [[x, y], [x + 50.0, y], [x + 50.0, y + 20.0], [x, y + 20.0]];
    let lines = [
        line(200.0, 4.0),
        line(0.0, 40.0),
        line(100.0, 0.0),
        line(0.0, 9.0),
        line(60.0, 100.0),
        line(60.0, 47.0),
    ];
    assert_eq!(reading_order(&lines), [3, 2, 0, 1, 5, 4]);
    assert!(reading_order(&[]).is_empty());
    let broken = [[[f32::NAN; 2]; 4], line(0.0, 0.0)];
    assert_eq!(reading_order(&broken).len(), 2);
}

#[test]
fn a_line_is_cut_out_of_anything() {
    let pixels: Vec<u8> = (0..7 * 5 * 3).map(|value| value as u8).collect();
    let picture = RgbImage::new(7, 5, pixels).unwrap();
    let all = [[0.0, 0.0], [7.0, 0.0], [7.0, 5.0], [0.0, 5.0]];
    assert_eq!(cut(&picture, &all).unwrap(), picture);
    for corners in [
        [[0.0; 2]; 4],
        [[6.0, 4.0], [0.0, 0.0], [6.0, 4.0], [0.0, 0.0]],
        [[6.0, 0.0], [0.0, 0.0], [0.0, 4.0], [6.0, 4.0]],
        [[-50.0, -50.0], [60.0, -50.0], [60.0, 70.0], [-50.0, 70.0]],
        [[f32::NAN; 2]; 4],
    ] {
        let line = cut(&picture, &corners).unwrap();
        let input = recogniser_pixels(&line).unwrap();
        assert!(input.values().iter().all(|value| value.is_finite()));
    }
}

#[test]
fn a_line_is_filled_up_or_squeezed_for_the_recogniser() {
    let width = |columns: u32, rows: u32| {
        let pixels = vec![255; (columns * rows * 3) as usize];
        let line = RgbImage::new(columns, rows, pixels).unwrap();
        let input = recogniser_pixels(&line).unwrap();
        assert_eq!(input.shape()[..3], [1, 3, 48]);
        let filled = input.values().iter().filter(|value| **value == 1.0).count();
        (input.shape()[3], filled / (3 * 48))
    };
    assert_eq!(width(10, 24), (320, 20));
    assert_eq!(width(240, 24), (480, 480));
    assert_eq!(width(241, 23), (502, 502));
    assert_eq!(width(1, 500), (320, 1));
    assert_eq!(width(4000, 4), (4096, 4096));
}

//! Hulls and rectangles.

use std::f64::consts::PI;

/// A place: x to the right, y down.
pub(super) type Point = [f64; 2];

/// How far a rounded corner may be from a circle.
const ROUNDING_TOLERANCE: f64 = 0.25;

/// A rectangle, however it is turned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rectangle {
    /// Top left, top right, bottom right and bottom left of a rectangle that is turned little.
    pub(super) corners: [Point; 4],
    pub(super) shorter_side: f64,
}

fn minus([x, y]: Point, [from_x, from_y]: Point) -> Point {
    [x - from_x, y - from_y]
}

fn cross(a: Point, b: Point) -> f64 {
    a[0] * b[1] - a[1] * b[0]
}

fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

pub(super) fn length(side: Point) -> f64 {
    side[0].hypot(side[1])
}

/// The corners of the smallest convex figure around the points, in turning order.
pub(super) fn hull(points: &mut Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    points.dedup();
    if points.len() < 3 {
        return points.clone();
    }
    let half = |points: &mut dyn Iterator<Item = Point>| {
        let mut corners: Vec<Point> = Vec::new();
        for point in points {
            while let [.., before, last] = corners.as_slice()
                && cross(minus(*last, *before), minus(point, *last)) <= 0.0
            {
                corners.pop();
            }
            corners.push(point);
        }
        corners.pop();
        corners
    };
    let lower = half(&mut points.iter().copied());
    let upper = half(&mut points.iter().rev().copied());
    [lower, upper].concat()
}

/// The smallest rectangle around a hull: one of its sides lies on one of the hull's.
pub(super) fn smallest_rectangle(hull: &[Point]) -> Option<Rectangle> {
    let mut best: Option<(f64, [Point; 4], f64)> = None;
    for (number, &from) in hull.iter().enumerate() {
        let to = hull[(number + 1) % hull.len()];
        let side = minus(to, from);
        let size = length(side);
        if size == 0.0 || !size.is_finite() {
            continue;
        }
        let along = [side[0] / size, side[1] / size];
        let across = [-along[1], along[0]];
        let span = |axis: Point| {
            let places = hull.iter().map(|&point| dot(minus(point, from), axis));
            places.fold(
                [f64::INFINITY, f64::NEG_INFINITY],
                |[least, most], place| [least.min(place), most.max(place)],
            )
        };
        let [[left, right], [top, bottom]] = [span(along), span(across)];
        let (width, height) = (right - left, bottom - top);
        let area = width * height;
        if best.is_none_or(|(smallest, ..)| area < smallest) {
            let corner = |x: f64, y: f64| [0, 1].map(|i| from[i] + along[i] * x + across[i] * y);
            let corners = [(left, top), (right, top), (right, bottom), (left, bottom)];
            let corners = corners.map(|(x, y)| corner(x, y));
            best = Some((area, corners, width.min(height)));
        }
    }
    best.map(|(_, corners, shorter_side)| Rectangle {
        corners: ordered(corners),
        shorter_side,
    })
}

/// Top left, top right, bottom right, bottom left: of the two corners on the left, the upper one comes
/// first, of those on the right as well.
pub(super) fn ordered(mut corners: [Point; 4]) -> [Point; 4] {
    corners.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let [mut a, mut b, mut c, mut d] = corners;
    if b[1] < a[1] {
        std::mem::swap(&mut a, &mut b);
    }
    if d[1] < c[1] {
        std::mem::swap(&mut c, &mut d);
    }
    [a, c, d, b]
}

/// Area and circumference of a figure of four sides.
pub(super) fn measures(corners: &[Point; 4]) -> (f64, f64) {
    let sides = (0..4).map(|number| (corners[number], corners[(number + 1) % 4]));
    let (twice, around) = sides.fold((0.0, 0.0), |(area, around), (from, to)| {
        (area + cross(from, to), around + length(minus(to, from)))
    });
    (f64::abs(twice) / 2.0, around)
}

/// The outline of all that is within `distance` of a figure of four sides, its corners round; in whole
/// numbers, as the figure's own corners are taken.
pub(super) fn grown(corners: &[Point; 4], distance: f64) -> Vec<Point> {
    let corners = corners.map(|corner| corner.map(f64::trunc));
    let signed: f64 = (0..4)
        .map(|number| cross(corners[number], corners[(number + 1) % 4]))
        .sum();
    // Outwards is to the right of the way around, or to the left.
    let outwards = if signed < 0.0 { -1.0 } else { 1.0 };
    let normals: Vec<(Point, f64)> = (0..4)
        .filter_map(|number| {
            let [x, y] = minus(corners[(number + 1) % 4], corners[number]);
            let size = length([x, y]);
            let angle = (-x * outwards).atan2(y * outwards);
            (size > 0.0).then_some((corners[number], angle))
        })
        .collect();
    let tolerance = ROUNDING_TOLERANCE.min(distance / 4.0);
    let steps = PI / (1.0 - tolerance / distance).acos();
    let per_radian = steps.min(distance * PI) / (2.0 * PI);
    let mut outline = Vec::new();
    for (number, &(corner, angle)) in normals.iter().enumerate() {
        let before = normals[(number + normals.len() - 1) % normals.len()].1;
        let turn = (angle - before + 3.0 * PI).rem_euclid(2.0 * PI) - PI;
        let steps = (per_radian * turn.abs()).round().clamp(1.0, 64.0) as usize;
        let step = turn.signum() / per_radian;
        let angles = (0..steps).map(|count| before + step * count as f64);
        outline.extend(angles.chain([angle]).map(|angle| {
            let arm = [angle.cos() * distance, angle.sin() * distance];
            [0, 1].map(|axis| (corner[axis] + arm[axis]).round())
        }));
    }
    outline
}

//! Reading order: rows from the top, in each from the left.

/// What counts of a line's place.
struct Place {
    index: usize,
    left: f32,
    middle: f32,
    height: f32,
}

/// The lines' numbers in reading order. Lines are in one row if their middles are no further apart than
/// half of the lower one's height.
pub(crate) fn reading_order(lines: &[[[f32; 2]; 4]]) -> Vec<usize> {
    let place = |(index, corners): (usize, &[[f32; 2]; 4])| {
        let bounds = |axis: usize| {
            let places = corners.iter().map(|corner| corner[axis]);
            let least = places.clone().fold(f32::INFINITY, f32::min);
            (least, places.fold(f32::NEG_INFINITY, f32::max))
        };
        let ((left, _), (top, bottom)) = (bounds(0), bounds(1));
        Place {
            index,
            left,
            middle: (top + bottom) / 2.0,
            height: bottom - top,
        }
    };
    let mut places: Vec<Place> = lines.iter().enumerate().map(place).collect();
    let by_left = |a: &Place, b: &Place| a.left.total_cmp(&b.left);
    places.sort_by(|a, b| a.middle.total_cmp(&b.middle).then(by_left(a, b)));
    let mut rows: Vec<Vec<Place>> = Vec::new();
    for place in places {
        let row = rows.last_mut().filter(|row| {
            // The first of a row stands for it.
            row.first().is_some_and(|first| {
                let lower = place.height.min(first.height);
                (place.middle - first.middle).abs() <= lower / 2.0
            })
        });
        match row {
            Some(row) => row.push(place),
            None => rows.push(vec![place]),
        }
    }
    for row in &mut rows {
        row.sort_by(by_left);
    }
    rows.into_iter()
        .flatten()
        .map(|place| place.index)
        .collect()
}

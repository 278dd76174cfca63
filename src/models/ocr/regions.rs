//! Where the lines are: from the detector's map of probabilities to rectangles.

use super::geometry::{
    Point, Rectangle, grown, hull, length, measures, ordered, smallest_rectangle,
};

/// What belongs to a line has at least this probability, and more.
const MIN_PROBABILITY: f32 = 0.2;
/// A line's mean probability is at least this.
const MIN_MEAN: f64 = 0.4;
/// The detector was trained to find lines that are shrunk by this.
const GROWTH: f64 = 1.4;
/// Smaller regions are no lines.
const MIN_SIDE: f64 = 3.0;
/// The most regions that are looked at.
const MAX_REGIONS: usize = 3000;

/// The detector's answer: row after row, a probability for each place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProbabilityMap<'a> {
    width: usize,
    height: usize,
    values: &'a [f32],
}

impl<'a> ProbabilityMap<'a> {
    /// `None` where there are not as many values as the size says, or none.
    pub(crate) fn new(width: usize, height: usize, values: &'a [f32]) -> Option<Self> {
        let fits = width.checked_mul(height) == Some(values.len()) && !values.is_empty();
        fits.then_some(Self {
            width,
            height,
            values,
        })
    }

    /// The lines in a picture of `size` that the map stands for, as corners in whole pixels of it: top
    /// left, top right, bottom right and bottom left. What is not a number belongs to no line.
    pub(crate) fn lines(&self, size: [u32; 2]) -> Vec<[[f32; 2]; 4]> {
        let regions = self.regions();
        regions
            .into_iter()
            .filter_map(|mut outline| self.line(&mut outline, size))
            .collect()
    }

    /// What hangs together, diagonals included, each region as the ends of its rows.
    fn regions(&self) -> Vec<Vec<Point>> {
        let mut left: Vec<bool> = self
            .values
            .iter()
            .map(|value| *value > MIN_PROBABILITY)
            .collect();
        let mut regions = Vec::new();
        let mut waiting = Vec::new();
        for start in 0..left.len() {
            if !left[start] {
                continue;
            }
            if regions.len() == MAX_REGIONS {
                break;
            }
            // A region's first place is in its top row.
            let top = start / self.width;
            let mut rows: Vec<[usize; 2]> = Vec::new();
            left[start] = false;
            waiting.push(start);
            while let Some(place) = waiting.pop() {
                let (y, x) = (place / self.width, place % self.width);
                if rows.len() <= y - top {
                    rows.resize(y - top + 1, [usize::MAX, 0]);
                }
                let row = &mut rows[y - top];
                *row = [row[0].min(x), row[1].max(x)];
                for near_y in y.saturating_sub(1)..=(y + 1).min(self.height - 1) {
                    for near_x in x.saturating_sub(1)..=(x + 1).min(self.width - 1) {
                        let near = near_y * self.width + near_x;
                        if left[near] {
                            left[near] = false;
                            waiting.push(near);
                        }
                    }
                }
            }
            let ends = (top..)
                .zip(rows)
                .flat_map(|(y, ends)| ends.map(|x| [x as f64, y as f64]));
            regions.push(ends.collect());
        }
        regions
    }

    fn line(&self, outline: &mut Vec<Point>, [width, height]: [u32; 2]) -> Option<[[f32; 2]; 4]> {
        let core = smallest_rectangle(&hull(outline))?;
        let mean = self.mean(&core);
        if core.shorter_side < MIN_SIDE || mean < MIN_MEAN || mean.is_nan() {
            return None;
        }
        let (area, around) = measures(&core.corners);
        let distance = area * GROWTH / around;
        if !(distance > 0.0 && distance.is_finite()) {
            return None;
        }
        let whole = smallest_rectangle(&hull(&mut grown(&core.corners, distance)))?;
        if whole.shorter_side < MIN_SIDE + 2.0 {
            return None;
        }
        let ratios = [
            f64::from(width) / self.width as f64,
            f64::from(height) / self.height as f64,
        ];
        let last = [width, height].map(|side| f64::from(side.saturating_sub(1)));
        let in_picture = |corner: Point| {
            [0, 1].map(|axis| {
                let place = (corner[axis] * ratios[axis]).round_ties_even();
                place.clamp(0.0, last[axis])
            })
        };
        let corners = ordered(whole.corners.map(in_picture));
        let side = |other: usize| {
            let between = [0, 1].map(|axis| corners[0][axis] - corners[other][axis]);
            length(between).trunc()
        };
        let is_thin = side(1) <= MIN_SIDE || side(3) <= MIN_SIDE;
        (!is_thin).then(|| corners.map(|corner| corner.map(|place| place as f32)))
    }

    /// The mean probability in a rectangle, its outline included.
    fn mean(&self, rectangle: &Rectangle) -> f64 {
        let corners = &rectangle.corners;
        let bounds = |axis: usize, side: usize| {
            let places = corners.iter().map(|corner| corner[axis]);
            let least = places.clone().fold(f64::INFINITY, f64::min).floor();
            let most = places.fold(f64::NEG_INFINITY, f64::max).ceil();
            let last = (side - 1) as f64;
            [least.clamp(0.0, last), most.clamp(0.0, last)]
        };
        let [[left, right], [top, bottom]] = [bounds(0, self.width), bounds(1, self.height)];
        let corners = corners.map(|[x, y]| [left + (x - left).trunc(), top + (y - top).trunc()]);
        let (mut sum, mut count) = (0.0, 0.0);
        for y in top as usize..=bottom as usize {
            let Some([from, to]) = row_of(&corners, y as f64) else {
                continue;
            };
            let from = from.round().clamp(left, right) as usize;
            let to = to.round().clamp(left, right) as usize;
            let row = &self.values[y * self.width..][..self.width];
            for value in &row[from..=to.max(from)] {
                sum += f64::from(*value);
                count += 1.0;
            }
        }
        sum / count
    }
}

/// Where a row enters and leaves a figure of four sides; a side that lies flat is crossed from end to end.
fn row_of(corners: &[Point; 4], y: f64) -> Option<[f64; 2]> {
    let mut span: Option<[f64; 2]> = None;
    for number in 0..4 {
        let (from, to) = (corners[number], corners[(number + 1) % 4]);
        let [upper, lower] = if from[1] <= to[1] {
            [from, to]
        } else {
            [to, from]
        };
        if y < upper[1] || y > lower[1] {
            continue;
        }
        let height = lower[1] - upper[1];
        let at = |y: f64| {
            let part = if height > 0.0 {
                (y - upper[1]) / height
            } else {
                0.0
            };
            upper[0] + part * (lower[0] - upper[0])
        };
        let ends = if height > 0.0 {
            // As a drawn line would be, half a row up and down.
            [at((y - 0.5).max(upper[1])), at((y + 0.5).min(lower[1]))]
        } else {
            [upper[0], lower[0]]
        };
        let [least, most] = span.unwrap_or([f64::INFINITY, f64::NEG_INFINITY]);
        span = Some([
            least.min(ends[0]).min(ends[1]),
            most.max(ends[0]).max(ends[1]),
        ]);
    }
    span
}

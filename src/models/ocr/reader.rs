//! The servable model: shared weights, and the lines of the pictures that it reads.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use super::characters::LineText;
use super::cut::{cut, recogniser_pixels, runs_down};
use super::folder::OcrWeights;
use super::layout::Layout;
use super::options::OcrOptions;
use super::order::reading_order;
use super::regions::ProbabilityMap;
use crate::images::{PixelTensor, RgbImage};
use crate::kernels::Team;
use crate::model::{CandleModel, ModelInfo};
use crate::models::{ModelError, OnnxArray};
use crate::pool::capabilities::vision::{Progress, TextLine, VisionCapable, VisionInput};
use crate::pool::core::StepContext;

type Corners = [[f32; 2]; 4];

/// Reads the text in pictures. The detector is a step, and then as many lines as the step has threads.
/// Each line is computed by itself: what is read does not depend on what is read beside it.
pub struct OcrReader {
    info: ModelInfo,
    weights: Arc<OcrWeights>,
    options: OcrOptions,
}

impl fmt::Debug for OcrReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OcrReader")
            .field("info", &self.info)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A picture that is being read.
#[derive(Debug)]
pub struct OcrLook {
    layout: Layout,
    /// The lines that are left, in reading order, with their corners in the framed picture; `None`
    /// before the detector has found them.
    lines: Option<VecDeque<Corners>>,
}

impl OcrReader {
    /// A worker's reader over weights that others may use too.
    pub fn new(info: ModelInfo, weights: Arc<OcrWeights>, options: OcrOptions) -> Self {
        Self {
            info,
            weights,
            options,
        }
    }

    /// Finds the lines.
    fn detect(
        &self,
        team: &Team,
        pixels: &PixelTensor,
        layout: &Layout,
    ) -> Result<VecDeque<Corners>, ModelError> {
        let [channels, height, width] = pixels.shape();
        let input = OnnxArray::new(vec![1, channels, height, width], pixels.values().to_vec());
        let input = input.ok_or_else(|| wrong_pixels(&[channels, height, width], &[]))?;
        let answer = self.weights.detect(team, input)?;
        let map = ProbabilityMap::new(width, height, answer.values());
        let map = map.ok_or_else(|| wrong_pixels(&[1, 1, height, width], answer.shape()))?;
        let found = map.lines(layout.framed());
        let seen: Vec<Corners> = found
            .iter()
            .map(|corners| original(layout, corners))
            .collect();
        let order = reading_order(&seen);
        Ok(order.into_iter().map(|index| found[index]).collect())
    }

    fn read(
        &self,
        team: &Team,
        picture: &RgbImage,
        corners: &Corners,
    ) -> Result<LineText, ModelError> {
        let line = cut(picture, corners)?;
        self.weights.recognise(team, recogniser_pixels(&line)?)
    }

    /// Reads the next lines.
    fn read_some(
        &self,
        team: &Team,
        picture: &RgbImage,
        look: &mut OcrLook,
    ) -> Result<Vec<TextLine>, ModelError> {
        let Some(left) = &mut look.lines else {
            return Ok(Vec::new());
        };
        let count = team.threads().min(left.len());
        let some: Vec<Corners> = left.drain(..count).collect();
        let texts: Result<Vec<LineText>, ModelError> = match some.as_slice() {
            [one] => self.read(team, picture, one).map(|line| vec![line]),
            many => team.run(|| {
                let alone = Team::new(1);
                many.par_iter()
                    .map(|corners| self.read(&alone, picture, corners))
                    .collect()
            }),
        };
        let least = self.options.min_confidence;
        let told = texts?.into_iter().zip(some).filter_map(|(line, corners)| {
            let is_told = !line.text.trim().is_empty() && line.confidence >= least;
            is_told.then(|| TextLine {
                text: line.text,
                confidence: line.confidence,
                corners: as_read(&look.layout, &corners),
            })
        });
        Ok(told.collect())
    }
}

fn original(layout: &Layout, corners: &Corners) -> Corners {
    corners.map(|corner| layout.original_place(corner))
}

/// The corners in the picture as it was given, from the top left one as one reads the line.
fn as_read(layout: &Layout, corners: &Corners) -> Corners {
    let mut read = original(layout, corners);
    if runs_down(corners) {
        read.rotate_left(1);
    }
    read
}

fn wrong_pixels(expected: &[usize], found: &[usize]) -> ModelError {
    ModelError::WrongShape {
        tensor: "pixels".to_owned(),
        expected: expected.to_vec(),
        found: found.to_vec(),
    }
}

impl CandleModel for OcrReader {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl VisionCapable for OcrReader {
    type Look = OcrLook;

    fn begin(&mut self, input: &VisionInput) -> Result<OcrLook, ModelError> {
        if input.size.contains(&0) {
            return Err(wrong_pixels(&[1, 1], &input.size.map(|side| side as usize)));
        }
        let layout = Layout::new(input.size, self.options.detector_side);
        let shape = |[width, height]: [u32; 2]| [3, height as usize, width as usize];
        let wanted = shape(layout.detected());
        let found: Vec<usize> = match input.pictures.as_slice() {
            [pixels] => pixels.shape().to_vec(),
            others => vec![others.len()],
        };
        if found != wanted {
            return Err(wrong_pixels(&wanted, &found));
        }
        let framed = input.picture.as_ref();
        let found = framed.map_or([0; 2], |picture| [picture.width(), picture.height()]);
        if found != layout.framed() {
            return Err(wrong_pixels(&shape(layout.framed()), &shape(found)));
        }
        Ok(OcrLook {
            layout,
            lines: None,
        })
    }

    fn step(
        &mut self,
        input: &VisionInput,
        look: &mut OcrLook,
        lines: &mut Vec<TextLine>,
        context: &StepContext,
    ) -> Result<Progress, ModelError> {
        // Both were there when it began.
        let (Some(pixels), Some(picture)) = (input.pictures.first(), &input.picture) else {
            return Ok(Progress::Done);
        };
        let team = context.team();
        let done = match &look.lines {
            None => self.detect(team, pixels, &look.layout).map(|found| {
                look.lines = Some(found);
            }),
            Some(_) => self
                .read_some(team, picture, look)
                .map(|read| lines.extend(read)),
        };
        // The network is fixed and was tried when it was loaded: it is this picture that it can't take.
        if let Err(error) = done {
            return Ok(Progress::Failed(error));
        }
        let is_done = look.lines.as_ref().is_some_and(VecDeque::is_empty);
        Ok(if is_done {
            Progress::Done
        } else {
            Progress::GoesOn
        })
    }
}

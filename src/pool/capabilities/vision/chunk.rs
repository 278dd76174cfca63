//! What a vision model tells, piece by piece and as a whole.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pool::capabilities::text_to_text::{Generation, TextChunk};

/// A line of text that was read in a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextLine {
    /// What it says.
    pub text: String,
    /// The mean probability of its characters, from 0 to 1.
    pub confidence: f32,
    /// Where it is, in pixels of the picture as it is seen (turned as its EXIF data say): x and y of
    /// the top left corner as one reads the line, the top right, the bottom right and the bottom left.
    pub corners: [[f32; 2]; 4],
}

/// A piece of what a model tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VisionChunk {
    /// A piece of an answer. The stream's last one has a [summary](TextChunk::summary).
    Text(TextChunk),
    /// A line that was read, in reading order.
    Line(TextLine),
    /// All lines were read: the last item of such a stream.
    End(ReadingSummary),
}

impl From<TextChunk> for VisionChunk {
    fn from(chunk: TextChunk) -> Self {
        Self::Text(chunk)
    }
}

impl VisionChunk {
    /// Whether it is the last item of its stream.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Text(chunk) => chunk.summary.is_some(),
            Self::Line(_) => false,
            Self::End(_) => true,
        }
    }
}

/// The account of a picture that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadingSummary {
    /// How many lines were read.
    pub lines: usize,
    /// Where the time went.
    pub timings: ReadingTimings,
}

/// Where a request's time went, counted from its acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadingTimings {
    /// Until a worker took it up: fetching, decoding and waiting.
    pub queued: Duration,
    /// Until the first line was read, if there is one.
    pub first_line: Option<Duration>,
    /// Until the last step was done.
    pub total: Duration,
}

/// All lines that were read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// The lines, in reading order.
    pub lines: Vec<TextLine>,
    /// The account of the request.
    pub summary: ReadingSummary,
}

/// All that a model told of a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Description {
    /// The lines of text in it.
    Reading(Reading),
    /// Answers to the query.
    Answers(Generation),
}

impl Description {
    /// Its text: that of the first answer, or the lines, one below the other.
    pub fn text(&self) -> String {
        match self {
            Self::Reading(reading) => {
                let lines: Vec<&str> = reading.lines.iter().map(|line| &*line.text).collect();
                lines.join("\n")
            }
            Self::Answers(generation) => {
                let first = generation.answers.first();
                first.map_or_else(String::new, |answer| answer.text.clone())
            }
        }
    }

    /// The lines that were read; none of a model that answers.
    pub fn lines(&self) -> &[TextLine] {
        match self {
            Self::Reading(reading) => &reading.lines,
            Self::Answers(_) => &[],
        }
    }
}

//! Where a model's memory lies.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The device in whose memory a model lives while it is loaded.
///
/// Each device has a ledger of its own, so a model on one never makes room for a model on another.
/// The CPU's budget is [`PoolConfig::memory`](crate::PoolConfig::memory); every other device's is
/// in [`PoolConfig::devices`](crate::PoolConfig::devices). As text it is `cpu`, `cuda:0`,
/// `metal:0` and so on, in serialised data too.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Device {
    /// The process's own memory.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
    /// The Apple GPU of this number.
    Metal(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal(number) => write!(f, "metal:{number}"),
        }
    }
}

/// A text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no device: cpu, cuda:0, metal:0, …")]
pub struct UnknownDevice(String);

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let device = match text.split_once(':') {
            None if text == "cpu" => Some(Self::Cpu),
            Some(("cuda", number)) => number.parse().ok().map(Self::Cuda),
            Some(("metal", number)) => number.parse().ok().map(Self::Metal),
            _ => None,
        };
        device.ok_or_else(|| UnknownDevice(text.to_owned()))
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for Device {
    type Error = UnknownDevice;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

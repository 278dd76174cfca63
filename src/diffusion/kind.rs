//! Which solver walks from noise to a picture.

use serde::{Deserialize, Serialize};

/// Which solver walks from noise to a picture. Each is computed as the class of diffusers that is named
/// with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SchedulerKind {
    /// `DDIMScheduler`, without noise of its own (eta 0).
    Ddim,
    /// `EulerDiscreteScheduler`.
    Euler,
    /// `EulerAncestralDiscreteScheduler`: puts new noise on after each step.
    EulerAncestral,
    /// `DPMSolverMultistepScheduler`, the `dpmsolver++` of second order.
    DpmSolverPlusPlus,
    /// `UniPCMultistepScheduler`, `bh2` of second order.
    UniPc,
    /// `LCMScheduler`: for models distilled to few steps; puts new noise on after each.
    Lcm,
    /// `FlowMatchEulerDiscreteScheduler`: for models that predict a flow, and the only one for them.
    FlowMatchEuler,
}

impl SchedulerKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ddim,
        Self::Euler,
        Self::EulerAncestral,
        Self::DpmSolverPlusPlus,
        Self::UniPc,
        Self::Lcm,
        Self::FlowMatchEuler,
    ];

    /// Its name, as serde writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::DpmSolverPlusPlus => "dpm_solver_plus_plus",
            Self::UniPc => "uni_pc",
            Self::Lcm => "lcm",
            Self::FlowMatchEuler => "flow_match_euler",
        }
    }

    /// Whether it is for models that predict a flow.
    pub fn is_flow(self) -> bool {
        self == Self::FlowMatchEuler
    }
}

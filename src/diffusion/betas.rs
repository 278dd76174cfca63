//! How much noise training put on at each timestep.

/// How much noise training put on at each timestep.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Betas {
    /// Evenly from one to the other.
    Linear { start: f64, end: f64 },
    /// Evenly in their square roots.
    ScaledLinear { start: f64, end: f64 },
    /// The cosine schedule (`squaredcos_cap_v2`).
    SquaredCosine,
    /// One by one.
    Trained(Vec<f32>),
}

impl Betas {
    /// One for each of `count` timesteps, in the precision in which diffusers keeps them.
    fn values(&self, count: usize) -> Vec<f32> {
        match self {
            Self::Linear { start, end } => evenly(*start as f32, *end as f32, count),
            Self::ScaledLinear { start, end } => {
                let roots = evenly(start.sqrt() as f32, end.sqrt() as f32, count);
                roots.into_iter().map(|root| root * root).collect()
            }
            Self::SquaredCosine => (0..count)
                .map(|step| {
                    let at = |step: usize| cosine(step as f64 / count as f64);
                    (1.0 - at(step + 1) / at(step)).min(0.999) as f32
                })
                .collect(),
            Self::Trained(values) => values.clone(),
        }
    }

    /// Whether they are of the cosine schedule.
    pub(super) fn is_cosine(&self) -> bool {
        *self == Self::SquaredCosine
    }

    /// What is left of the picture at each timestep: its share of the variance.
    pub(super) fn signal(&self, count: usize, rescale_zero_snr: bool) -> Vec<f32> {
        let mut betas = self.values(count);
        if rescale_zero_snr {
            betas = without_signal_at_the_end(&betas);
        }
        running_product(betas.into_iter().map(|beta| 1.0 - beta))
    }
}

fn cosine(at: f64) -> f64 {
    let cosine = ((at + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos();
    cosine * cosine
}

/// `count` values from `start` to `end`, both among them, each counted from the nearer end.
fn evenly(start: f32, end: f32, count: usize) -> Vec<f32> {
    if count < 2 {
        return vec![start; count];
    }
    let step = (end - start) / (count - 1) as f32;
    (0..count)
        .map(|index| {
            if index < count / 2 {
                start + step * index as f32
            } else {
                end - step * (count - 1 - index) as f32
            }
        })
        .collect()
}

fn running_product(factors: impl Iterator<Item = f32>) -> Vec<f32> {
    let product = |so_far: &mut f64, factor: f32| {
        *so_far *= f64::from(factor);
        Some(*so_far as f32)
    };
    factors.scan(1.0, product).collect()
}

/// The same betas, shifted and stretched so that nothing is left of the picture at the last timestep
/// (Lin et al. 2023, algorithm 1).
fn without_signal_at_the_end(betas: &[f32]) -> Vec<f32> {
    let signal = running_product(betas.iter().map(|beta| 1.0 - beta));
    let roots: Vec<f32> = signal.iter().map(|signal| signal.sqrt()).collect();
    let (Some(&first), Some(&last)) = (roots.first(), roots.last()) else {
        return Vec::new();
    };
    let stretch = first / (first - last);
    let signal: Vec<f32> = roots
        .iter()
        .map(|root| {
            let root = (root - last) * stretch;
            root * root
        })
        .collect();
    let mut before = 1.0;
    signal
        .into_iter()
        .map(|signal| {
            let kept = signal / before;
            before = signal;
            1.0 - kept
        })
        .collect()
}

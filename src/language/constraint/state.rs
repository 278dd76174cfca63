//! Where one sequence stands in its constraint.

use std::fmt;

use llguidance::Matcher;
use toktrie::SimpleVob;

use crate::language::LanguageError;

/// Where one sequence stands in its constraint: which tokens may follow.
///
/// Each step, [`ConstraintState::mask`] goes before the sampler and [`ConstraintState::accept`] after
/// it.
pub struct ConstraintState {
    matcher: Matcher,
    /// The tokens that may follow, once they were looked for.
    allowed: Option<SimpleVob>,
}

impl fmt::Debug for ConstraintState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConstraintState")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

impl ConstraintState {
    pub(super) fn start(mut matcher: Matcher) -> Result<Self, LanguageError> {
        let allowed = matcher.compute_mask_or_eos().map_err(failed)?;
        if allowed.is_zero() {
            return Err(LanguageError::UnsatisfiableConstraint {
                detail: "no token may come first".to_owned(),
            });
        }
        Ok(Self {
            matcher,
            allowed: Some(allowed),
        })
    }

    /// Sets the logits of all tokens that may not follow to minus infinity.
    ///
    /// # Errors
    /// [`LanguageError::NoTokenAllowed`] if none may, and
    /// [`LanguageError::InvalidConstraint`] if finding out takes more work than is allowed.
    pub fn mask(&mut self, logits: &mut [f32]) -> Result<(), LanguageError> {
        let allowed = match self.allowed.take() {
            Some(allowed) => allowed,
            None => self.matcher.compute_mask_or_eos().map_err(failed)?,
        };
        let words = allowed.as_slice().iter().chain(std::iter::repeat(&0));
        for (group, word) in logits.chunks_mut(32).zip(words) {
            match *word {
                u32::MAX => {}
                0 => group.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in group.iter_mut().enumerate() {
                        if word >> bit & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
        let is_empty = allowed.is_zero();
        self.allowed = Some(allowed);
        if is_empty {
            return Err(LanguageError::NoTokenAllowed);
        }
        Ok(())
    }

    /// Goes on by a token: one that [`ConstraintState::mask`] left, or one that ends the text where
    /// it may end.
    ///
    /// # Errors
    /// [`LanguageError::ConstraintViolated`] if the token may not follow.
    pub fn accept(&mut self, token: u32) -> Result<(), LanguageError> {
        self.allowed = None;
        self.matcher
            .consume_token(token)
            .map_err(|_| LanguageError::ConstraintViolated { token })
    }

    /// Whether the text is complete and nothing but its end may follow.
    pub fn is_finished(&self) -> bool {
        self.matcher.is_stopped()
    }
}

fn failed(error: impl fmt::Display) -> LanguageError {
    LanguageError::InvalidConstraint {
        detail: error.to_string(),
    }
}

//! What callers are told of requests that are not served, alike for all capabilities.

use crate::models::ModelError;
use crate::pool::core::PoolError;

/// A part of the request makes no sense.
pub(in crate::pool::capabilities) fn invalid(
    field: &'static str,
    reason: impl Into<String>,
) -> PoolError {
    PoolError::InvalidRequest {
        field,
        reason: reason.into(),
    }
}

/// The model, or what prepares its requests, finds fault with this one.
pub(in crate::pool::capabilities) fn failed(model: &str, source: ModelError) -> PoolError {
    PoolError::Model {
        model: model.to_owned(),
        source,
    }
}

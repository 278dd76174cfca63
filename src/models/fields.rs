//! Typed access to the fields of a JSON configuration.

use serde_json::Value;

use crate::models::ModelError;

/// No length, count or width in a real configuration is larger.
const MAX_COUNT: u64 = 1 << 24;

/// A configuration file's content, with its name for error messages.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    file: String,
    value: Value,
}

impl Fields {
    pub(crate) fn new(file: impl Into<String>, value: Value) -> Self {
        Self {
            file: file.into(),
            value,
        }
    }

    pub(crate) fn invalid(&self, field: &str, detail: impl Into<String>) -> ModelError {
        ModelError::InvalidConfig {
            file: self.file.clone(),
            field: field.to_owned(),
            detail: detail.into(),
        }
    }

    /// A field's value; `null` is as good as absent.
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.value.get(field).filter(|value| !value.is_null())
    }

    /// An object within this one.
    pub(crate) fn within(&self, field: &str) -> Option<Self> {
        self.get(field)
            .filter(|value| value.is_object())
            .map(|value| Self {
                file: self.file.clone(),
                value: value.clone(),
            })
    }

    pub(crate) fn text(&self, field: &str) -> Result<Option<&str>, ModelError> {
        self.get(field)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| self.invalid(field, format!("{value} is not a text")))
            })
            .transpose()
    }

    pub(crate) fn flag(&self, field: &str, default: bool) -> Result<bool, ModelError> {
        self.get(field).map_or(Ok(default), |value| {
            value
                .as_bool()
                .ok_or_else(|| self.invalid(field, format!("{value} is neither true nor false")))
        })
    }

    pub(crate) fn number(&self, field: &str) -> Result<Option<f64>, ModelError> {
        self.get(field)
            .map(|value| {
                value
                    .as_f64()
                    .filter(|number| number.is_finite())
                    .ok_or_else(|| self.invalid(field, format!("{value} is not a number")))
            })
            .transpose()
    }

    /// A whole number that may be 0.
    pub(crate) fn whole(&self, field: &str) -> Result<Option<usize>, ModelError> {
        self.get(field)
            .map(|value| {
                value
                    .as_u64()
                    .filter(|count| *count <= MAX_COUNT)
                    .map(|count| count as usize)
                    .ok_or_else(|| {
                        self.invalid(
                            field,
                            format!("{value} is not a whole number to {MAX_COUNT}"),
                        )
                    })
            })
            .transpose()
    }

    /// A whole number that may not be 0.
    pub(crate) fn count(&self, field: &str) -> Result<Option<usize>, ModelError> {
        match self.whole(field)? {
            Some(0) => Err(self.invalid(field, "0 is too few")),
            other => Ok(other),
        }
    }

    /// The first of several names of a whole number that must be there.
    pub(crate) fn required(&self, names: &[&str]) -> Result<usize, ModelError> {
        for name in names {
            if let Some(count) = self.count(name)? {
                return Ok(count);
            }
        }
        let field = names.first().copied().unwrap_or_default();
        Err(self.invalid(field, "it is missing"))
    }

    /// Fails unless the field is absent or has the one value that is supported.
    pub(crate) fn only(&self, field: &str, supported: &Value) -> Result<(), ModelError> {
        match self.get(field) {
            Some(value) if value != supported => Err(self.invalid(
                field,
                format!("{value} is not supported, only {supported} is"),
            )),
            _ => Ok(()),
        }
    }
}

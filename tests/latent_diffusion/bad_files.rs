//! Pipelines that are not what they say.

//! Copies of tiny pipelines, to be spoilt.

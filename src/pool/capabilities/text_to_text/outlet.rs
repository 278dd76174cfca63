//! Where an engine's texts go.

use std::time::Duration;

use super::answer::TextChunk;
use crate::models::ModelError;
use crate::pool::core::{Capability, Outbox, Slot};

/// The outbox of the capability that requests belong to, seen as one for texts.
pub(in crate::pool::capabilities) trait Outlet {
    /// As [`Outbox::is_stream`].
    fn is_stream(&self, slot: Slot) -> bool;

    /// As [`Outbox::has_room`].
    fn has_room(&self, slot: Slot) -> bool;

    /// As [`Outbox::age`].
    fn age(&self, slot: Slot) -> Duration;

    /// As [`Outbox::emit`].
    fn emit(&mut self, slot: Slot, chunk: TextChunk);

    /// As [`Outbox::finish`].
    fn finish(&mut self, slot: Slot, chunk: TextChunk);

    /// As [`Outbox::fail`].
    fn fail(&mut self, slot: Slot, error: ModelError);

    /// As [`Outbox::stall`].
    fn stall(&mut self);
}

impl<C: Capability> Outlet for Outbox<'_, C>
where
    C::Item: From<TextChunk>,
{
    fn is_stream(&self, slot: Slot) -> bool {
        Outbox::is_stream(self, slot)
    }

    fn has_room(&self, slot: Slot) -> bool {
        Outbox::has_room(self, slot)
    }

    fn age(&self, slot: Slot) -> Duration {
        Outbox::age(self, slot)
    }

    fn emit(&mut self, slot: Slot, chunk: TextChunk) {
        Outbox::emit(self, slot, chunk.into());
    }

    fn finish(&mut self, slot: Slot, chunk: TextChunk) {
        Outbox::finish(self, slot, chunk.into());
    }

    fn fail(&mut self, slot: Slot, error: ModelError) {
        Outbox::fail(self, slot, error);
    }

    fn stall(&mut self) {
        Outbox::stall(self);
    }
}

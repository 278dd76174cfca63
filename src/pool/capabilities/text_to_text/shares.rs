//! How the prompts of a step share its room.

/// Divides `room` tokens among prompts that have `wanted` tokens left each, the oldest first: half
/// of it to the oldest, the other half in equal shares to the rest, and what one does not need to
/// the others. Shares are at most what is wanted, and all of the room is used if enough is wanted.
pub(super) fn share_out(room: usize, wanted: &[usize]) -> Vec<usize> {
    let Some((&oldest, others)) = wanted.split_first() else {
        return Vec::new();
    };
    let others_want = others
        .iter()
        .fold(0, |sum: usize, wants| sum.saturating_add(*wants));
    let others_room = others_want.min(room / 2).max(room.saturating_sub(oldest));
    let mut shares = Vec::with_capacity(wanted.len());
    shares.push(0);
    shares.extend(equal_shares(others_room, others));
    let given: usize = shares.iter().sum();
    shares[0] = oldest.min(room - given);
    shares
}

/// Equal shares, but nobody gets more than is wanted; what is left over by some goes to the others.
fn equal_shares(room: usize, wanted: &[usize]) -> Vec<usize> {
    let mut shares = vec![0; wanted.len()];
    let mut by_need: Vec<usize> = (0..wanted.len()).collect();
    by_need.sort_by_key(|&index| wanted[index]);
    let mut left = room;
    for (served, &index) in by_need.iter().enumerate() {
        // Those with the smallest need first: what they leave raises everybody else's share.
        // Rounded up, so that a small room is used too: the last may then get nothing.
        let share = left.div_ceil(wanted.len() - served);
        shares[index] = share.min(wanted[index]).min(left);
        left -= shares[index];
    }
    shares
}

//! Room for connections: so many in all, and of each operator only a part where several share a daemon, so that nobody
//! keeps the others from a word with theirs. Root always finds room there: whoever looks after the machine has to be
//! able to end what others do.

use crate::{
    config::Installation,
    limits::{CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The room there is.
pub(crate) struct Room {
    shared: bool,
    /// Open connections by user number; none without one.
    taken: Mutex<BTreeMap<u32, usize>>,
}

/// A connection's place, until it is dropped.
pub(crate) struct Place {
    room: Arc<Room>,
    uid: u32,
}

impl Room {
    /// All of it, for a daemon of this installation.
    pub(crate) fn of(installation: Installation) -> Self {
        Self {
            shared: installation == Installation::System,
            taken: Mutex::default(),
        }
    }

    /// A place for a connection of this user number.
    ///
    /// # Errors
    /// What is full, in words.
    pub(crate) fn enter(self: &Arc<Self>, uid: u32) -> Result<Place, String> {
        let mut taken = self.taken();
        let own = taken.get(&uid).copied().unwrap_or(0);
        let bound = !(self.shared && uid == 0);
        if bound && self.shared && own >= CONNECTIONS_OF_ONE_MAX {
            return Err(format!(
                "{CONNECTIONS_OF_ONE_MAX} connections of yours are open already"
            ));
        }
        if bound && taken.values().sum::<usize>() >= CONNECTIONS_MAX {
            return Err(format!("{CONNECTIONS_MAX} connections are open already"));
        }
        taken.insert(uid, own + 1);
        drop(taken);
        let room = Arc::clone(self);
        Ok(Place { room, uid })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<u32, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        let left = taken.get(&self.uid).map_or(0, |own| own - 1);
        if left == 0 {
            taken.remove(&self.uid);
        } else {
            taken.insert(self.uid, left);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn entered(room: &Arc<Room>, uid: u32) -> Vec<Place> {
        std::iter::from_fn(|| room.enter(uid).ok())
            .take(2 * CONNECTIONS_MAX)
            .collect()
    }

    #[test]
    fn one_operator_leaves_room_for_the_others_and_all_together_for_root() {
        let room = Arc::new(Room::of(Installation::System));
        let first = entered(&room, 1000);
        assert_eq!(first.len(), CONNECTIONS_OF_ONE_MAX);
        let others: Vec<Place> = (1001..2000).flat_map(|uid| entered(&room, uid)).collect();
        assert_eq!(first.len() + others.len(), CONNECTIONS_MAX);
        assert!(room.enter(3000).is_err() && room.enter(0).is_ok());
        drop(first);
        assert!(room.enter(1000).is_ok());
    }

    #[test]
    fn who_has_a_daemon_alone_has_all_its_room_and_no_more() {
        let room = Arc::new(Room::of(Installation::PerUser));
        for uid in [0, 1000] {
            assert_eq!(entered(&room, uid).len(), CONNECTIONS_MAX);
        }
        assert!(room.taken().is_empty());
    }
}

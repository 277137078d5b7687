//! Who uses which repository beneath a root, so that none is moved away from under a command.
//!
//! Every handle that [`super::Repositories`] gives out counts for its name until its last clone is dropped. Whoever renames or deletes
//! waits for a moment until nobody does; meanwhile nobody new comes in.
//!
//! Limit: this process alone. What drop-ins and stock git do beside is held off by locks in the repository, as far as they take such.

use super::Error;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The names that are in use.
#[derive(Debug, Default)]
pub(super) struct InUse {
    names: Mutex<HashMap<String, Usage>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Usage {
    commands: usize,
    is_moving: bool,
}

/// One command's use of one name.
#[derive(Debug)]
pub(super) struct Use {
    of: Arc<InUse>,
    name: String,
}

/// Nobody uses these names until this is dropped.
#[derive(Debug)]
pub(super) struct Moving {
    of: Arc<InUse>,
    names: Vec<String>,
}

impl InUse {
    fn names(&self) -> MutexGuard<'_, HashMap<String, Usage>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Use what is called `name`.
    ///
    /// # Errors
    /// [`Error::InTheWay`] while it is being moved.
    pub(super) fn enter(self: &Arc<Self>, name: &str) -> Result<Use, Error> {
        let mut names = self.names();
        let usage = names.entry(name.to_owned()).or_default();
        if usage.is_moving {
            return Err(being_moved(name));
        }
        usage.commands += 1;
        Ok(Use { of: self.clone(), name: name.to_owned() })
    }

    /// Have all of `wanted` alone, once nobody uses one of them, which is waited for no longer than `patience`.
    ///
    /// # Errors
    /// [`Error::InTheWay`] where somebody still does, or moves one of them, too.
    pub(super) fn take(self: &Arc<Self>, wanted: &[&str], patience: Duration) -> Result<Moving, Error> {
        let mut names = self.names();
        if let Some(name) = wanted.iter().find(|name| names.get(**name).is_some_and(|usage| usage.is_moving)) {
            return Err(being_moved(name));
        }
        for name in wanted {
            names.entry((*name).to_owned()).or_default().is_moving = true;
        }
        let moving = Moving { of: self.clone(), names: wanted.iter().map(|name| (*name).to_owned()).collect() };
        let deadline = Instant::now() + patience;
        loop {
            let busy = wanted.iter().find_map(|name| names.get(*name).map(|usage| (*name, usage.commands)).filter(|(_, count)| *count > 0));
            let Some((name, count)) = busy else { break };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(names);
                let commands = if count == 1 { "one command is".to_owned() } else { format!("{count} commands are") };
                return Err(Error::InTheWay(format!("{commands} under way in '{name}'; try again when they are over")));
            }
            names = self.changed.wait_timeout(names, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(names);
        Ok(moving)
    }
}

fn being_moved(name: &str) -> Error {
    Error::InTheWay(format!("'{name}' is being renamed or deleted at this moment; try again"))
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut names = self.of.names();
        if let Some(usage) = names.get_mut(&self.name) {
            usage.commands -= 1;
            if usage.commands == 0 && !usage.is_moving {
                names.remove(&self.name);
            }
        }
        self.of.changed.notify_all();
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        let mut names = self.of.names();
        for name in &self.names {
            if let Some(usage) = names.get_mut(name) {
                usage.is_moving = false;
                if usage.commands == 0 {
                    names.remove(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_moves_waits_for_those_inside_and_lets_nobody_in() {
        let all = Arc::new(InUse::default());
        let inside = all.enter("x").expect("nobody moves it");
        assert!(all.take(&["y", "x"], Duration::ZERO).expect_err("in use").to_string().contains("one command is under way in 'x'"));
        assert!(all.enter("y").is_ok(), "whoever gave up leaves nothing behind");
        std::thread::scope(|scope| {
            let moving = scope.spawn(|| all.take(&["x", "y"], LONG).expect("it is left"));
            while all.enter("y").is_ok() {
                std::thread::yield_now();
            }
            assert!(all.enter("x").expect_err("it is about to move").to_string().contains("try again"));
            assert!(all.take(&["y"], LONG).is_err(), "two that want one another's would wait for ever");
            assert!(all.enter("z").is_ok(), "others go on");
            drop(inside);
            let moving = moving.join().expect("no panic");
            assert!(all.enter("x").is_err());
            drop(moving);
        });
        drop(all.enter("x").expect("it is free"));
        assert!(all.names().is_empty());
    }
}

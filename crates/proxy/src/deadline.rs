//! Deadlines of upstreams, checked by the worker's sweep instead of a timer each.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

use crate::clock::Clock;

/// The deadlines that a worker's sweep checks.
pub(crate) struct Deadlines {
    clock: Rc<Clock>,
    watched: RefCell<Slab<Rc<Deadline>>>,
}

impl Deadlines {
    /// Returns an empty list.
    pub(crate) fn new(clock: Rc<Clock>) -> Self {
        Self { clock, watched: RefCell::default() }
    }

    /// Adds a deadline, which stays in the list as long as the guard lives.
    pub(crate) fn add(self: &Rc<Self>) -> DeadlineGuard {
        let deadline = Rc::new(Deadline {
            clock: Rc::clone(&self.clock),
            at: Cell::new(u64::MAX),
            has_passed: Cell::new(false),
            waker: RefCell::new(None),
        });
        let key = self.watched.borrow_mut().insert(Rc::clone(&deadline));
        DeadlineGuard { deadlines: Rc::clone(self), deadline, key }
    }

    /// Wakes the waiters of every deadline that has passed.
    pub(crate) fn sweep(&self) {
        for (_, deadline) in self.watched.borrow().iter() {
            deadline.check();
        }
    }
}

/// A deadline in its worker's list.
pub(crate) struct DeadlineGuard {
    deadlines: Rc<Deadlines>,
    deadline: Rc<Deadline>,
    key: usize,
}

impl DeadlineGuard {
    /// Returns the deadline.
    pub(crate) fn get(&self) -> &Rc<Deadline> {
        &self.deadline
    }
}

impl Drop for DeadlineGuard {
    fn drop(&mut self) {
        self.deadlines.watched.borrow_mut().try_remove(self.key);
    }
}

/// The time by which an upstream must make progress.
pub(crate) struct Deadline {
    clock: Rc<Clock>,
    /// On the worker's clock.
    at: Cell<u64>,
    has_passed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Deadline {
    /// Sets the deadline to this long from now.
    pub(crate) fn set(&self, wait: Duration) {
        self.at.set(self.clock.after(wait));
    }

    /// Removes the time limit: the upstream does not have to act.
    pub(crate) fn clear(&self) {
        self.at.set(u64::MAX);
    }

    /// Returns whether the deadline has passed.
    pub(crate) fn has_passed(&self) -> bool {
        self.has_passed.get()
    }

    /// Stores the waker for when it passes.
    pub(crate) fn watch(&self, waker: &Waker) {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            *kept = Some(waker.clone());
        }
    }

    fn check(&self) {
        if self.clock.now() > self.at.get() {
            self.has_passed.set(true);
            if let Some(waker) = self.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }
}

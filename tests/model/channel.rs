//! Channels that behave as those of crossbeam do, on the model checker's locks, so that it sees each of their steps.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

pub use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread;

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    messages: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receivers: usize,
}

pub struct Sender<T>(Arc<Shared<T>>);

pub struct Receiver<T>(Arc<Shared<T>>);

pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State {
        messages: VecDeque::new(),
        capacity,
        senders: 1,
        receivers: 1,
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        changed: Condvar::new(),
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        let woken = self.changed.wait(state);
        woken.unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self, state: &mut State<T>) -> Option<T> {
        let message = state.messages.pop_front()?;
        if state.capacity < usize::MAX {
            self.changed.notify_all();
        }
        Some(message)
    }
}

impl<T> Sender<T> {
    pub fn len(&self) -> usize {
        self.0.lock().messages.len()
    }

    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut state = self.0.lock();
        while state.receivers > 0 && state.messages.len() >= state.capacity {
            state = self.0.wait(state);
        }
        if state.receivers == 0 {
            return Err(SendError(message));
        }
        state.messages.push_back(message);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Receiver<T> {
    pub fn recv(&self) -> Result<T, RecvError> {
        let mut state = self.0.lock();
        loop {
            if let Some(message) = self.0.pop(&mut state) {
                return Ok(message);
            }
            if state.senders == 0 {
                return Err(RecvError);
            }
            state = self.0.wait(state);
        }
    }

    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.lock();
        match self.0.pop(&mut state) {
            Some(message) => Ok(message),
            None if state.senders == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Time passes whenever it likes.
    pub fn recv_deadline(&self, _deadline: Instant) -> Result<T, RecvTimeoutError> {
        loop {
            match self.try_recv() {
                Ok(message) => return Ok(message),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if thread_rng().gen_bool(0.2) => {
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(TryRecvError::Empty) => thread::yield_now(),
            }
        }
    }

    pub fn try_iter(&self) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.try_recv().ok())
    }

    pub fn len(&self) -> usize {
        self.0.lock().messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_ready(&self) -> bool {
        let state = self.0.lock();
        !state.messages.is_empty() || state.senders == 0
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.0.lock().receivers += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        if state.senders == 0 {
            self.0.changed.notify_all();
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receivers -= 1;
        if state.receivers == 0 {
            let unread = std::mem::take(&mut state.messages);
            self.0.changed.notify_all();
            drop(state);
            drop(unread);
        }
    }
}

/// Waits for one of several channels.
pub struct Select<'a>(Vec<Box<dyn Fn() -> bool + 'a>>);

impl<'a> Select<'a> {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) {
        self.0.push(Box::new(|| receiver.is_ready()));
    }

    /// A wait in vain exceeds the steps that the checker allows.
    pub fn ready(&mut self) {
        while !self.0.iter().any(|is_ready| is_ready()) {
            thread::yield_now();
        }
    }

    /// Time passes whenever it likes.
    pub fn ready_deadline(&mut self, _deadline: Instant) -> Result<(), ()> {
        while !self.0.iter().any(|is_ready| is_ready()) {
            if thread_rng().gen_bool(0.2) {
                return Err(());
            }
            thread::yield_now();
        }
        Ok(())
    }
}

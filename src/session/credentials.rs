//! One credential for a whole pool, which is renewed once however many workers find that it has expired.

use std::sync::Arc;

use http::HeaderValue;

use super::error::{SessionError, SetupStage};
use crate::error::BoxError;
use crate::headers::Auth;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, WaitList};

/// Obtains the credential; it is given the one before.
pub(crate) type Renew = Arc<dyn Fn(Option<&Auth>) -> Result<Auth, BoxError> + Send + Sync>;

pub(crate) struct Credentials {
    renew: Renew,
    state: Mutex<CredentialState>,
    /// The newest one that a server has accepted.
    accepted: AtomicU64,
    /// The workers that wait for another one to obtain it.
    waiting: WaitList,
}

#[derive(Default)]
struct CredentialState {
    current: Option<Credential>,
    /// How many times it was obtained or could not be.
    tries: u64,
    failure: Option<SessionError>,
    is_renewing: bool,
}

#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) header: HeaderValue,
    /// Tells it apart from those before.
    pub(crate) generation: u64,
}

impl Credentials {
    pub(crate) fn new(renew: Renew) -> Self {
        Self {
            renew,
            state: Mutex::default(),
            accepted: AtomicU64::new(0),
            waiting: WaitList::default(),
        }
    }

    /// A server has responded to a request with this credential, other than with a 401.
    pub(crate) fn accept(&self, generation: u64) {
        // A look before writing: all workers come by here, with each response.
        if self.accepted.load(Ordering::Relaxed) < generation {
            self.accepted.fetch_max(generation, Ordering::Relaxed);
        }
    }

    /// Whether this credential was good at a time: if it is refused now, it has expired.
    pub(crate) fn was_accepted(&self, generation: u64) -> bool {
        self.accepted.load(Ordering::Relaxed) >= generation
    }

    /// The credential, if there is one.
    pub(crate) fn known(&self) -> Option<Credential> {
        self.state.lock().current.clone()
    }

    /// The credential; obtained now if there is none.
    pub(crate) fn current(&self) -> Result<Credential, SessionError> {
        self.newer_than(0)
    }

    /// A credential that is newer than this one: which another worker has obtained meanwhile, or which is obtained now. One
    /// worker does so at a time, and the others wait for its result.
    ///
    /// # Errors
    ///
    /// Fails for all of them if it cannot be obtained. The next call tries again.
    pub(crate) fn newer_than(&self, generation: u64) -> Result<Credential, SessionError> {
        let mut tries_before = None;
        let found = self.waiting.wait(None, || {
            let mut state = self.state.lock();
            let newer = state.current.as_ref();
            if let Some(newer) = newer.filter(|current| current.generation > generation) {
                return Some(Ok(newer.clone()));
            }
            // What this call has waited for has failed.
            let has_waited = tries_before.is_some_and(|before| before != state.tries);
            if let Some(failure) = state.failure.as_ref().filter(|_| has_waited) {
                return Some(Err(Some(failure.clone())));
            }
            if state.is_renewing {
                tries_before.get_or_insert(state.tries);
                return None;
            }
            state.is_renewing = true;
            Some(Err(None))
        });
        match found {
            Some(Ok(credential)) => Ok(credential),
            Some(Err(Some(failure))) => Err(failure),
            Some(Err(None)) | None => self.obtain(),
        }
    }

    /// Called by one worker at a time. The user's closure runs without a lock.
    fn obtain(&self) -> Result<Credential, SessionError> {
        let old = self.state.lock().current.clone();
        let old = old.map(|credential| Auth::from_header_value(credential.header));
        let obtained = SetupStage::Credentials.run(|| {
            let auth = (self.renew)(old.as_ref())?;
            Ok(auth.into_header_value()?)
        });
        let mut state = self.state.lock();
        state.is_renewing = false;
        state.tries += 1;
        let result = match obtained {
            Ok(header) => {
                let credential = Credential {
                    header,
                    generation: state.tries,
                };
                state.current = Some(credential.clone());
                state.failure = None;
                Ok(credential)
            }
            Err(failure) => {
                state.failure = Some(failure.clone());
                Err(failure)
            }
        };
        drop(state);
        self.waiting.notify_all();
        result
    }
}

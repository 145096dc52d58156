//! One session that all workers use clones of.

use std::sync::{Arc, PoisonError};

use url::Url;

use super::{CloneSession, Recipe, SessionFault, SessionPlan};
use crate::pool::sessions::MOST_PROXIED;
use crate::pool::teardown;
use crate::session::OpenSession;
use crate::sync::Mutex;
use crate::transport::TransportBuilder;

/// One session for all workers, and one for each proxy.
pub(super) struct Shared<B: TransportBuilder + 'static> {
    plan: SessionPlan<B>,
    clone: CloneSession<B::Transport>,
    own: Original<B::Transport>,
    /// The one used last comes last.
    proxied: Mutex<Vec<(Url, Original<B::Transport>)>>,
}

/// A session to be cloned, once it is open. The lock is held while it is opened: all others wait for just that.
type Original<T> = Arc<Mutex<Option<OpenSession<T>>>>;

impl<B: TransportBuilder + 'static> Recipe for Shared<B> {
    fn open(&self, proxy: Option<&Url>) -> Result<Box<OpenSession>, SessionFault> {
        let original = self.original(proxy);
        let mut original = original.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match &mut *original {
            Some(session) => session,
            closed => closed.insert(self.plan.open_session(proxy)?),
        };
        Ok(Box::new((self.clone)(session)))
    }

    /// Another worker may have done so before: then its credentials do for this one too.
    fn reauthenticate(&self, session: &mut OpenSession) -> Result<(), SessionFault> {
        let original = self.original(session.proxy.as_ref());
        let mut original = original.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(original), Some(unauthorized)) = (&mut *original, &session.unauthorized) else {
            return Ok(());
        };
        if original.additions == session.additions {
            original.additions = self.plan.authorized(unauthorized)?;
        }
        session.additions = original.additions.clone();
        Ok(())
    }
}

impl<B: TransportBuilder + 'static> Shared<B> {
    pub(super) fn new(plan: SessionPlan<B>, clone: CloneSession<B::Transport>) -> Self {
        Self {
            plan,
            clone,
            own: Original::default(),
            proxied: Mutex::default(),
        }
    }

    fn original(&self, proxy: Option<&Url>) -> Original<B::Transport> {
        match proxy {
            None => Arc::clone(&self.own),
            Some(proxy) => self.original_through(proxy),
        }
    }

    fn original_through(&self, proxy: &Url) -> Original<B::Transport> {
        let mut proxied = self.proxied.lock().unwrap_or_else(PoisonError::into_inner);
        let found = proxied.iter().position(|(other, _)| other == proxy);
        let entry = match found {
            Some(position) => proxied.remove(position),
            None => (proxy.clone(), Original::default()),
        };
        let original = Arc::clone(&entry.1);
        proxied.push(entry);
        let superfluous = (proxied.len() > MOST_PROXIED).then(|| proxied.remove(0));
        drop(proxied);
        teardown::elsewhere(superfluous);
        original
    }
}

impl<B: TransportBuilder + 'static> Drop for Shared<B> {
    fn drop(&mut self) {
        // The last one to hold it may be the user, whom nothing may hold up.
        teardown::elsewhere(std::mem::take(&mut self.own));
        teardown::elsewhere(std::mem::take(&mut self.proxied));
    }
}

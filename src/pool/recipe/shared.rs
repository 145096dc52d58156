//! One session that all workers use clones of.

use std::sync::Arc;

use url::Url;

use super::{CloneSession, Recipe, SessionFault, SessionPlan};
use crate::pool::sessions::MOST_PROXIED;
use crate::pool::teardown;
use crate::session::OpenSession;
use crate::sync::{Mutex, MutexGuard};
use crate::transport::TransportBuilder;

/// One session for all workers, and one for each proxy.
pub(super) struct Shared<B: TransportBuilder + 'static> {
    plan: SessionPlan<B>,
    clone: CloneSession<B::Transport>,
    own: Original<B::Transport>,
    /// The one used last comes last.
    proxied: Mutex<Vec<(Url, Original<B::Transport>)>>,
}

type Original<T> = Arc<Template<T>>;

/// A session to be cloned.
struct Template<T> {
    /// `None` until it is open. The lock is held while it is opened: all others wait for just that.
    session: Mutex<Option<OpenSession<T>>>,
    /// Held while the session is given fresh credentials: all others who want them wait for just that.
    renewal: Mutex<()>,
}

impl<T> Default for Template<T> {
    fn default() -> Self {
        Self {
            session: Mutex::default(),
            renewal: Mutex::default(),
        }
    }
}

impl<T> Template<T> {
    fn lock(&self) -> MutexGuard<'_, Option<OpenSession<T>>> {
        self.session.lock()
    }
}

impl<B: TransportBuilder + 'static> Recipe for Shared<B> {
    fn open(&self, proxy: Option<&Url>) -> Result<Box<OpenSession>, SessionFault> {
        let original = self.original(proxy);
        let mut original = original.lock();
        let session = match &mut *original {
            Some(session) => session,
            closed => closed.insert(self.plan.open_session(proxy)?),
        };
        Ok(Box::new((self.clone)(session)))
    }

    /// Another worker may have done so before: then its credentials do for this one too.
    fn reauthenticate(&self, session: &mut OpenSession) -> Result<(), SessionFault> {
        let original = self.original(session.proxy.as_ref());
        let renewal = &original.renewal;
        let _renewing = renewal.lock();
        let shared = original
            .lock()
            .as_ref()
            .map(|session| session.additions.clone());
        let (Some(shared), Some(unauthorized)) = (shared, &session.unauthorized) else {
            return Ok(());
        };
        if shared != session.additions {
            session.additions = shared;
            return Ok(());
        }
        session.additions = self.plan.authorized(unauthorized)?;
        if let Some(shared) = &mut *original.lock() {
            shared.additions = session.additions.clone();
        }
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
        let mut proxied = self.proxied.lock();
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

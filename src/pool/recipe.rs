//! How the workers of one pool make their sessions.

mod shared;
mod step;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use ::reqwest::blocking::ClientBuilder;
use url::Url;

use self::shared::Shared;
pub(super) use self::step::{SessionFault, Step};
use crate::addresses::AddressFilter;
use crate::error::BoxError;
use crate::session::{Additions, OpenSession, Session};
use crate::transport::TransportBuilder;

/// With a filter, nothing goes through a proxy.
const UNVETTED_PROXY: &str = "with public_addresses_only nothing is sent through a proxy, for it would look up the address itself";

/// How to make sessions.
pub(super) trait Recipe: Send + Sync {
    /// Makes a session, on the thread that calls it: the pool's own one, or one that sends all through a proxy.
    fn open(&self, proxy: Option<&Url>) -> Result<Box<OpenSession>, SessionFault>;

    /// Gives a session the credentials that it would get if it were made now.
    fn reauthenticate(&self, session: &mut OpenSession) -> Result<(), SessionFault>;
}

pub(super) type Constructor<B> = Arc<dyn Fn() -> Session<B> + Send + Sync>;
pub(super) type Hook<B> = Arc<dyn Fn(Session<B>) -> Result<Session<B>, BoxError> + Send + Sync>;
type CloneSession<T> = fn(&OpenSession<T>) -> OpenSession<T>;

/// The user's part of a recipe, while the type of its transport is known.
pub(super) struct SessionPlan<B: TransportBuilder> {
    constructor: Constructor<B>,
    pub(super) initializer: Option<Hook<B>>,
    pub(super) auth_generator: Option<Hook<B>>,
    /// How to clone a session, if all workers are to use clones of one.
    share: Option<CloneSession<B::Transport>>,
    /// Whether sessions are to remember what they were without credentials.
    reauthenticate: bool,
    /// What each wait of an exchange without a deadline is bound by.
    stall_timeout: Option<Duration>,
    /// What may be connected to, if not everything.
    filter: Option<AddressFilter>,
    /// Whether hooks were set that take another type of session.
    has_misfits: bool,
}

impl Default for SessionPlan<ClientBuilder> {
    fn default() -> Self {
        Self::new(Arc::new(Session::default))
    }
}

impl<B: TransportBuilder + 'static> SessionPlan<B> {
    fn new(constructor: Constructor<B>) -> Self {
        Self {
            constructor,
            initializer: None,
            auth_generator: None,
            share: None,
            reauthenticate: false,
            stall_timeout: None,
            filter: None,
            has_misfits: false,
        }
    }

    /// The same plan with another constructor. Hooks that are set already stay, if they take what it makes.
    pub(super) fn with_constructor<C: TransportBuilder + 'static>(
        self,
        constructor: Constructor<C>,
    ) -> SessionPlan<C> {
        let is_bare =
            self.initializer.is_none() && self.auth_generator.is_none() && self.share.is_none();
        let has_misfits = self.has_misfits || !is_bare;
        match (Box::new(self) as Box<dyn Any>).downcast::<SessionPlan<C>>() {
            Ok(same) => SessionPlan {
                constructor,
                ..*same
            },
            Err(_) => SessionPlan {
                has_misfits,
                ..SessionPlan::new(constructor)
            },
        }
    }

    pub(super) fn share(&mut self, share: bool)
    where
        B::Transport: Clone,
    {
        self.share = share.then_some(OpenSession::clone);
    }

    /// Forgets the types. `Err` if the parts do not fit together.
    pub(super) fn into_recipe(
        mut self,
        stall_timeout: Option<Duration>,
        reauthenticate: bool,
        filter: Option<AddressFilter>,
    ) -> Result<Arc<dyn Recipe>, SessionFault> {
        self.filter = filter;
        self.stall_timeout = stall_timeout;
        self.reauthenticate = reauthenticate;
        if self.has_misfits {
            return Err(SessionFault {
                step: Step::Constructor,
                source: "initializer, auth_generator or share_session was set for another type of session; \
                         call `session` before them"
                    .into(),
            });
        }
        Ok(match self.share {
            None => Arc::new(self),
            Some(clone) => Arc::new(Shared::new(self, clone)),
        })
    }

    fn open_session(&self, proxy: Option<&Url>) -> Result<OpenSession<B::Transport>, SessionFault> {
        let mut session = Step::Constructor.run(|| (self.constructor)().checked())?;
        if let Some(initializer) = &self.initializer {
            session = Step::Initializer.run(|| initializer(session)?.checked())?;
        }
        let unauthorized = self.reauthenticate.then(|| session.additions().clone());
        if let Some(auth_generator) = &self.auth_generator {
            session = Step::AuthGenerator.run(|| auth_generator(session)?.checked())?;
        }
        if let Some(proxy) = proxy {
            session = Step::Proxy.run(|| match self.filter {
                Some(_) => Err(UNVETTED_PROXY.into()),
                None => session.through_proxy(proxy),
            })?;
        }
        let session = session.stall_timeout(self.stall_timeout);
        Step::Transport.run(|| session.open(unauthorized, self.filter.clone()))
    }

    /// What a session adds with credentials that are fresh. The transport stays as it is, so what the auth generator does to
    /// its builder is lost.
    fn authorized(&self, unauthorized: &Additions) -> Result<Additions, SessionFault> {
        let Some(auth_generator) = &self.auth_generator else {
            return Ok(unauthorized.clone());
        };
        let session = Step::Constructor.run(|| Ok((self.constructor)()))?;
        let session = session.adding(unauthorized.clone());
        Step::AuthGenerator.run(|| auth_generator(session)?.into_additions())
    }
}

/// A session for each worker.
impl<B: TransportBuilder + 'static> Recipe for SessionPlan<B> {
    fn open(&self, proxy: Option<&Url>) -> Result<Box<OpenSession>, SessionFault> {
        Ok(Box::new(self.open_session(proxy)?))
    }

    fn reauthenticate(&self, session: &mut OpenSession) -> Result<(), SessionFault> {
        if let Some(unauthorized) = &session.unauthorized {
            session.additions = self.authorized(unauthorized)?;
        }
        Ok(())
    }
}

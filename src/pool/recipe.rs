//! How the workers of one pool make their sessions.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ::reqwest::blocking::ClientBuilder;
use url::Url;

use super::sessions::MOST_PROXIED;
use super::teardown;
use crate::error::{BoxError, RootCause};
use crate::panics;
use crate::redact::Clipped;
use crate::session::{OpenSession, Session};
use crate::sync::Mutex;
use crate::transport::TransportBuilder;

/// Makes a session, on the thread that calls it: the pool's own one, or one that sends all through a proxy.
pub(super) type Recipe =
    dyn Fn(Option<&Url>) -> Result<Box<OpenSession>, SessionFault> + Send + Sync;

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
    /// What each wait of an exchange without a deadline is bound by.
    stall_timeout: Option<Duration>,
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
            stall_timeout: None,
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
    ) -> Result<Arc<Recipe>, SessionFault> {
        self.stall_timeout = stall_timeout;
        if self.has_misfits {
            return Err(SessionFault {
                step: Step::Constructor,
                source: "initializer, auth_generator or share_session was set for another type of session; \
                         call `session` before them"
                    .into(),
            });
        }
        Ok(match self.share {
            None => Arc::new(move |proxy| Ok(Box::new(self.open(proxy)?) as Box<OpenSession>)),
            Some(clone) => {
                let shared = Shared {
                    plan: self,
                    clone,
                    own: Original::default(),
                    proxied: Mutex::default(),
                };
                Arc::new(move |proxy| Ok(Box::new(shared.open(proxy)?) as Box<OpenSession>))
            }
        })
    }

    fn open(&self, proxy: Option<&Url>) -> Result<OpenSession<B::Transport>, SessionFault> {
        let mut session = Step::Constructor.run(|| Ok((self.constructor)()))?;
        if let Some(initializer) = &self.initializer {
            session = Step::Initializer.run(|| initializer(session))?;
        }
        if let Some(auth_generator) = &self.auth_generator {
            session = Step::AuthGenerator.run(|| auth_generator(session))?;
        }
        if let Some(proxy) = proxy {
            session = Step::Proxy.run(|| session.through_proxy(proxy))?;
        }
        Step::Transport.run(|| session.stall_timeout(self.stall_timeout).open())
    }
}

/// One session for all workers, and one for each proxy.
struct Shared<B: TransportBuilder + 'static> {
    plan: SessionPlan<B>,
    clone: CloneSession<B::Transport>,
    own: Original<B::Transport>,
    /// The one used last comes last.
    proxied: Mutex<Vec<(Url, Original<B::Transport>)>>,
}

/// A session to be cloned, once it is open. The lock is held while it is opened: all others wait for just that.
type Original<T> = Arc<Mutex<Option<OpenSession<T>>>>;

impl<B: TransportBuilder + 'static> Shared<B> {
    fn open(&self, proxy: Option<&Url>) -> Result<OpenSession<B::Transport>, SessionFault> {
        let original = match proxy {
            None => Arc::clone(&self.own),
            Some(proxy) => self.original_through(proxy),
        };
        let mut original = original.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match &mut *original {
            Some(session) => session,
            closed => closed.insert(self.plan.open(proxy)?),
        };
        Ok((self.clone)(session))
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

/// What is done to make a session, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Constructor,
    Initializer,
    AuthGenerator,
    Proxy,
    Transport,
}

impl Step {
    fn run<T>(self, step: impl FnOnce() -> Result<T, BoxError>) -> Result<T, SessionFault> {
        match panics::caught(step) {
            Ok(result) => result.map_err(|source| SessionFault { step: self, source }),
            Err(message) => Err(SessionFault {
                step: self,
                source: format!("it panicked: {}", Clipped(message)).into(),
            }),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constructor => "session constructor",
            Self::Initializer => "initializer",
            Self::AuthGenerator => "auth generator",
            Self::Proxy => "proxy",
            Self::Transport => "transport",
        })
    }
}

/// Why a session could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {}", RootCause(source))]
pub(super) struct SessionFault {
    pub(super) step: Step,
    pub(super) source: BoxError,
}

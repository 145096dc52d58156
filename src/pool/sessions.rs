//! The sessions of one worker: its own, and one for each proxy that its jobs have named.

use std::sync::Arc;

use url::Url;

use super::recipe::{Recipe, SessionFault, Step};
use super::teardown;
use crate::error::Error;
use crate::request::RequestSpec;
use crate::session::OpenSession;

/// How many sessions with proxies a worker keeps. Each may own a thread and connections.
pub(super) const MOST_PROXIED: usize = 8;

pub(super) struct Sessions {
    recipe: Arc<dyn Recipe>,
    own: Box<OpenSession>,
    /// The one used last comes last.
    proxied: Vec<Box<OpenSession>>,
}

impl Sessions {
    pub(super) fn open(recipe: &Arc<dyn Recipe>) -> Result<Self, SessionFault> {
        Ok(Self {
            recipe: Arc::clone(recipe),
            own: recipe.open(None)?,
            proxied: Vec::new(),
        })
    }

    /// The session that is to send this request.
    pub(super) fn for_request(&mut self, request: &RequestSpec) -> Result<&mut OpenSession, Error> {
        match request.parsed_proxy()? {
            None => Ok(&mut self.own),
            Some(proxy) => self.through(proxy),
        }
    }

    /// Gives the session of this request fresh credentials. Whether it sends other ones than before.
    pub(super) fn reauthenticate(&mut self, request: &RequestSpec) -> Result<bool, Error> {
        let url = request.parsed_url()?;
        let recipe = Arc::clone(&self.recipe);
        let session = self.for_request(request)?;
        let before = session.additions.clone();
        recipe.reauthenticate(session).map_err(refused)?;
        Ok(!session.additions.is_same_for(&url, &before))
    }

    fn through(&mut self, proxy: Url) -> Result<&mut OpenSession, Error> {
        let found = self
            .proxied
            .iter()
            .position(|session| session.proxy.as_ref() == Some(&proxy));
        let session = match found {
            Some(position) => self.proxied.remove(position),
            None => self.recipe.open(Some(&proxy)).map_err(refused)?,
        };
        if self.proxied.len() == MOST_PROXIED {
            teardown::elsewhere(self.proxied.remove(0));
        }
        self.proxied.push(session);
        Ok(self.proxied.last_mut().unwrap_or(&mut self.own))
    }

    /// Closes all of them without waiting for it.
    pub(super) fn dispose(self) {
        teardown::elsewhere(self);
    }
}

fn refused(fault: SessionFault) -> Error {
    match fault.step {
        Step::Proxy => Error::invalid_request(fault.to_string()).with_source(fault.source),
        _ => Error::session(fault),
    }
}

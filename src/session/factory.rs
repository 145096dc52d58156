//! How workers get their sessions: set up from the user's hooks, one for each worker or shared, and one for each proxy.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::credentials::{Credential, Credentials, Renew};
use super::error::{SessionError, SetupStage};
use super::{OpenSession, Preset, Session, SessionDefaults, SessionState};
use crate::addresses::AddressFilter;
use crate::error::{BoxError, Error};
use crate::request::RequestSpec;
use crate::sync::{Mutex, thread};
#[cfg(feature = "hyper")]
use crate::transport::AnyTransport;
use crate::transport::reqwest::ClientBuilder;
use crate::transport::{TransportBuilder, TransportOptions};

/// Opens sessions, whatever their transport.
pub(crate) trait SessionFactory: Send + Sync {
    /// Opens a session on the calling thread. With a proxy, all its requests go through that proxy.
    fn open(&self, proxy: Option<&Url>) -> Result<Box<OpenSession>, SessionError>;

    /// Which engine drives the transports of its sessions.
    #[cfg(feature = "hyper")]
    fn is_event_driven(&self) -> bool;

    /// The credential that the sessions of all workers send, if there is one.
    fn credentials(&self) -> Option<&Credentials>;

    /// Renews a session's credentials: returns what it would send if it were opened now.
    fn reauthenticate(&self, session: SessionState) -> Result<SessionState, SessionError>;
}

type CloneTransport<T> = fn(&T) -> T;
type Hook<B> = Arc<dyn Fn(Session<B>) -> Result<Session<B>, BoxError> + Send + Sync>;

/// The constructor and the hooks of a pool's builder.
pub(crate) struct SessionSetup<B: TransportBuilder> {
    constructor: Arc<dyn Fn() -> Session<B> + Send + Sync>,
    pub(crate) presets: Vec<Preset>,
    pub(crate) initializer: Option<Hook<B>>,
    pub(crate) auth_generator: Option<Hook<B>>,
    pub(crate) credentials: Option<Renew>,
    /// Set if all workers share one session.
    clone_transport: Option<CloneTransport<B::Transport>>,
    /// The setter of a hook that was lost because `session` was called after it.
    lost: Option<&'static str>,
}

impl<B: TransportBuilder> Clone for SessionSetup<B> {
    fn clone(&self) -> Self {
        Self {
            constructor: Arc::clone(&self.constructor),
            presets: self.presets.clone(),
            initializer: self.initializer.clone(),
            auth_generator: self.auth_generator.clone(),
            credentials: self.credentials.clone(),
            clone_transport: self.clone_transport,
            lost: self.lost,
        }
    }
}

impl Default for SessionSetup<ClientBuilder> {
    fn default() -> Self {
        Self::new(Session::default)
    }
}

impl<B: TransportBuilder + 'static> SessionSetup<B> {
    fn new(constructor: impl Fn() -> Session<B> + Send + Sync + 'static) -> Self {
        Self {
            constructor: Arc::new(constructor),
            presets: Vec::new(),
            initializer: None,
            auth_generator: None,
            credentials: None,
            clone_transport: None,
            lost: None,
        }
    }

    /// Starts over with another constructor. Hooks are for the sessions of the previous one: if any was set, there will be
    /// no factory.
    pub(crate) fn with_constructor<C: TransportBuilder + 'static>(
        self,
        constructor: impl Fn() -> Session<C> + Send + Sync + 'static,
    ) -> SessionSetup<C> {
        let set = [
            self.lost,
            self.initializer.map(|_| "initializer"),
            self.auth_generator.map(|_| "auth_generator"),
            self.clone_transport.map(|_| "share_session"),
        ];
        SessionSetup {
            presets: self.presets,
            credentials: self.credentials,
            lost: set.into_iter().flatten().next(),
            ..SessionSetup::new(constructor)
        }
    }

    pub(crate) fn share(&mut self, share: bool)
    where
        B::Transport: Clone,
    {
        self.clone_transport = share.then_some(B::Transport::clone);
    }

    /// Fails if a hook was set before `session`.
    pub(crate) fn into_factory(
        self,
        stall_timeout: Option<Duration>,
        reauthenticate: bool,
        address_filter: Option<AddressFilter>,
    ) -> Result<Arc<dyn SessionFactory>, BoxError> {
        if let Some(setter) = self.lost {
            let message = format!(
                "`{setter}` was set before `session`, which replaces the sessions that it is for; call `session` first"
            );
            return Err(message.into());
        }
        Ok(Arc::new(TypedFactory {
            credentials: self.credentials.clone().map(Credentials::new),
            setup: self,
            stall_timeout,
            reauthenticate,
            address_filter,
            shared: Mutex::default(),
        }))
    }
}

/// The one implementation of [`SessionFactory`].
struct TypedFactory<B: TransportBuilder + 'static> {
    setup: SessionSetup<B>,
    credentials: Option<Credentials>,
    stall_timeout: Option<Duration>,
    /// Whether sessions keep their defaults without credentials, so that these can be renewed.
    reauthenticate: bool,
    address_filter: Option<AddressFilter>,
    /// With `share_session`, the sessions that workers get clones of.
    shared: Mutex<SessionCache<Arc<SharedSession<B::Transport>>>>,
}

/// A session that workers get clones of. Its locks are held while hooks run: the other workers wait for their result.
struct SharedSession<T> {
    /// `None` until a worker has opened it.
    session: Mutex<Option<OpenSession<T>>>,
    /// Held while its credentials are renewed. Apart, so that it can be cloned meanwhile.
    renewal: Mutex<()>,
}

impl<B: TransportBuilder + 'static> SessionFactory for TypedFactory<B> {
    fn open(&self, proxy: Option<&Url>) -> Result<Box<OpenSession>, SessionError> {
        let Some(clone_transport) = self.setup.clone_transport else {
            return Ok(Box::new(self.set_up(proxy)?));
        };
        let shared = self.shared_session(proxy);
        let mut session = shared.session.lock();
        let session = match &mut *session {
            Some(session) => session,
            closed => closed.insert(self.set_up(proxy)?),
        };
        let clone = SetupStage::Transport.run(|| Ok(session.clone_with(clone_transport)))?;
        Ok(Box::new(clone))
    }

    #[cfg(feature = "hyper")]
    fn is_event_driven(&self) -> bool {
        B::Transport::is_event_driven()
    }

    fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    fn reauthenticate(&self, mut session: SessionState) -> Result<SessionState, SessionError> {
        if let Some(credentials) = &self.credentials {
            session.apply(credentials.newer_than(session.generation)?);
            return Ok(session);
        }
        let Some(unauthorized) = session.unauthorized.clone() else {
            return Ok(session);
        };
        if self.setup.clone_transport.is_none() {
            session.defaults = self.authorize(&unauthorized)?;
            return Ok(session);
        }
        let shared = self.shared_session(session.proxy.as_ref());
        let _renewing = shared.renewal.lock();
        let current = shared
            .session
            .lock()
            .as_ref()
            .map(|original| Arc::clone(&original.state.defaults));
        session.defaults = match current {
            // Another worker has renewed them.
            Some(renewed) if renewed != session.defaults => renewed,
            _ => self.authorize(&unauthorized)?,
        };
        if let Some(original) = &mut *shared.session.lock() {
            original.state.defaults = Arc::clone(&session.defaults);
        }
        Ok(session)
    }
}

impl<B: TransportBuilder + 'static> TypedFactory<B> {
    fn set_up(&self, proxy: Option<&Url>) -> Result<OpenSession<B::Transport>, SessionError> {
        let setup = &self.setup;
        let mut session = SetupStage::Constructor.run(|| {
            let presets = setup.presets.iter();
            presets
                .fold((setup.constructor)(), Session::with_preset)
                .checked()
        })?;
        if let Some(initializer) = &setup.initializer {
            session = SetupStage::Initializer.run(|| initializer(session)?.checked())?;
        }
        let unauthorized = self
            .reauthenticate
            .then(|| Arc::new(session.defaults.clone()));
        if let Some(auth_generator) = &setup.auth_generator {
            session = SetupStage::AuthGenerator.run(|| auth_generator(session)?.checked())?;
        }
        let options = TransportOptions::default()
            .with_proxy(proxy.cloned())
            .with_address_filter(self.address_filter.clone())
            .with_stall_timeout(self.stall_timeout);
        SetupStage::Transport.run(|| session.open(unauthorized, &options))
    }

    /// The defaults of a session with fresh credentials. The open transport stays, so what constructor and auth generator
    /// do to its builder has no effect.
    fn authorize(
        &self,
        unauthorized: &Arc<SessionDefaults>,
    ) -> Result<Arc<SessionDefaults>, SessionError> {
        let Some(auth_generator) = &self.setup.auth_generator else {
            return Ok(Arc::clone(unauthorized));
        };
        let mut session = SetupStage::Constructor.run(|| Ok((self.setup.constructor)()))?;
        session.defaults = SessionDefaults::clone(unauthorized);
        let authorized =
            SetupStage::AuthGenerator.run(|| auth_generator(session)?.into_defaults())?;
        Ok(Arc::new(authorized))
    }

    fn shared_session(&self, proxy: Option<&Url>) -> Arc<SharedSession<B::Transport>> {
        let closed = || {
            Ok::<_, Infallible>(Arc::new(SharedSession {
                session: Mutex::new(None),
                renewal: Mutex::new(()),
            }))
        };
        let mut cache = self.shared.lock();
        let Ok((shared, evicted)) = cache.get_or_open(proxy, closed);
        let shared = Arc::clone(shared);
        drop(cache);
        drop_in_background(evicted);
        shared
    }
}

/// The sessions of one worker. All attempts that it is at share them.
pub(crate) struct WorkerSessions {
    factory: Arc<dyn SessionFactory>,
    cache: RefCell<SessionCache<Box<OpenSession>>>,
    /// Held while the hooks of one session run for an attempt, so that they do not run for another one as well.
    turn: futures_util::lock::Mutex<()>,
}

impl WorkerSessions {
    /// Opens the session for requests that name no proxy.
    pub(crate) fn open(factory: &Arc<dyn SessionFactory>) -> Result<Self, SessionError> {
        let mut cache = SessionCache::default();
        cache.get_or_open(None, || factory.open(None))?;
        if let Some(credentials) = factory.credentials() {
            credentials.current()?;
        }
        Ok(Self {
            factory: Arc::clone(factory),
            cache: RefCell::new(cache),
            turn: futures_util::lock::Mutex::new(()),
        })
    }

    /// Calls a closure with the session for this request: the one for the proxy that it names.
    pub(crate) async fn with<T>(
        &self,
        request: &RequestSpec,
        call: impl FnOnce(&mut OpenSession) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let proxy = request.parsed_proxy()?;
        let credential = match self.factory.credentials() {
            Some(credentials) if !request.has_credentials() => match credentials.known() {
                Some(known) => Some(known),
                None => Box::pin(self.obtain_credential()).await?,
            },
            _ => None,
        };
        let is_open = self.cache.borrow_mut().get(proxy.as_ref()).is_some();
        if !is_open {
            Box::pin(self.open_for(proxy.clone())).await?;
        }
        let mut cache = self.cache.borrow_mut();
        let gone = || Error::session("the session was closed for those of other proxies");
        let (session, _) = cache.get_or_open(proxy.as_ref(), || Err(gone()))?;
        if let Some(credential) = credential {
            session.state.apply(credential);
        }
        call(session)
    }

    async fn obtain_credential(&self) -> Result<Option<Credential>, Error> {
        let _turn = self.turn.lock().await;
        let factory = Arc::clone(&self.factory);
        let obtain = move || factory.credentials().map(Credentials::current).transpose();
        Ok(self.run_hooks(obtain).await??)
    }

    async fn open_for(&self, proxy: Option<Url>) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        if self.cache.borrow_mut().get(proxy.as_ref()).is_some() {
            return Ok(());
        }
        let factory = Arc::clone(&self.factory);
        let open = move || factory.open(proxy.as_ref()).map(|session| (session, proxy));
        let (opened, proxy) = self.run_hooks(open).await??;
        let opened = || Ok::<_, Infallible>(opened);
        let mut cache = self.cache.borrow_mut();
        let Ok((_, evicted)) = cache.get_or_open(proxy.as_ref(), opened);
        drop(cache);
        drop_in_background(evicted);
        Ok(())
    }

    /// Renews the credentials of this request's session, unless another attempt has done so since this one was sent with these.
    /// Returns whether the request is sent with different ones now.
    pub(crate) async fn reauthenticate(
        &self,
        request: &RequestSpec,
        sent_with: &SessionState,
    ) -> Result<bool, Error> {
        let (url, name) = (request.parsed_url()?, request.auth_name());
        let _turn = self.turn.lock().await;
        let proxy = sent_with.proxy.as_ref();
        let mut current = match self.cache.borrow_mut().get(proxy) {
            Some(session) => session.state.clone(),
            None => sent_with.clone(),
        };
        if current
            .defaults
            .is_same_for(&url, name, &sent_with.defaults)
        {
            let factory = Arc::clone(&self.factory);
            let renew = move || factory.reauthenticate(current);
            current = self.run_hooks(renew).await??;
            if let Some(session) = self.cache.borrow_mut().get(proxy) {
                session.state = current.clone();
            }
        }
        Ok(!current
            .defaults
            .is_same_for(&url, name, &sent_with.defaults))
    }

    /// Runs hooks, which are the user's and may block: an event loop has other threads for them.
    async fn run_hooks<T: Send + 'static>(
        &self,
        hooks: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        #[cfg(feature = "hyper")]
        if self.factory.is_event_driven() {
            return crate::blocking_threads::HANDLERS.run(hooks).await;
        }
        Ok(hooks())
    }
}

/// Maximum number of sessions with a proxy in a cache. Each may own a thread and connections.
const MAX_PROXIED: usize = 8;

/// Sessions by proxy: the direct one, and those of the [`MAX_PROXIED`] proxies used last. Dropping the cache does not wait
/// for them to close.
struct SessionCache<S: Send + 'static> {
    /// For requests that name no proxy.
    direct: Option<S>,
    /// The one used last. Apart from the others, because inserting it here returns a reference to just this session.
    latest: Option<(Url, S)>,
    /// The least recently used comes first.
    earlier: Vec<(Url, S)>,
}

impl<S: Send + 'static> SessionCache<S> {
    fn get(&mut self, proxy: Option<&Url>) -> Option<&mut S> {
        let Some(proxy) = proxy else {
            return self.direct.as_mut();
        };
        let sessions = self.latest.iter_mut().chain(&mut self.earlier);
        sessions
            .into_iter()
            .find_map(|(other, session)| (other == proxy).then_some(session))
    }

    /// The session for this proxy, and the one that was evicted for it.
    fn get_or_open<E>(
        &mut self,
        proxy: Option<&Url>,
        open: impl FnOnce() -> Result<S, E>,
    ) -> Result<(&mut S, Option<S>), E> {
        let Some(proxy) = proxy else {
            return match &mut self.direct {
                Some(session) => Ok((session, None)),
                closed => Ok((closed.insert(open()?), None)),
            };
        };
        self.earlier.extend(self.latest.take());
        let found = self.earlier.iter().position(|(other, _)| other == proxy);
        let entry = match found {
            Some(position) => self.earlier.remove(position),
            None => (proxy.clone(), open()?),
        };
        let is_full = self.earlier.len() == MAX_PROXIED;
        let evicted = is_full.then(|| self.earlier.remove(0).1);
        Ok((&mut self.latest.insert(entry).1, evicted))
    }
}

impl<S: Send + 'static> Default for SessionCache<S> {
    fn default() -> Self {
        Self {
            direct: None,
            latest: None,
            earlier: Vec::new(),
        }
    }
}

impl<S: Send + 'static> Drop for SessionCache<S> {
    fn drop(&mut self) {
        self.earlier.extend(self.latest.take());
        let proxied = self.earlier.drain(..).map(|(_, session)| session);
        drop_in_background(self.direct.take().into_iter().chain(proxied));
    }
}

/// Drops sessions on another thread: a client may wait for a DNS server while it closes, measured 9 s.
fn drop_in_background<S: Send + 'static>(sessions: impl IntoIterator<Item = S>) {
    let sessions: Vec<S> = sessions.into_iter().collect();
    if sessions.is_empty() {
        return;
    }
    let name = "threaded-teardown".to_owned();
    // If no thread can be started, they are dropped here.
    let _ = thread::Builder::new()
        .name(name)
        .spawn(move || drop(sessions));
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::transport::{Exchange, ResponseBody};

    fn proxy(number: usize) -> Url {
        Url::parse(&format!("http://proxy-{number}.test/")).expect("a URL")
    }

    type Response = Result<http::Response<ResponseBody>, Error>;

    const BROKEN: usize = 99;

    /// The builder of a transport that honours every proxy but one.
    struct AnyProxy;

    impl TransportBuilder for AnyProxy {
        type Transport = fn(Exchange<'_>) -> Response;

        fn build(self, options: &TransportOptions) -> Result<Self::Transport, BoxError> {
            match options.proxy() {
                Some(broken) if *broken == proxy(BROKEN) => Err("out of order".into()),
                _ => Ok(|_| Ok(http::Response::new(ResponseBody::empty()))),
            }
        }
    }

    fn sessions(share: bool) -> WorkerSessions {
        let setup = SessionSetup::default();
        let mut setup = setup.with_constructor(|| Session::new(AnyProxy));
        setup.share(share);
        let factory = setup.into_factory(None, false, None).expect("a factory");
        WorkerSessions::open(&factory).expect("the direct session")
    }

    fn request(proxy: Option<&Url>) -> RequestSpec {
        let request = RequestSpec::get("http://origin.test/");
        match proxy {
            Some(proxy) => request.proxy(proxy.as_str()),
            None => request,
        }
    }

    /// The proxy of the session for this request.
    fn used(sessions: &WorkerSessions, request: &RequestSpec) -> Result<Option<Url>, Error> {
        let proxy = sessions.with(request, |session| Ok(session.state.proxy.clone()));
        // Nothing is ever pending with transports that block.
        match pin!(proxy).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(proxy) => proxy,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn a_request_gets_the_session_of_the_proxy_that_it_names_whatever_was_opened_and_evicted_before()
     {
        for share in [false, true] {
            let sessions = sessions(share);
            // Found, evicted and opened anew, at all distances, with the direct one in between.
            let mut random = fastrand::Rng::with_seed(7);
            for step in 0..500 {
                let named = Some(proxy(random.usize(..MAX_PROXIED + 3)));
                for proxy in [named, None] {
                    let used = used(&sessions, &request(proxy.as_ref())).expect("a session");
                    assert_eq!(used, proxy, "{step}, shared: {share}");
                }
            }
        }
    }

    #[test]
    fn a_proxy_whose_session_cannot_be_opened_fails_the_request_each_time() {
        for share in [false, true] {
            let sessions = sessions(share);
            for number in [BROKEN, 1, BROKEN, 2, BROKEN] {
                let proxy = proxy(number);
                match used(&sessions, &request(Some(&proxy))) {
                    Ok(used) => assert_eq!(used, Some(proxy)),
                    Err(error) => assert!(
                        number == BROKEN && error.to_string().contains("out of order"),
                        "{error}"
                    ),
                }
                assert!(used(&sessions, &request(None)).is_ok());
            }
        }
    }

    #[test]
    fn the_least_recently_used_session_is_evicted() {
        let mut cache = SessionCache::default();
        let mut opened = Vec::new();
        let mut get = |number| {
            let open = || {
                opened.push(number);
                Ok::<_, Infallible>(number)
            };
            let Ok((session, evicted)) = cache.get_or_open(Some(&proxy(number)), open);
            assert_eq!(*session, number);
            evicted
        };
        for number in 0..MAX_PROXIED {
            assert_eq!(get(number), None);
        }
        // 0 is in use again, so 1 is the one to go.
        assert_eq!(get(0), None);
        assert_eq!(get(100), Some(1));
        assert_eq!(get(100), None);
        assert_eq!(get(1), Some(2));
        assert_eq!(opened, [0, 1, 2, 3, 4, 5, 6, 7, 100, 1]);
    }

    #[test]
    fn what_fails_to_open_evicts_nothing() {
        let mut cache = SessionCache::default();
        for number in 0..MAX_PROXIED {
            let _ = cache.get_or_open(Some(&proxy(number)), || Ok::<_, ()>(number));
        }
        assert!(cache.get_or_open(Some(&proxy(100)), || Err(())).is_err());
        for number in 0..MAX_PROXIED {
            let kept = cache.get_or_open(Some(&proxy(number)), || Err(()));
            assert_eq!(kept, Ok((&mut { number }, None)));
        }
    }

    #[test]
    fn sessions_are_dropped_on_another_thread() {
        struct TellsThread(std::sync::mpsc::Sender<std::thread::ThreadId>);
        impl Drop for TellsThread {
            fn drop(&mut self) {
                let _ = self.0.send(std::thread::current().id());
            }
        }

        let (dropped_tx, dropped) = std::sync::mpsc::channel();
        let mut cache = SessionCache::default();
        for proxy in [None, Some(proxy(1)), Some(proxy(2))] {
            let _ = cache.get_or_open(proxy.as_ref(), || {
                Ok::<_, ()>(TellsThread(dropped_tx.clone()))
            });
        }
        drop((cache, dropped_tx));
        let threads: Vec<_> = dropped.iter().collect();
        assert_eq!(threads.len(), 3);
        assert!(!threads.contains(&std::thread::current().id()));
    }
}

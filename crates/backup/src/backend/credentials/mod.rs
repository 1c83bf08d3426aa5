//! Where the credentials of a cloud come from: a list of sources, tried in order.
//!
//! The first source that has credentials wins, and stays the one that is asked when they must be
//! renewed: an operation never changes its identity half-way. What each source knows is the matter
//! of `reqsign`, whose one door this is; order, patience and words are ours.

pub(super) mod aws;
pub(super) mod google;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri, uri::PathAndQuery};
pub(super) use reqsign_core::ProvideCredentialChain;
#[cfg(test)]
use reqsign_core::Signer;
use reqsign_core::{
    Context, Error, HttpSend, ProvideCredential, ProvideCredentialDyn, Result, StaticEnv,
};

use super::config::Environment;

/// How long a source may take that others follow, or that answers from this very machine.
pub(super) const BUDGET: Duration = Duration::from_secs(1);

/// How long the last source may take, when it has to cross a network.
pub(super) const BUDGET_REMOTE: Duration = Duration::from_secs(4);

/// Time for one renewal, and the pauses before further tries of it.
const RENEWAL_BUDGET: Duration = Duration::from_secs(10);
const RENEWAL_PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

/// One place where credentials may be.
pub(super) struct Source<C> {
    /// What people call it.
    pub(super) name: String,
    /// How long it may take.
    pub(super) budget: Duration,
    /// Who asks it.
    pub(super) provider: Box<dyn ProvideCredentialDyn<Credential = C>>,
}

/// How the search went. A chain of `reqsign` keeps what failed to itself; people need it.
#[derive(Clone, Debug, Default)]
pub(super) struct Search(Arc<Outcome>);

#[derive(Debug, Default)]
struct Outcome {
    winner: OnceLock<String>,
    failure: Mutex<Option<String>>,
}

impl Search {
    /// The source that won, once there is one.
    pub(super) fn winner(&self) -> Option<String> {
        self.0.winner.get().cloned()
    }

    /// Why there are no credentials, if that was the outcome of the last try.
    pub(super) fn failure(&self) -> Option<String> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, failure: Option<String>) {
        *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// The sources, in the order of trying.
pub(super) struct Chain<C> {
    sources: Vec<Source<C>>,
    environment: StaticEnv,
    won: OnceLock<usize>,
    search: Search,
    none: &'static str,
}

impl<C> Chain<C> {
    /// A chain of the sources that are there; `none` says what to do if they have nothing.
    pub(super) fn new(
        sources: Vec<Source<C>>,
        environment: &Environment,
        none: &'static str,
    ) -> Self {
        let envs = environment.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let home_dir = environment.get("HOME").map(Into::into);
        let environment = StaticEnv { home_dir, envs };
        let (won, search) = (OnceLock::new(), Search::default());
        Self { sources, environment, won, search, none }
    }

    /// Tells how the search goes.
    pub(super) fn search(&self) -> Search {
        self.search.clone()
    }
}

impl<C: Send + Sync + Unpin + 'static> Chain<C> {
    /// Asks one source; an answer that does not come is an error.
    async fn ask(&self, source: &Source<C>, budget: Duration, ctx: &Context) -> Result<Option<C>> {
        let answer = source.provider.provide_credential_dyn(ctx);
        tokio::time::timeout(budget, answer).await.unwrap_or_else(|elapsed| {
            let seconds = budget.as_secs();
            Err(Error::unexpected(format!("no answer within {seconds} s")).with_source(elapsed))
        })
    }

    async fn renew(&self, source: &Source<C>, ctx: &Context) -> Result<Option<C>> {
        for pause in RENEWAL_PAUSES {
            if let Ok(Some(credential)) = self.ask(source, RENEWAL_BUDGET, ctx).await {
                return Ok(Some(credential));
            }
            tokio::time::sleep(pause).await;
        }
        let last = self.ask(source, RENEWAL_BUDGET, ctx).await;
        let failure = match last {
            Ok(Some(credential)) => return Ok(Some(credential)),
            Ok(None) => "it has none any more".to_owned(),
            Err(error) => words(&error),
        };
        Err(Error::credential_invalid(format!("cannot renew from {}: {failure}", source.name)))
    }

    async fn find(&self, ctx: &Context) -> Result<Option<C>> {
        let ctx = ctx.clone().with_env(self.environment.clone());
        if let Some(won) = self.won.get() {
            return self.renew(&self.sources[*won], &ctx).await;
        }
        let mut failures = Vec::new();
        for (at, source) in self.sources.iter().enumerate() {
            match self.ask(source, source.budget, &ctx).await {
                Ok(Some(credential)) => {
                    self.won.get_or_init(|| at);
                    self.search.0.winner.get_or_init(|| source.name.clone());
                    return Ok(Some(credential));
                }
                Ok(None) => {}
                Err(error) => failures.push(format!("{}: {}", source.name, words(&error))),
            }
        }
        failures.push(self.none.to_owned());
        Err(Error::credential_invalid(format!("no credentials: {}", failures.join("; "))))
    }
}

impl<C: Send + Sync + Unpin + 'static> ProvideCredential for Chain<C> {
    type Credential = C;

    async fn provide_credential(&self, ctx: &Context) -> Result<Option<C>> {
        let found = self.find(ctx).await;
        self.search.note(found.as_ref().err().map(ToString::to_string));
        found
    }
}

/// The message of an error and of its deepest cause, without what lies between.
fn words(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    match causes.last() {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    }
}

impl<C> fmt::Debug for Chain<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sources.iter().map(|source| &source.name)).finish()
    }
}

/// A way out whose requests to one kind of host go elsewhere.
pub(super) struct Redirected {
    inner: Context,
    /// What the names of these hosts begin with.
    host: &'static str,
    to: Uri,
}

impl Redirected {
    /// The context, with requests to hosts that begin with `host` sent to the address `to`.
    ///
    /// # Errors
    /// When `to` is no address with scheme and host; `named` says where it stands.
    pub(super) fn context(
        ctx: &Context,
        host: &'static str,
        to: &str,
        named: &str,
    ) -> Result<Context> {
        let bad =
            || Error::config_invalid(format!("{named} is not an address such as https://host"));
        let to: Uri = to.parse().map_err(|error| bad().with_source(error))?;
        if to.scheme().is_none() || to.authority().is_none() {
            return Err(bad());
        }
        Ok(ctx.clone().with_http_send(Self { inner: ctx.clone(), host, to }))
    }
}

impl fmt::Debug for Redirected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirected")
            .field("host", &self.host)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl HttpSend for Redirected {
    async fn http_send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>> {
        let asked = request.uri();
        if asked.host().is_some_and(|host| host.starts_with(self.host)) {
            let mut parts = self.to.clone().into_parts();
            if matches!(self.to.path(), "" | "/") {
                let path = asked.path_and_query().cloned();
                parts.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
            }
            *request.uri_mut() = Uri::from_parts(parts).map_err(|error| {
                Error::request_invalid("the address of a request cannot be").with_source(error)
            })?;
        }
        self.inner.http_send(request).await
    }
}

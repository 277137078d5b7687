//! A [`Driver`] without its types, and the deadline round each of its callbacks.

use super::{
    AuthMethods, Authentication, BoxError, Command, Credentials, Decision, Description, Driver, Error, Explanation, Location, PublicKey,
    Question, RequestPath, Transport, UserId,
};
use crate::store::Repositories;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Run one callback: on a task of its own, so that a panic stays there, and no longer than `timeout`.
pub(super) async fn ask<T: Send + 'static>(
    callback: &'static str,
    timeout: Duration,
    question: impl Future<Output = Result<T, BoxError>> + Send + 'static,
) -> Result<T, Error> {
    // Dropped, a set ends its tasks: whoever gives up waiting leaves no question behind.
    let mut task = JoinSet::new();
    task.spawn(question);
    match tokio::time::timeout(timeout, task.join_next()).await {
        Ok(Some(Ok(Ok(answer)))) => Ok(answer),
        Ok(Some(Ok(Err(source)))) => Err(Error::Failed { callback, source }),
        Ok(Some(Err(_)) | None) => Err(Error::Panicked { callback }),
        Err(_) => Err(Error::Late { callback, timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) }),
    }
}

/// A driver without its type of user.
pub(super) trait ErasedDriver: Send + Sync {
    fn methods(&self, transport: Transport) -> Answer<AuthMethods>;
    fn may_know(&self, key: PublicKey) -> Answer<bool>;
    fn authenticate(&self, credentials: Credentials) -> Answer<Authentication>;
    fn user(&self, id: UserId) -> Answer<Arc<dyn ErasedUser>>;
}

/// One hydrated user, and the driver that knows what to make of it.
pub(super) trait ErasedUser: Send + Sync {
    fn authorise(&self, command: Command, path: RequestPath, transport: Transport) -> Answer<Decision>;
    fn locate(&self, path: RequestPath, transport: Transport) -> Answer<Location>;
    fn describe(&self) -> Answer<Description>;
    fn roots(&self) -> Answer<Vec<Arc<Repositories>>>;
    fn why(&self, question: Question) -> Answer<Option<Explanation>>;
}

/// Forget the types of `driver`; each of its callbacks has `timeout` to answer.
pub(super) fn erase<D: Driver>(driver: D, timeout: Duration) -> Arc<dyn ErasedDriver> {
    Arc::new(Erased { driver: Arc::new(driver), timeout })
}

struct Erased<D> {
    driver: Arc<D>,
    timeout: Duration,
}

struct Hydrated<D: Driver> {
    driver: Arc<D>,
    user: Arc<D::User>,
    timeout: Duration,
}

impl<D: Driver> ErasedDriver for Erased<D> {
    fn methods(&self, transport: Transport) -> Answer<AuthMethods> {
        let driver = self.driver.clone();
        Box::pin(ask("methods", self.timeout, async move { driver.methods(&transport).await }))
    }

    fn may_know(&self, key: PublicKey) -> Answer<bool> {
        let driver = self.driver.clone();
        Box::pin(ask("may_know", self.timeout, async move { driver.may_know(&key).await }))
    }

    fn authenticate(&self, credentials: Credentials) -> Answer<Authentication> {
        let driver = self.driver.clone();
        Box::pin(ask("authenticate", self.timeout, async move { driver.authenticate(&credentials).await }))
    }

    fn user(&self, id: UserId) -> Answer<Arc<dyn ErasedUser>> {
        let (driver, timeout) = (self.driver.clone(), self.timeout);
        Box::pin(async move {
            let asked = driver.clone();
            let user = ask("user", timeout, async move { asked.user(&id).await }).await?;
            let hydrated: Arc<dyn ErasedUser> = Arc::new(Hydrated { driver, user: Arc::new(user), timeout });
            Ok(hydrated)
        })
    }
}

impl<D: Driver> ErasedUser for Hydrated<D> {
    fn authorise(&self, command: Command, path: RequestPath, transport: Transport) -> Answer<Decision> {
        let (driver, user) = (self.driver.clone(), self.user.clone());
        Box::pin(ask("authorise", self.timeout, async move { driver.authorise(&user, command, &path, &transport).await }))
    }

    fn locate(&self, path: RequestPath, transport: Transport) -> Answer<Location> {
        let driver = self.driver.clone();
        Box::pin(ask("locate", self.timeout, async move { driver.locate(&path, &transport).await }))
    }

    fn describe(&self) -> Answer<Description> {
        let (driver, user) = (self.driver.clone(), self.user.clone());
        Box::pin(ask("describe", self.timeout, async move { driver.describe(&user).await }))
    }

    fn roots(&self) -> Answer<Vec<Arc<Repositories>>> {
        let driver = self.driver.clone();
        Box::pin(ask("roots", self.timeout, async move { driver.roots().await }))
    }

    fn why(&self, question: Question) -> Answer<Option<Explanation>> {
        let (driver, user) = (self.driver.clone(), self.user.clone());
        Box::pin(ask("why", self.timeout, async move { driver.why(&user, &question).await }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
    }

    #[test]
    fn an_answer_in_time_is_passed_on() {
        assert_eq!(run(ask("user", SOON * 100, async { Ok(7) })).expect("an answer"), 7);
    }

    #[test]
    fn an_error_a_panic_and_silence_are_told_apart() {
        let failed = run(ask::<()>("user", SOON * 100, async { Err("no database".into()) }));
        assert!(matches!(failed, Err(Error::Failed { callback: "user", .. })), "{failed:?}");
        let panicked = run(ask::<()>("user", SOON * 100, async { panic!("on purpose") }));
        assert!(matches!(panicked, Err(Error::Panicked { callback: "user" })), "{panicked:?}");
        let late = run(ask::<()>("user", SOON, std::future::pending()));
        assert!(matches!(late, Err(Error::Late { callback: "user", timeout_ms: 50 })), "{late:?}");
    }

    #[test]
    fn a_question_ends_with_whoever_asked_it() {
        run(async {
            let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
            let asked = tokio::spawn(ask::<()>("user", SOON * 1000, async move {
                let _until_dropped = sender;
                std::future::pending().await
            }));
            tokio::task::yield_now().await;
            asked.abort();
            assert!(receiver.await.is_err(), "the question was dropped with its sender");
        });
    }
}

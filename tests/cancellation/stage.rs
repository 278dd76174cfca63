//! Brings a request to its place, in a pool whose actors can be frozen.

use std::sync::mpsc;
use std::time::Duration;

use modelpool::TextEmbedding;
use modelpool::pool::core::{
    DrainReport, ModelHandle, ModelStatus, Pool, PoolConfig, PoolError, RequestOptions,
    RestartConfig,
};
use modelpool::testing::{Act, Point, Recital, RecitalRequest, Steering};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::matrix::{Place, Reply};
use crate::universe::{config, within};

/// How many items a recital of the matrix has.
const WORDS: usize = 3;

/// A model of either kind.
#[derive(Clone)]
pub enum Model {
    Once(ModelHandle<TextEmbedding>),
    Stream(ModelHandle<Recital>),
}

impl Model {
    /// Asks and hears everything, or the error. Items are counted as they come, and checked.
    async fn ask(
        self,
        name: &'static str,
        options: RequestOptions,
        heard: watch::Sender<usize>,
    ) -> Result<(), PoolError> {
        match self {
            Self::Once(model) => {
                let vector = model.with(options).embed(name).await?;
                assert_eq!(vector, Steering::embedding_of(name));
                heard.send_replace(1);
            }
            Self::Stream(model) => {
                let words: Vec<String> = (0..WORDS).map(|n| format!("{name} {n}")).collect();
                let request = RecitalRequest {
                    words: words.clone(),
                };
                let mut stream = model.with(options).stream(request)?;
                let mut position = 0;
                while let Some(item) = stream.next().await {
                    assert_eq!(item?, words[position]);
                    position += 1;
                    heard.send_replace(position);
                }
                assert_eq!(position, WORDS);
            }
        }
        Ok(())
    }
}

/// A caller in a task of its own.
pub struct Caller {
    pub task: JoinHandle<Option<Result<(), PoolError>>>,
    pub heard: watch::Receiver<usize>,
    drop_now: oneshot::Sender<()>,
}

impl Caller {
    fn start(model: Model, name: &'static str, deadline: Option<Duration>) -> Self {
        let mut options = RequestOptions::default();
        if let Some(deadline) = deadline {
            options = options.deadline(deadline);
        }
        let (sender, heard) = watch::channel(0);
        let (drop_now, dropped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut asking = Box::pin(model.ask(name, options, sender));
            tokio::select! {
                biased;
                Ok(()) = dropped => None,
                outcome = &mut asking => Some(outcome),
            }
        });
        Self {
            task,
            heard,
            drop_now,
        }
    }

    /// Drops the future, and comes back when that is done. `Some` if it had ended before.
    pub async fn drop_future(self) -> Option<Result<(), PoolError>> {
        let _ = self.drop_now.send(());
        within(self.task).await.expect("the caller does not panic")
    }

    pub async fn outcome(self) -> Result<(), PoolError> {
        let outcome = within(self.task).await.expect("the caller does not panic");
        outcome.expect("nobody dropped it")
    }
}

/// A pool on a runtime of its own, with one model of one worker.
pub struct Stage {
    pub pool: Pool,
    pub steering: Steering,
    model: Model,
    runtime: Option<Runtime>,
    /// Sending thaws the pool's runtime; so does dropping it.
    frozen: Option<mpsc::Sender<()>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.thaw();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Stage {
    pub async fn new(reply: Reply, step_timeout: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let settings = PoolConfig {
            step_timeout,
            restart: RestartConfig {
                initial_backoff: Duration::ZERO,
                ..RestartConfig::default()
            },
            ..config()
        };
        let pool = within(runtime.spawn(Pool::start(settings)))
            .await
            .unwrap()
            .unwrap();
        let steering = Steering::new();
        let model = match reply {
            Reply::Once => {
                let spec = steering.embedder("subject", 100).max_workers(1);
                Model::Once(pool.register(spec).unwrap())
            }
            Reply::Stream => {
                let spec = steering.reciter("subject", 100).max_workers(1);
                Model::Stream(pool.register(spec).unwrap())
            }
        };
        Self {
            pool,
            steering,
            model,
            runtime: Some(runtime),
            frozen: None,
        }
    }

    /// Starts the caller whose request it is about, and others, until the request is at `place`.
    pub async fn bring_to(
        &mut self,
        place: Place,
        deadline: Option<Duration>,
    ) -> (Caller, Vec<Caller>) {
        let steering = self.steering.clone();
        let subject = |stage: &Self| Caller::start(stage.model.clone(), "subject", deadline);
        match place {
            Place::Mailbox => {
                let bystander = self.bystander_at_work().await;
                self.freeze().await;
                let subject = subject(self);
                self.until(|model| model.metrics.accepted == 2).await;
                self.assert_nothing_in_line();
                (subject, vec![bystander])
            }
            Place::Lane => {
                let bystander = self.bystander_at_work().await;
                let subject = subject(self);
                self.until(|model| model.queue.interactive == 1).await;
                (subject, vec![bystander])
            }
            Place::Batch => {
                steering.script(Point::Load, [Act::Wait]);
                steering.script(Point::Step, [Act::Wait]);
                let before = self.in_line("before", 1).await;
                let subject = subject(self);
                self.until(|model| model.queue.interactive == 2).await;
                let after = self.in_line("after", 3).await;
                steering.open(Point::Load);
                within(steering.visited(Point::Step, 1)).await;
                self.assert_nothing_in_line();
                (subject, vec![before, after])
            }
            Place::BeforeFirstItem => {
                steering.script(Point::Step, [Act::Wait]);
                let subject = subject(self);
                within(steering.visited(Point::Step, 1)).await;
                (subject, Vec::new())
            }
            Place::MidStream => {
                steering.script(Point::Step, [Act::Go, Act::Wait]);
                let mut subject = subject(self);
                within(steering.visited(Point::Step, 2)).await;
                drop(within(subject.heard.wait_for(|&items| items == 1)).await);
                (subject, Vec::new())
            }
            Place::RacingTheAnswer => {
                steering.script(Point::Load, [Act::Wait]);
                let subject = subject(self);
                self.until(|model| model.queue.interactive == 1).await;
                let mate = self.in_line("mate", 2).await;
                // The subject's last item; a mate's item follows each of its others.
                let items_before = match self.model {
                    Model::Once(_) => 0,
                    Model::Stream(_) => 2 * (WORDS - 1),
                };
                steering.script(Point::Emit, vec![Act::Go; items_before]);
                steering.script(Point::Emit, [Act::Wait]);
                steering.open(Point::Load);
                within(steering.visited(Point::Emit, items_before + 1)).await;
                (subject, vec![mate])
            }
        }
    }

    fn assert_nothing_in_line(&self) {
        let waiting = self.status().map(|model| model.queue.interactive);
        assert_eq!(waiting, Some(0));
    }

    async fn bystander_at_work(&self) -> Caller {
        self.steering.script(Point::Step, [Act::Wait]);
        let bystander = Caller::start(self.model.clone(), "bystander", None);
        within(self.steering.visited(Point::Step, 1)).await;
        bystander
    }

    async fn in_line(&self, name: &'static str, waiting: usize) -> Caller {
        let caller = Caller::start(self.model.clone(), name, None);
        self.until(|model| model.queue.interactive == waiting).await;
        caller
    }

    /// The model's status, unless it has left the pool.
    pub fn status(&self) -> Option<ModelStatus> {
        self.pool.status().models.pop()
    }

    pub async fn until(&self, reached: impl Fn(&ModelStatus) -> bool) {
        within(async {
            while !self.status().is_none_or(|model| reached(&model)) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Takes the model out of the pool.
    pub fn unregister(&self, grace: Duration) -> JoinHandle<Result<DrainReport, PoolError>> {
        let (pool, model) = (self.pool.clone(), self.model.clone());
        tokio::spawn(async move {
            match model {
                Model::Once(handle) => pool.unregister(&handle, grace).await,
                Model::Stream(handle) => pool.unregister(&handle, grace).await,
            }
        })
    }

    /// Stops the pool's actors, until [thawed](Self::thaw). Its worker threads go on.
    async fn freeze(&mut self) {
        let (thaw, thawed) = mpsc::channel::<()>();
        let (tell, frozen) = oneshot::channel();
        let runtime = self.runtime.as_ref().expect("not shut down yet");
        runtime.spawn(async move {
            let _ = tell.send(());
            // To block the runtime's only thread is the point of it.
            let _ = thawed.recv();
        });
        within(frozen).await.unwrap();
        self.frozen = Some(thaw);
    }

    pub fn thaw(&mut self) {
        self.frozen = None;
    }

    /// Whatever waits at a gate goes on.
    pub fn open_gates(&self) {
        for point in [Point::Load, Point::Step, Point::Emit] {
            self.steering.open(point);
        }
    }
}

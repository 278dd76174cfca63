//! The threads that models compute with: how many there are, whose they are, and where they run.

use std::sync::mpsc as blocking;

use modelpool::pool::core::ModelHandle;
use modelpool::{
    CandleModel, EmbedInput, Embedding, ModelError, ModelInfo, ModelSpec, StepContext,
    TextEmbedding, TextEmbeddingCapable,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::universe::{Universe, config, within};

/// What a step tells of itself. It goes on when this is dropped.
struct Told {
    threads: usize,
    /// Of each of its threads: the name, and the cores that it may run on.
    found: Vec<(String, Vec<usize>)>,
    _goes_on: blocking::Sender<()>,
}

impl Told {
    /// The one core of each thread.
    fn cores(&self) -> Vec<usize> {
        let core = |(name, cores): &(String, Vec<usize>)| match cores.as_slice() {
            [core] => *core,
            several => panic!("{name} may run on {several:?}"),
        };
        self.found.iter().map(core).collect()
    }
}

/// Each of its steps tells of itself, and waits.
struct Teller {
    info: ModelInfo,
    told: mpsc::UnboundedSender<Told>,
    computes: bool,
}

impl CandleModel for Teller {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextEmbeddingCapable for Teller {
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let (goes_on, wait) = blocking::channel();
        let found = if self.computes {
            context.run(|| rayon::broadcast(|_| (thread_name(), allowed_cores())))
        } else {
            Vec::new()
        };
        let told = Told {
            threads: context.threads,
            found,
            _goes_on: goes_on,
        };
        self.told.send(told).expect("the test listens");
        // Ends when the other half is dropped.
        wait.recv().unwrap_err();
        Ok(inputs.iter().map(|_| Ok(vec![1.0])).collect())
    }
}

fn thread_name() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

/// The cores that this thread may run on, as the kernel tells; none where it is another one.
fn allowed_cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap_or_default();
    let number = |text: &str| text.trim().parse::<usize>().unwrap();
    let ranges = list.split(',').filter(|range| !range.trim().is_empty());
    ranges
        .flat_map(|range| match range.split_once('-') {
            Some((first, last)) => number(first)..=number(last),
            None => number(range)..=number(range),
        })
        .collect()
}

/// A pool with a teller of some workers.
struct Stage {
    universe: Universe,
    embedder: ModelHandle<TextEmbedding>,
    told: mpsc::UnboundedReceiver<Told>,
}

impl Stage {
    async fn new(workers: usize, threads: usize, pinned: bool, computes: bool) -> Self {
        let mut settings = config();
        settings.cold_start_workers = workers;
        settings.compute_threads = threads;
        settings.pin_threads = pinned;
        let mut universe = Universe::new(settings).await;
        let (sender, told) = mpsc::unbounded_channel();
        let info = ModelInfo::new("teller", 10);
        let spec = ModelSpec::text_embedding(info.clone(), move || {
            Ok(Teller {
                info: info.clone(),
                told: sender.clone(),
                computes,
            })
        });
        let embedder = universe.register(spec).unwrap();
        within(universe.warm(&embedder)).await.unwrap();
        universe.ready(workers).await;
        Self {
            universe,
            embedder,
            told,
        }
    }

    /// Begins one more step, and hears of it.
    async fn step(&mut self) -> (Told, JoinHandle<()>) {
        let embedder = self.embedder.clone();
        let asked = tokio::spawn(async move {
            embedder.embed("a text").await.unwrap();
        });
        let told = within(self.told.recv()).await.unwrap();
        (told, asked)
    }

    /// Ends a step, and hears that it has.
    async fn end(&self, (told, asked): (Told, JoinHandle<()>)) {
        drop(told);
        within(asked).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_forks_stays_on_threads_of_its_own() {
    for threads in [1, 2, 3] {
        let mut stage = Stage::new(1, threads, false, true).await;
        let step = stage.step().await;
        assert_eq!(step.0.threads, threads);
        assert_eq!(step.0.found.len(), threads);
        for (name, cores) in &step.0.found {
            assert!(name.starts_with("modelpool-team"), "{name}");
            assert_eq!(*cores, allowed_cores(), "none is pinned unless asked for");
        }
        stage.end(step).await;
        stage.universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_of_shared_weights_forks_stays_on_threads_of_its_own() {
    let mut settings = config();
    settings.compute_threads = 3;
    let universe = Universe::new(settings).await;
    let (sender, mut names) = mpsc::unbounded_channel();
    let (told, _) = mpsc::unbounded_channel();
    let info = ModelInfo::new("teller", 10);
    let spec = ModelSpec::text_embedding_shared(
        info.clone(),
        move || {
            sender.send(rayon::broadcast(|_| thread_name())).unwrap();
            Ok(())
        },
        move |_| {
            Ok(Teller {
                info: info.clone(),
                told: told.clone(),
                computes: false,
            })
        },
    );
    let embedder = universe.register(spec).unwrap();
    within(universe.warm(&embedder)).await.unwrap();
    let names = within(names.recv()).await.unwrap();
    assert_eq!(names.len(), 3);
    let are_own = names.iter().all(|name| name.starts_with("modelpool-team"));
    assert!(are_own, "{names:?}");
    universe.close().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn pinned_threads_have_a_core_each_and_busy_workers_share_none() {
    let all = allowed_cores();
    let half = (all.len() / 2).max(1);
    let mut stage = Stage::new(2, all.len(), true, true).await;
    let alone = stage.step().await;
    assert_eq!(alone.0.cores(), all);

    let beside = stage.step().await;
    assert_eq!(beside.0.cores().len(), half);
    stage.end(alone).await;
    let again = stage.step().await;
    assert_eq!(again.0.cores().len(), half);
    let mut both = [beside.0.cores(), again.0.cores()].concat();
    assert!(both.iter().all(|core| all.contains(core)), "{both:?}");
    both.sort_unstable();
    both.dedup();
    assert_eq!(both.len(), (2 * half).min(all.len()));

    stage.end(beside).await;
    stage.end(again).await;
    stage.universe.close().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn more_pinned_threads_than_cores_share_them_evenly() {
    let all = allowed_cores();
    let mut stage = Stage::new(1, 2 * all.len(), true, true).await;
    let step = stage.step().await;
    assert_eq!(step.0.cores(), [all.clone(), all].concat());
    stage.end(step).await;
    stage.universe.close().await;
}

#[cfg(not(target_os = "linux"))]
#[tokio::test]
async fn a_system_that_cannot_pin_says_so() {
    use modelpool::{Pool, PoolError};

    let mut settings = config();
    settings.pin_threads = true;
    let error = Pool::start(settings).await.unwrap_err();
    assert!(
        matches!(error, PoolError::InvalidConfig { field, .. } if field == "pin_threads"),
        "{error}"
    );
}

/// However many cores there are: what is claimed is divided, and never given out twice for long.
#[tokio::test(flavor = "multi_thread")]
async fn few_cores_and_many_are_divided_among_however_many_are_busy() {
    for (claimed, first, settled) in [(2, [2, 1, 1, 1, 1], 1), (128, [128, 64, 42, 32, 25], 25)] {
        let mut stage = Stage::new(5, claimed, false, false).await;
        let mut steps = Vec::new();
        for threads in first {
            let step = stage.step().await;
            assert_eq!(step.0.threads, threads, "of {claimed}");
            steps.push(step);
        }
        // Each takes part again, with all others busy.
        for _ in 0..5 {
            let step = steps.remove(0);
            stage.end(step).await;
            let step = stage.step().await;
            assert_eq!(step.0.threads, settled, "of {claimed}");
            steps.push(step);
        }
        for step in steps {
            stage.end(step).await;
        }
        stage.universe.close().await;
    }
}

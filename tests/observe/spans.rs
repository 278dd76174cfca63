//! Spans: one for each request, one for each step, and what leads from one to the other.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use modelpool::testing::{Act, Point, Steering};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::universe::{Universe, config, within};
use crate::until;

#[derive(Debug, Clone, Default)]
struct Span {
    name: String,
    fields: BTreeMap<String, String>,
    /// The spans that it follows from.
    follows: Vec<u64>,
    /// The messages said in it.
    events: Vec<String>,
}

impl Visit for Span {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}").trim_matches('"').to_owned();
        self.fields.insert(field.name().to_owned(), value);
    }
}

/// Keeps all spans of this crate. Workers are threads of their own, so it serves all threads.
#[derive(Debug, Default)]
struct Spans {
    next: AtomicU64,
    kept: Mutex<BTreeMap<u64, Span>>,
}

thread_local! {
    static ENTERED: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Spans {
    /// The spans of a process that all tests of this binary share.
    fn installed() -> &'static Self {
        static INSTALLED: OnceLock<&'static Spans> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let spans: &'static Self = Box::leak(Box::default());
            tracing::subscriber::set_global_default(Shared(spans)).expect("the only subscriber");
            spans
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<u64, Span>) -> T) -> T {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The spans of this name and model, by id.
    fn of(&self, name: &str, model: &str) -> Vec<(u64, Span)> {
        let matches = |span: &Span| {
            span.name == name && span.fields.get("model").is_some_and(|found| found == model)
        };
        self.with(|kept| {
            let found = kept.iter().filter(|(_, span)| matches(span));
            found.map(|(id, span)| (*id, span.clone())).collect()
        })
    }
}

struct Shared(&'static Spans);

impl Subscriber for Shared {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("modelpool")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut span = Span {
            name: attributes.metadata().name().to_owned(),
            ..Span::default()
        };
        attributes.record(&mut span);
        self.0.with(|kept| kept.insert(id, span));
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.0.with(|kept| {
            if let Some(span) = kept.get_mut(&span.into_u64()) {
                values.record(span);
            }
        });
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.0.with(|kept| {
            if let Some(span) = kept.get_mut(&span.into_u64()) {
                span.follows.push(follows.into_u64());
            }
        });
    }

    fn event(&self, event: &Event<'_>) {
        let Some(inside) = ENTERED.with_borrow(|entered| entered.last().copied()) else {
            return;
        };
        let mut said = Span::default();
        event.record(&mut said);
        let message = said.fields.remove("message").unwrap_or_default();
        self.0.with(|kept| {
            if let Some(span) = kept.get_mut(&inside) {
                span.events.push(message);
            }
        });
    }

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, _: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.pop());
    }
}

fn fields<'a>(span: &'a Span, names: &[&str]) -> Vec<&'a str> {
    assert_eq!(span.fields.len(), names.len(), "{span:?}");
    let value = |name: &&str| span.fields.get(*name).map_or("", String::as_str);
    names.iter().map(value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_follows_from_the_request_that_it_serves() {
    let spans = Spans::installed();
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("traced", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    within(embedder.embed("a")).await.unwrap();
    within(embedder.embed("b")).await.unwrap();
    universe.close().await;

    let requests = spans.of("request", "traced");
    let steps = spans.of("step", "traced");
    assert_eq!((requests.len(), steps.len()), (2, 2));
    for (number, ((request_id, request), (_, step))) in requests.iter().zip(&steps).enumerate() {
        let job = (number + 1).to_string();
        assert_eq!(
            fields(request, &["capability", "model", "job"]),
            ["text_embedding", "traced", &job]
        );
        assert_eq!(
            fields(step, &["model", "worker", "requests"]),
            ["traced", "1", "1"]
        );
        assert_eq!(step.follows, [*request_id]);
        assert_eq!(request.events, ["in step", "request ended"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_follows_from_all_the_requests_that_share_it() {
    let spans = Spans::installed();
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("traced together", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let ask = |text: &'static str| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    let first = ask("first");
    within(steering.visited(Point::Step, 1)).await;
    let callers = ["a", "b", "c"].map(ask);
    until(|| universe.status().models[0].queue.interactive == 3).await;
    steering.open(Point::Step);
    for caller in [first].into_iter().chain(callers) {
        within(caller).await.unwrap().unwrap();
    }
    universe.close().await;

    let requests = spans.of("request", "traced together");
    let steps = spans.of("step", "traced together");
    let mut followed: Vec<u64> = Vec::new();
    for (_, step) in &steps {
        assert_eq!(step.fields["requests"], step.follows.len().to_string());
        followed.extend(step.follows.iter());
    }
    followed.sort_unstable();
    let ids: Vec<u64> = requests.iter().map(|(id, _)| *id).collect();
    assert_eq!(followed, ids, "each request is in one step");
    assert!(steps.len() < 4, "some share a step: {steps:?}");
}

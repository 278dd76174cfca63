//! Drops, deadlines, crashes, and models that are told to fail.

use std::time::Duration;

use modelpool::testing::{Act, Point, Steering};
use modelpool::{GenerationParams, ModelError, PoolError, RequestOptions, VisionChunk};

use crate::universe::{Universe, config, within};
use crate::{lines_of, look, one_worker, picture, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_is_gone_before_the_next_step() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let (universe, onlooker) = one_worker(&steering).await;
    let dropped = look(&onlooker, "one two three four").await;
    within(steering.visited(Point::Step, 1)).await;
    let kept = look(&onlooker, "kept").await;
    drop(dropped);
    steering.open(Point::Step);
    let description = within(kept.collect()).await.unwrap();
    assert_eq!(description.lines(), lines_of("kept"));
    assert_eq!(steering.steps(), [["one"], ["kept"]]);
    assert_eq!(universe.status().models[0].metrics.cancelled, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_picture_in_its_middle() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Go, Act::Wait]);
    let (universe, onlooker) = one_worker(&steering).await;
    let hurried = onlooker.with(RequestOptions::default().deadline(Duration::from_millis(300)));
    let mut stream = look(&hurried, "one two three").await;
    let mut items = 0;
    let error = loop {
        match within(stream.next()).await.unwrap() {
            Ok(_) => items += 1,
            Err(error) => break error,
        }
    };
    let late = matches!(error, PoolError::DeadlineExceeded { .. });
    assert!(late && items <= 1, "{error} after {items}");
    steering.open(Point::Step);
    // The worker is free again.
    assert_eq!(
        within(look(&onlooker, "next").await.text()).await.unwrap(),
        "next"
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_first_line_goes_unnoticed_and_after_it_interrupts() {
    let steering = Steering::new();
    let mut settings = config();
    settings.restart.initial_backoff = Duration::from_millis(1);
    let universe = Universe::new(settings).await;
    let spec = steering.onlooker("onlooker", 100).max_workers(1);
    let onlooker = universe.register(spec).unwrap();
    steering.script(Point::Step, [Act::Panic]);
    let description = within(look(&onlooker, "once again").await.collect()).await;
    assert_eq!(description.unwrap().lines(), lines_of("once again"));
    assert_eq!(universe.status().models[0].metrics.redelivered, 1);

    steering.script(Point::Step, [Act::Go, Act::Go, Act::Panic]);
    let error = within(look(&onlooker, "one two three").await.collect()).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, PoolError::Interrupted { items_sent: 2, .. }),
        "{error}"
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_cannot_be_read_is_told_so_and_the_worker_goes_on() {
    let steering = Steering::new();
    let (universe, onlooker) = one_worker(&steering).await;
    let refused = within(look(&onlooker, "refuse").await.collect()).await;
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, PoolError::Model { .. }), "{refused}");

    steering.script(Point::Emit, [Act::Go, Act::Fail]);
    let mut stream = look(&onlooker, "one two three").await;
    let first = within(stream.next()).await.unwrap().unwrap();
    assert_eq!(first, VisionChunk::Line(lines_of("one").remove(0)));
    let error = within(stream.next()).await.unwrap().unwrap_err();
    let told = |error: &PoolError| {
        let PoolError::Model { source, .. } = error else {
            panic!("{error}");
        };
        assert!(matches!(source, ModelError::Other(_)), "{source}");
    };
    told(&error);
    assert!(within(stream.next()).await.is_none());
    assert_eq!(
        within(look(&onlooker, "well").await.text()).await.unwrap(),
        "well"
    );
    assert_eq!(steering.visits(Point::Load), 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_counts_while_the_picture_is_fetched() {
    use std::net::TcpListener;

    use modelpool::images::ImageLimits;

    // Nobody ever accepts here: the connection stands, and nothing comes.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let limits = ImageLimits::default()
        .allow_private_addresses(true)
        .fetch_timeout(Duration::from_secs(2));
    let spec = steering.onlooker("onlooker", 100).image_limits(limits);
    let onlooker = universe.register(spec).unwrap();
    let hurried = onlooker.with(RequestOptions::default().deadline(Duration::from_millis(200)));
    let url = format!("http://127.0.0.1:{port}/never.png");
    let params = GenerationParams::default();
    let error = within(hurried.describe_url(url, "", params)).await;
    let error = error.unwrap_err();
    assert!(
        matches!(error, PoolError::DeadlineExceeded { .. }),
        "{error}"
    );
    assert!(universe.status().models[0].workers.is_empty());
    assert_eq!(universe.status().models[0].metrics.expired, 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_wait_in_line_for_a_busy_worker() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let (universe, onlooker) = one_worker(&steering).await;
    let first = look(&onlooker, "a b").await;
    within(steering.visited(Point::Step, 1)).await;
    let params = GenerationParams::default();
    let second = within(onlooker.describe_image(picture(), "c d", params));
    let second = second.await.unwrap();
    until(|| universe.status().models[0].queue.interactive == 1).await;
    steering.open(Point::Step);
    within(first.collect()).await.unwrap();
    within(second.collect()).await.unwrap();
    assert_eq!(steering.steps(), [["a"], ["b"], ["c"], ["d"]]);
    universe.close().await;
}

//! What comes, in which order, and what is told at the end.

use std::time::Duration;

use modelpool::testing::{Act, Point, Steering};
use modelpool::{
    Description, GenerationParams, TextChunk, VisionChunk, VisionInput, VisionRequest,
};

use crate::universe::within;
use crate::{SIZE, lines_of, look, one_worker, picture};

#[tokio::test(flavor = "multi_thread")]
async fn lines_come_in_order_as_they_are_read_and_then_the_account() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let (universe, onlooker) = one_worker(&steering).await;
    let mut stream = look(&onlooker, "one two three").await;
    for (line, step) in lines_of("one two three").into_iter().zip(1..) {
        within(steering.visited(Point::Step, step)).await;
        steering.release(Point::Step, 1);
        // The next line is not read before it is released.
        let item = within(stream.next()).await.unwrap().unwrap();
        assert_eq!(item, VisionChunk::Line(line));
    }
    let VisionChunk::End(summary) = within(stream.next()).await.unwrap().unwrap() else {
        panic!("the account is the last item");
    };
    assert_eq!(summary.lines, 3);
    let timings = summary.timings;
    let first = timings.first_line.unwrap();
    assert!(timings.queued <= first && first <= timings.total);
    assert!(within(stream.next()).await.is_none());
    assert_eq!(steering.steps(), [["one"], ["two"], ["three"]]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_is_put_together_of_its_stream() {
    let steering = Steering::new();
    let (universe, onlooker) = one_worker(&steering).await;
    let description = within(look(&onlooker, "a b").await.collect())
        .await
        .unwrap();
    assert_eq!(description.lines(), lines_of("a b"));
    assert_eq!(description.text(), "a\nb");
    let Description::Reading(reading) = description else {
        panic!("the model reads");
    };
    assert_eq!(reading.summary.lines, 2);

    let nothing = within(look(&onlooker, "").await.collect()).await.unwrap();
    assert!(nothing.lines().is_empty() && nothing.text().is_empty());
    assert_eq!(
        within(look(&onlooker, "c").await.text()).await.unwrap(),
        "c"
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_no_room_makes_only_himself_wait() {
    let steering = Steering::new();
    let (universe, onlooker) = one_worker(&steering).await;
    let words: Vec<String> = (0..90).map(|n| format!("w{n}")).collect();
    let words = words.join(" ");
    let mut slow = look(&onlooker, &words).await;
    let first = within(slow.next()).await.unwrap().unwrap();
    for _ in 0..3 {
        let quick = within(look(&onlooker, &words).await.collect()).await;
        assert_eq!(quick.unwrap().lines(), lines_of(&words));
    }
    let mut items = vec![first];
    while let Some(item) = within(slow.next()).await {
        items.push(item.unwrap());
    }
    assert!(items.pop().unwrap().is_last());
    let lines: Vec<VisionChunk> = lines_of(&words)
        .into_iter()
        .map(VisionChunk::Line)
        .collect();
    assert_eq!(items, lines);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_line_has_a_deadline_of_its_own() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let (universe, onlooker) = one_worker(&steering).await;
    let soon = GenerationParams::default().time_to_first_token(Duration::from_millis(100));
    let stream = within(onlooker.describe_image(picture(), "late", soon))
        .await
        .unwrap();
    let error = within(stream.collect()).await.unwrap_err();
    assert!(error.to_string().contains("100ms"), "{error}");
    steering.open(Point::Step);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_probed_with_a_picture() {
    let steering = Steering::new();
    let (universe, onlooker) = one_worker(&steering).await;
    within(universe.probe(&onlooker)).await.unwrap();
    assert_eq!(steering.steps(), [["What"], ["is"], ["this?"]]);
    universe.close().await;
}

#[test]
fn requests_and_items_can_travel() {
    let request = VisionRequest {
        input: VisionInput {
            query: "what?".to_owned(),
            prompt: vec![1, 1 << 31],
            question: vec![2],
            size: SIZE,
            pictures: vec![modelpool::images::PixelTensor::new([3, 1, 2], vec![0.5; 6]).unwrap()],
            picture: match picture() {
                modelpool::images::ImageSource::Pixels(picture) => Some(picture),
                _ => None,
            },
        },
        params: GenerationParams::default().seed(3),
    };
    let text = serde_json::to_string(&request).unwrap();
    let back: VisionRequest = serde_json::from_str(&text).unwrap();
    assert_eq!(back, request);

    let line = lines_of("word").remove(0);
    for (item, tag) in [
        (VisionChunk::Line(line), "line"),
        (VisionChunk::Text(TextChunk::default()), "text"),
        (VisionChunk::End(Default::default()), "end"),
    ] {
        let value = serde_json::to_value(&item).unwrap();
        assert!(value.get(tag).is_some(), "{value}");
        assert_eq!(serde_json::from_value::<VisionChunk>(value).unwrap(), item);
    }
}

//! Many callers at once.

use modelpool::GenerationParams;
use modelpool::testing::Steering;

use crate::universe::{Universe, config, within};
use crate::{lines_of, picture};

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_callers_gets_the_lines_of_its_own_picture() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.onlooker("onlooker", 100).max_workers(2);
    let onlooker = universe.register(spec).unwrap();
    let asks = (0..60).map(|n| {
        let onlooker = onlooker.clone();
        tokio::spawn(async move {
            let words: Vec<String> = (0..n % 7).map(|word| format!("{n}-{word}")).collect();
            let words = words.join(" ");
            let params = GenerationParams::default();
            let stream = onlooker
                .describe_image(picture(), words.clone(), params)
                .await;
            if n % 5 == 4 {
                // Goes away in the middle.
                drop(stream.unwrap().next().await);
                return;
            }
            let description = stream.unwrap().collect().await.unwrap();
            assert_eq!(description.lines(), lines_of(&words));
        })
    });
    for ask in asks.collect::<Vec<_>>() {
        within(ask).await.unwrap();
    }
    universe.close().await;
}

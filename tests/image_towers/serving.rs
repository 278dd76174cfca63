//! Towers in a pool, as a service sees them.

use modelpool::images::ImageSource;
use modelpool::{ImageEmbedding, ModelError, ModelHandle, ModelSpec, Pool, PoolConfig, PoolError};

use crate::checkpoints::max_difference;
use crate::reference::{FAMILIES, PAIRS, PICTURES, Reference, data, texts};

async fn serve(family: &str) -> (Pool, ModelHandle<ImageEmbedding>) {
    let pool = Pool::start(PoolConfig::default()).await.expect("a pool");
    let spec = ModelSpec::<ImageEmbedding>::folder(data(family)).expect("a model");
    let handle = pool.register(spec).expect("a new name");
    (pool, handle)
}

fn picture(reference: &Reference, number: usize) -> ImageSource {
    ImageSource::bytes(reference.picture(number).to_png().expect("a file"))
}

#[tokio::test]
async fn pictures_are_embedded_one_by_one_and_in_batches() {
    for family in FAMILIES {
        let (pool, handle) = serve(family).await;
        assert_eq!(handle.info().name, family);
        let reference = Reference::of(family);
        let batch = (0..PICTURES).map(|number| picture(&reference, number));
        let batch = handle.embed_image_batch(batch).await.expect("vectors");
        for (number, vector) in batch.iter().enumerate() {
            let wanted = reference.floats(&format!("{number}.vector"));
            assert!(max_difference(vector, &wanted) <= 1e-4, "{family} {number}");
            let alone = handle.embed_image(picture(&reference, number)).await;
            assert!(max_difference(&alone.expect("a vector"), vector) <= 1e-5);
        }
        pool.shutdown(std::time::Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn texts_are_embedded_beside_pictures() {
    for family in PAIRS {
        let (pool, handle) = serve(family).await;
        let reference = Reference::of(family);
        let texts = texts();
        let (vectors, seen) = tokio::join!(
            handle.embed_text_batch(texts.clone()),
            handle.embed_image(picture(&reference, 0)),
        );
        seen.expect("a vector");
        for (number, vector) in vectors.expect("vectors").iter().enumerate() {
            let wanted = reference.floats(&format!("text{number}.vector"));
            assert!(max_difference(vector, &wanted) <= 1e-4, "{family} {number}");
        }
        let long = "many words ".repeat(100_000);
        let long = handle.embed_text(long).await.expect("it is cut");
        assert_eq!(long.len(), reference.floats("text0.vector").len());
        pool.shutdown(std::time::Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_model_without_texts_says_so() {
    let (pool, handle) = serve("dinov2").await;
    let refused = handle.embed_text("a cat").await;
    assert!(
        matches!(
            &refused,
            Err(PoolError::Model {
                source: ModelError::NotOffered { what: "texts" },
                ..
            })
        ),
        "{refused:?}"
    );
    pool.shutdown(std::time::Duration::from_secs(5)).await;
}

//! A pipeline through the pool.

use modelpool::pool::capabilities::text_to_image::{ImageChunk, ImageParams, TextToImage};
use modelpool::pool::core::{MIB, PoolConfig};
use modelpool::{ModelHandle, ModelSpec, Pool};

use super::pipeline::{data, open};

async fn paint(painter: ModelHandle<TextToImage>, prompt: &str, params: ImageParams) -> Vec<u8> {
    let mut chunks = painter.generate_image(prompt, params).await.unwrap();
    let mut made = None;
    while let Some(chunk) = chunks.next().await {
        if let ImageChunk::Image(painting) = chunk.unwrap() {
            made = Some(painting.picture.pixels().to_vec());
        }
    }
    made.expect("a picture")
}

fn params(seed: u64) -> ImageParams {
    ImageParams::default().size(8, 12).steps(3).seed(seed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_gives_the_same_bytes_alone_and_beside_others() {
    for name in ["sd15", "sdxl", "lcm"] {
        let pool = Pool::start(PoolConfig::default()).await.unwrap();
        let spec = ModelSpec::<TextToImage>::folder(data(name)).unwrap();
        let folder = open(name);
        // All parts are in the book, and nothing is counted twice.
        let shared = folder.weight_bytes() + folder.tokenizer_bytes().unwrap();
        assert_eq!(spec.info().shared_weights_bytes, shared);
        let estimate = shared.div_ceil(MIB) + folder.worker_bytes().div_ceil(MIB);
        assert_eq!(spec.info().est_memory_allocation_mb, estimate);
        let painter = pool.register(spec.max_workers(1)).unwrap();

        let prompt = "a photograph of a lighthouse";
        let alone = paint(painter.clone(), prompt, params(7)).await;
        assert_eq!(alone.len(), 8 * 12 * 3);
        let again = paint(painter.clone(), prompt, params(7)).await;
        assert_eq!(alone, again, "{name}");
        let together = tokio::join!(
            paint(painter.clone(), prompt, params(7)),
            paint(painter.clone(), "a cat", params(8)),
            paint(painter.clone(), prompt, params(7).negative_prompt("sea")),
        );
        assert_eq!(together.0, alone, "{name}");
        assert_ne!(together.1, alone, "{name}");
        if name != "lcm" {
            assert_ne!(together.2, alone, "{name}: a negative prompt tells");
        }
        pool.shutdown(std::time::Duration::from_secs(5)).await;
    }
}

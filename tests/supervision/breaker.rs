//! Whose fault a death is: a request that kills worker after worker is not the model's.

use std::time::Duration;

use modelpool::pool::core::{PoolConfig, PoolError, RestartConfig};

use crate::models::model;
use crate::universe::{Universe, config, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_request_counts_once_against_its_model() {
    let universe = Universe::new(PoolConfig {
        restart: RestartConfig {
            initial_backoff: Duration::ZERO,
            max_failures: 4,
            ..RestartConfig::default()
        },
        ..config()
    })
    .await;
    let spec = model("bitten", |text| match text {
        "poison" => panic!("as the test wants it"),
        _ => Ok(1.0),
    });
    let bitten = universe.register(spec).unwrap();
    // Six deaths, three of them with nothing in hand but a request that had killed before.
    for _ in 0..3 {
        let error = within(bitten.embed("poison")).await.unwrap_err();
        assert!(
            matches!(error, PoolError::Poisoned { kills: 2, .. }),
            "{error}"
        );
        within(bitten.embed("harmless")).await.unwrap();
    }
    assert_eq!(universe.status().models[0].metrics.worker_failures, 6);
    // The fourth that counts opens the breaker.
    let error = within(bitten.embed("poison")).await.unwrap_err();
    assert!(matches!(error, PoolError::Unavailable { .. }), "{error}");
    universe.close().await;
}

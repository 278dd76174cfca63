//! candle's quantised products run on one pool of threads for the whole process, behind one lock
//! that a panic inside one of them poisons, for good. What that does to other models.

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};
use modelpool::pool::core::{ModelCondition, PoolConfig, PoolError, RestartConfig};
use modelpool::{ModelError, ModelSpec};

use crate::models::{Answer, model};
use crate::universe::{PATIENCE, Universe, config, within};

fn quantised_product() -> Answer {
    let product = || -> candle_core::Result<f32> {
        let weights = Tensor::ones((64, 256), candle_core::DType::F32, &Device::Cpu)?;
        let weights = QTensor::quantize(&weights, GgmlDType::Q8_0)?;
        let x = Tensor::ones((1, 256), candle_core::DType::F32, &Device::Cpu)?;
        QMatMul::from_qtensor(weights)?
            .forward(&x)?
            .sum_all()?
            .to_scalar()
    };
    product().map_err(|error| ModelError::Other(error.to_string()))
}

fn plain_product() -> Answer {
    let product = || -> candle_core::Result<f32> {
        let x = Tensor::ones((64, 64), candle_core::DType::F32, &Device::Cpu)?;
        x.matmul(&x)?.sum_all()?.to_scalar()
    };
    product().map_err(|error| ModelError::Other(error.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_lock_inside_candle_breaks_its_users_and_nobody_else() {
    let universe = Universe::new(PoolConfig {
        restart: RestartConfig {
            initial_backoff: std::time::Duration::ZERO,
            max_failures: 2,
            ..RestartConfig::default()
        },
        ..config()
    })
    .await;
    let quantised = model("quantised", |_| quantised_product());
    let quantised = universe.register(quantised).unwrap();
    let plain = universe
        .register(model("plain", |_| plain_product()))
        .unwrap();
    let built_in = universe.register(ModelSpec::embedded()).unwrap();
    let breaks = model("breaks", |_| {
        candle_core::utils::barrier_pool().execute(|_| panic!("as the test wants it"));
        Ok(0.0)
    });
    let breaks = universe.register(breaks).unwrap();
    within(quantised.embed("a")).await.unwrap();
    within(plain.embed("a")).await.unwrap();
    let before = within(built_in.embed("a text")).await.unwrap();

    let error = within(breaks.embed("a")).await.unwrap_err();
    assert!(
        matches!(
            error,
            PoolError::Poisoned { .. } | PoolError::Unavailable { .. }
        ),
        "{error}"
    );

    // On one core candle has no threads and no lock. Elsewhere every user of the lock panics from
    // now on: its callers are told so, and soon at once.
    if candle_core::utils::barrier_pool().n_workers() > 0 {
        let error = within(quantised.embed("b")).await.unwrap_err();
        assert!(
            matches!(
                error,
                PoolError::Poisoned { .. } | PoolError::Unavailable { .. }
            ),
            "{error}"
        );
        let error = within(quantised.embed("b")).await.unwrap_err();
        assert!(matches!(error, PoolError::Unavailable { .. }), "{error}");
        let health = within(universe.health(PATIENCE)).await;
        assert!(health.is_live() && !health.is_ready());
        assert!(matches!(
            health.models[0].condition,
            ModelCondition::Unavailable { .. }
        ));
    }
    // candle's plain products, and all that this crate brings, know nothing of it.
    assert_eq!(
        within(plain.embed("b")).await.unwrap(),
        [64.0 * 64.0 * 64.0]
    );
    assert_eq!(within(built_in.embed("a text")).await.unwrap(), before);
    universe.close().await;
}

//! A ledger for each device.

use modelpool::pool::core::{Device, EventKind, PoolConfig, PoolError, UnknownDevice};
use modelpool::testing::{Point, Steering};
use modelpool::{ModelSpec, TextEmbedding};

use crate::universe::{Universe, config, within};

const GPU: Device = Device::Cuda(0);

fn two_devices() -> PoolConfig {
    PoolConfig {
        devices: [(GPU, 500)].into(),
        ..config()
    }
}

fn on_gpu(steering: &Steering, name: &str, est_mb: u64) -> ModelSpec<TextEmbedding> {
    steering.embedder(name, est_mb).on(GPU)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_a_budget_is_refused_at_registration() {
    let steering = Steering::new();
    let universe = Universe::new(two_devices()).await;
    let spec = steering.embedder("m", 1).on(Device::Metal(1));
    let error = universe.register(spec).unwrap_err();
    assert!(
        matches!(
            &error,
            PoolError::NoDeviceBudget { model, device: Device::Metal(1) } if model == "m"
        ),
        "{error}"
    );
    assert!(universe.register(steering.embedder("m", 1)).is_ok());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_make_room_on_their_own_device_only() {
    let steering = Steering::new();
    let mut universe = Universe::new(two_devices()).await;
    let cpu = universe.register(steering.embedder("cpu", 800)).unwrap();
    let first = universe.register(on_gpu(&steering, "first", 250)).unwrap();
    let second = universe.register(on_gpu(&steering, "second", 500)).unwrap();
    let huge = universe.register(on_gpu(&steering, "huge", 501)).unwrap();
    within(cpu.embed("a")).await.unwrap();
    within(first.embed("b")).await.unwrap();
    universe.ready(3).await;
    let status = universe.status();
    assert_eq!(status.memory.reserved_mb, 800);
    assert_eq!(status.devices[&GPU].reserved_mb, 500, "two workers");
    assert_eq!(status.models[1].device, GPU);

    within(second.embed("c")).await.unwrap();
    for _ in 0..2 {
        let evicted = universe.event(|event| event.kind == EventKind::Evicted);
        assert_eq!(evicted.await.model, "first");
    }
    let status = universe.status();
    assert_eq!(status.models[0].workers.len(), 1, "the CPU's worker stays");
    let gpu = status.devices[&GPU];
    assert_eq!(
        (gpu.limit_mb, gpu.reserved_mb, gpu.peak_mb),
        (500, 500, 500)
    );

    let error = within(huge.embed("d")).await.unwrap_err();
    assert!(
        matches!(
            error,
            PoolError::MemoryExhausted {
                need_mb: 501,
                limit_mb: 500,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(steering.visits(Point::Load), 4);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_that_make_no_sense_are_refused() {
    for (device, mb) in [(Device::Cpu, 100), (GPU, 0)] {
        let settings = PoolConfig {
            devices: [(device, mb)].into(),
            ..config()
        };
        let error = modelpool::Pool::start(settings).await.unwrap_err();
        assert!(
            matches!(
                error,
                PoolError::InvalidConfig {
                    field: "devices",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_device_is_text_and_back() {
    for (device, text) in [
        (Device::Cpu, "cpu"),
        (Device::Cuda(3), "cuda:3"),
        (Device::Metal(0), "metal:0"),
    ] {
        assert_eq!(device.to_string(), text);
        assert_eq!(text.parse(), Ok(device));
        let json = serde_json::to_value(device).unwrap();
        assert_eq!(json, text);
        assert_eq!(serde_json::from_value::<Device>(json).unwrap(), device);
    }
    for text in ["", "gpu", "cuda", "cuda:", "cuda:-1", "cpu:0", "cuda:0:0"] {
        let parsed: Result<Device, UnknownDevice> = text.parse();
        assert!(parsed.is_err(), "{text}");
    }
}

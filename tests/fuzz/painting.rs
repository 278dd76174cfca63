//! What painting is told by files.

use modelpool::diffusion::{
    FlowSigmas, NoiseSchedule, NormalNoise, PaintingPlan, Purpose, SchedulerKind,
};

/// A `scheduler_config.json`, and paintings of a few values by every solver that takes it.
pub fn schedules(bytes: &[u8]) {
    let Ok(schedule) = NoiseSchedule::from_json(&String::from_utf8_lossy(bytes)) else {
        return;
    };
    // The tables of a long training take longer to make than there is to find in them.
    if schedule.train_timesteps() > 2000 {
        return;
    }
    let even = schedule.clone().flow_sigmas(FlowSigmas::Even);
    for kind in SchedulerKind::ALL {
        for (schedule, steps) in [(&schedule, 1), (&even, 4), (&schedule, 17)] {
            let plan = PaintingPlan::new(kind, steps).tokens(300).strength(0.9);
            let Ok(mut scheduler) = schedule.scheduler(&plan) else {
                continue;
            };
            let mut noise = NormalNoise::new(7, Purpose::Steps);
            let (mut latents, mut input) = (vec![0.5, -1.0, 0.0], Vec::new());
            scheduler.begin(&mut latents);
            let mut before = f32::INFINITY;
            while let Some(timestep) = scheduler.timestep() {
                assert!(timestep.is_finite() && timestep <= before, "they fall");
                before = timestep;
                scheduler.scale_input(&latents, &mut input);
                scheduler
                    .step(&input, &mut latents, &mut noise)
                    .expect("a step of the plan");
            }
            assert_eq!(scheduler.done(), scheduler.steps());
        }
    }
}

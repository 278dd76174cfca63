//! The pure scheduler and its blocks, under whatever a pool may do to them.

use std::collections::BTreeMap;
use std::time::Duration;

use modelpool::testing::Babbler;
use modelpool::testing::scheduling::{BlockTable, Blocks, Pace, Plan, Scheduler};
use modelpool::{
    DecoderLimits, LogitRows, ModelInfo, SequenceChunk, SequenceId, StepContext, TextToTextCapable,
};
use proptest::prelude::*;

/// A scheduler that drives the babbling model, and what everybody has said.
struct Stage {
    scheduler: Scheduler,
    model: Babbler,
    logits: LogitRows,
    limits: DecoderLimits,
    next_id: u64,
    /// Prompt, wanted tokens and what was said, of those who are not finished.
    speakers: BTreeMap<SequenceId, Speaker>,
    finished: usize,
}

struct Speaker {
    prompt: Vec<u32>,
    wanted: usize,
    said: Vec<u32>,
    paused: bool,
}

impl Stage {
    fn new(limits: DecoderLimits, max_running: usize) -> Self {
        Self {
            scheduler: Scheduler::new(limits, max_running),
            model: Babbler::new(ModelInfo::new("babbler", 1), limits),
            logits: LogitRows::new(Babbler::VOCABULARY),
            limits,
            next_id: 0,
            speakers: BTreeMap::new(),
            finished: 0,
        }
    }

    fn add(&mut self, prompt: Vec<u32>, wanted: usize, after: Option<SequenceId>) -> SequenceId {
        self.next_id += 1;
        let id = SequenceId(self.next_id);
        self.scheduler.add(id, &prompt, after);
        let speaker = Speaker {
            prompt,
            wanted,
            said: Vec::new(),
            paused: false,
        };
        self.speakers.insert(id, speaker);
        id
    }

    fn pause(&mut self, id: SequenceId, paused: bool) {
        self.scheduler.set_paused(id, paused);
        self.speakers.get_mut(&id).unwrap().paused = paused;
    }

    fn remove(&mut self, id: SequenceId) {
        self.scheduler.remove(id);
        self.speakers.remove(&id);
    }

    /// Plans a step, checks the plan, runs it, and finishes who has said enough.
    fn step(&mut self, prefill_tokens: usize) -> Plan {
        let plan = self.scheduler.plan(|_| prefill_tokens);
        let chunks: Vec<SequenceChunk<'_>> = plan
            .chunks
            .iter()
            .map(|planned| self.scheduler.chunk(planned).unwrap())
            .collect();
        self.check(&plan, &chunks, prefill_tokens);
        self.model
            .forward(&chunks, &mut self.logits, &StepContext::new(1))
            .unwrap();
        let mut rows = 0..;
        for planned in &plan.chunks {
            self.scheduler.ran(planned);
            if planned.last {
                let row = self.logits.row_mut(rows.next().unwrap()).unwrap();
                let best = (0u32..).zip(row).max_by(|a, b| a.1.total_cmp(b.1));
                let best = best.map(|(token, _)| token);
                self.say(planned.sequence, best.unwrap());
            }
        }
        plan
    }

    fn say(&mut self, id: SequenceId, token: u32) {
        let speaker = self.speakers.get_mut(&id).unwrap();
        let ends = token == Babbler::END;
        if !ends {
            speaker.said.push(token);
        }
        let enough = ends || speaker.said.len() == speaker.wanted;
        if enough || !self.scheduler.push(id, token) {
            assert!(enough || self.scheduler.tokens(id).len() == self.scheduler.capacity_tokens());
            let alone = Babbler::continuation(&speaker.prompt, speaker.said.len());
            assert_eq!(speaker.said, alone, "{id:?} says what it says alone");
            self.remove(id);
            self.finished += 1;
        }
    }

    fn check(&self, plan: &Plan, chunks: &[SequenceChunk<'_>], prefill_tokens: usize) {
        let tokens: usize = chunks.iter().map(|chunk| chunk.tokens.len()).sum();
        assert!(tokens <= self.limits.step_tokens, "the step's budget");
        assert!(plan.prefilling <= prefill_tokens, "the prompts' budget");
        assert_eq!(plan.decoding + plan.prefilling, tokens);
        let mut written = Vec::new();
        let blocks = self.scheduler.blocks();
        for chunk in chunks {
            assert!(!self.speakers[&chunk.sequence].paused, "readers have room");
            let first = chunk.position / self.limits.block_tokens;
            let last = (chunk.position + chunk.tokens.len() - 1) / self.limits.block_tokens;
            for block in &chunk.blocks[first..=last] {
                assert_eq!(blocks.users(*block), 1, "what is written is not shared");
                written.push(*block);
            }
        }
        let writes = written.len();
        written.sort_unstable();
        written.dedup();
        assert_eq!(written.len(), writes, "no block is written by two");
        assert!(blocks.used() <= blocks.count());
    }

    /// Runs until everybody whose reader has room is finished.
    fn finish(&mut self) -> usize {
        let mut steps = 0;
        while self.speakers.values().any(|speaker| !speaker.paused) {
            let plan = self.step(self.limits.step_tokens);
            // Whose turn it was may have given way to those whose turn comes.
            let moved = !plan.chunks.is_empty() || !plan.put_off.is_empty();
            assert!(moved, "something can always be done");
            steps += 1;
            assert!(steps < 100_000, "it goes on for ever");
        }
        steps
    }
}

fn limits() -> DecoderLimits {
    Babbler::LIMITS
}

fn text(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

#[derive(Debug, Clone)]
enum Op {
    /// A prompt of the common beginning's first tokens and some of its own, and copies of it.
    Add {
        common: usize,
        own: Vec<u8>,
        wanted: usize,
        copies: usize,
    },
    Step(usize),
    Pause(usize),
    Resume(usize),
    Remove(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let add = (
        0..40usize,
        prop::collection::vec(97..123u8, 1..30),
        1..30usize,
        0..3usize,
    );
    prop_oneof![
        3 => add.prop_map(|(common, own, wanted, copies)| Op::Add { common, own, wanted, copies }),
        8 => (1..20usize).prop_map(Op::Step),
        1 => any::<prop::sample::Index>().prop_map(|index| Op::Pause(index.index(8))),
        1 => any::<prop::sample::Index>().prop_map(|index| Op::Resume(index.index(8))),
        1 => any::<prop::sample::Index>().prop_map(|index| Op::Remove(index.index(8))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever joins, leaves, pauses and gives way: no block leaks or is used twice, no budget is
    /// exceeded, everybody says what it says alone, and everybody finishes.
    #[test]
    fn everybody_says_what_it_says_alone(
        ops in prop::collection::vec(op(), 1..60),
        blocks in 18..40usize,
        block_tokens in 1..6usize,
        step_tokens in 2..24usize,
        max_running in 1..10usize,
    ) {
        let limits = DecoderLimits { blocks, block_tokens, step_tokens, ..limits() };
        let mut stage = Stage::new(limits, max_running);
        let capacity = stage.scheduler.capacity_tokens();
        let beginning: Vec<u32> = (0..40).map(|n| 65 + n % 7).collect();
        for op in ops {
            let one = |stage: &Stage, index| stage.speakers.keys().nth(index).copied();
            match op {
                Op::Add { common, own, wanted, copies } => {
                    let mut prompt = beginning[..common].to_vec();
                    prompt.extend(own.iter().map(|byte| u32::from(*byte)));
                    prompt.truncate(capacity);
                    let first = stage.add(prompt.clone(), wanted, None);
                    for _ in 0..copies {
                        stage.add(prompt.clone(), wanted, Some(first));
                    }
                }
                Op::Step(prefill_tokens) => drop(stage.step(prefill_tokens)),
                Op::Pause(index) => if let Some(id) = one(&stage, index) { stage.pause(id, true) },
                Op::Resume(index) => if let Some(id) = one(&stage, index) { stage.pause(id, false) },
                Op::Remove(index) => if let Some(id) = one(&stage, index) { stage.remove(id) },
            }
        }
        stage.finish();
        let paused: Vec<SequenceId> = stage.speakers.keys().copied().collect();
        for id in paused {
            stage.pause(id, false);
        }
        stage.finish();
        prop_assert_eq!(stage.scheduler.sequences(), 0);
        prop_assert_eq!(stage.scheduler.blocks().used(), 0);
    }
}

#[test]
fn a_long_prompt_does_not_stall_running_streams() {
    let mut stage = Stage::new(limits(), 8);
    for n in 0..4 {
        stage.add(text(&format!("stream {n}")), 60, None);
    }
    while stage.step(16).decoding < 4 {}
    let long = stage.add(vec![100; 120], 1, None);
    let mut steps = 0;
    while stage.speakers.contains_key(&long) {
        let plan = stage.step(5);
        assert_eq!(plan.decoding, 4, "every stream goes on in every step");
        steps += 1;
    }
    assert_eq!(steps, 120 / 5);
}

#[test]
fn a_short_prompt_overtakes_a_long_one_and_the_long_one_keeps_half() {
    let mut stage = Stage::new(limits(), 8);
    let long = stage.add(vec![100; 160], 1, None);
    let shorts: Vec<SequenceId> = (0..2)
        .map(|n| stage.add(text(&format!("short {n}")), 1, None))
        .collect();
    let plan = stage.step(16);
    let lengths: Vec<usize> = plan.chunks.iter().map(|c| c.positions.len()).collect();
    assert_eq!(lengths, [8, 4, 4]);
    stage.step(16);
    assert!(
        shorts
            .iter()
            .all(|short| !stage.speakers.contains_key(short))
    );
    assert!(stage.speakers.contains_key(&long));
    stage.finish();
}

#[test]
fn a_prompt_that_was_seen_is_found_again_but_for_its_last_token() {
    let mut stage = Stage::new(limits(), 8);
    let prompt = text("You are a helpful machine. Say: hello world!"); // 44 tokens
    let first = stage.add(prompt.clone(), 3, None);
    stage.step(64);
    assert_eq!(stage.scheduler.reused_tokens(first), 0);
    stage.finish();
    assert_eq!(stage.scheduler.blocks().used(), 0);
    assert_eq!(stage.scheduler.blocks().kept(), 11);
    let second = stage.add(prompt, 3, None);
    let plan = stage.step(64);
    assert_eq!(stage.scheduler.reused_tokens(second), 40);
    assert_eq!(plan.chunks[0].positions, 40..44);
    stage.finish();
}

#[test]
fn copies_of_a_prompt_share_its_blocks() {
    let mut stage = Stage::new(limits(), 8);
    let prompt = text("one prompt, three choices of an answer"); // 38 tokens
    let first = stage.add(prompt.clone(), 20, None);
    for _ in 0..2 {
        stage.add(prompt.clone(), 20, Some(first));
    }
    while stage.step(16).decoding < 3 {}
    let blocks = stage.scheduler.blocks();
    // Nine whole blocks are shared; each has its own after those.
    assert!(blocks.used() <= 9 + 3 * 2, "{} blocks", blocks.used());
    stage.finish();
}

#[test]
fn the_newest_gives_way_and_its_text_is_the_same() {
    let limits = DecoderLimits {
        blocks: 12,
        ..limits()
    };
    let mut stage = Stage::new(limits, 8);
    let ids: Vec<SequenceId> = (0..3)
        .map(|n| stage.add(text(&format!("speaker {n}")), 28, None))
        .collect();
    let mut put_off = Vec::new();
    while stage.speakers.len() == 3 {
        put_off.extend(stage.step(16).put_off);
    }
    assert!(
        !put_off.is_empty(),
        "12 blocks hold 48 tokens, wanted are 111"
    );
    assert!(!put_off.contains(&ids[0]), "the oldest goes on");
    stage.finish();
    assert_eq!(stage.finished, 3);
}

#[test]
fn a_paused_sequence_gives_its_blocks_up_before_others_do() {
    let limits = DecoderLimits {
        blocks: 10,
        ..limits()
    };
    let mut stage = Stage::new(limits, 8);
    let slow = stage.add(text("a slow reader's prompt"), 10, None);
    stage.step(16);
    stage.step(16);
    stage.pause(slow, true);
    assert_eq!(stage.scheduler.blocks().used(), 6);
    let other = stage.add(text("another one's prompt, longer"), 8, None);
    let plan = stage.step(16);
    assert_eq!(plan.put_off, [slow]);
    assert_eq!(plan.chunks[0].sequence, other);
    stage.finish();
    stage.pause(slow, false);
    stage.finish();
    assert_eq!(stage.finished, 2);
}

#[test]
fn sequences_that_find_no_place_in_a_step_take_turns() {
    let limits = DecoderLimits {
        step_tokens: 4,
        ..limits()
    };
    let mut stage = Stage::new(limits, 8);
    let prompts = (0..).map(|n| text(&format!("{n}")));
    let talkative = prompts.filter(|prompt| Babbler::continuation(prompt, 40).len() == 40);
    for prompt in talkative.take(6) {
        stage.add(prompt, 40, None);
    }
    while stage.scheduler.blocks().used() < 6 || stage.speakers.values().any(|s| s.said.is_empty())
    {
        stage.step(4);
    }
    let before: Vec<usize> = stage.speakers.values().map(|s| s.said.len()).collect();
    for _ in 0..6 {
        assert_eq!(stage.step(4).decoding, 4);
    }
    let after = stage.speakers.values().map(|s| s.said.len());
    let went_on: Vec<usize> = after
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(went_on, [4; 6]);
    stage.finish();
}

#[test]
fn kept_blocks_go_by_age_and_a_beginning_loses_its_end_first() {
    let mut blocks = Blocks::new(4, 2);
    let fill = |blocks: &mut Blocks, tokens: &[u32]| {
        let mut table = BlockTable::default();
        let found = blocks.adopt(&mut table, tokens, 0);
        assert!(blocks.extend(&mut table, tokens.len()));
        blocks.remember(&mut table, tokens, tokens.len());
        blocks.release(&mut table);
        found
    };
    assert_eq!(fill(&mut blocks, &[1, 2, 3, 4]), 0);
    assert_eq!(fill(&mut blocks, &[5, 6, 7, 8]), 0);
    assert_eq!((blocks.kept(), blocks.used()), (4, 0));
    // One block for the new one: the end of the older beginning goes, its first block stays.
    assert_eq!(fill(&mut blocks, &[9, 9]), 0);
    assert_eq!(fill(&mut blocks, &[1, 2, 3]), 2);
    assert_eq!(fill(&mut blocks, &[5, 6, 7]), 2);
}

#[test]
fn what_was_discarded_is_not_found_again_but_what_others_use_stays() {
    let mut blocks = Blocks::new(8, 2);
    let begin = |blocks: &mut Blocks, tokens: &[u32]| {
        let mut table = BlockTable::default();
        let found = blocks.adopt(&mut table, tokens, 0);
        assert!(blocks.extend(&mut table, tokens.len()));
        blocks.remember(&mut table, tokens, tokens.len());
        (table, found)
    };
    let (mut good, _) = begin(&mut blocks, &[1, 2, 9, 9]);
    let (mut bad, found) = begin(&mut blocks, &[1, 2, 3, 4]);
    assert_eq!(found, 2);
    blocks.discard(&mut bad);
    let (mut again, found) = begin(&mut blocks, &[1, 2, 3, 4, 5]);
    assert_eq!(
        found, 2,
        "the first block is in use by another, the second is forgotten"
    );
    blocks.release(&mut again);
    blocks.release(&mut good);
    assert_eq!(blocks.used(), 0);
    assert_eq!(blocks.available(), 8);
}

#[test]
fn the_pace_keeps_steps_with_prompts_within_twice_those_without() {
    let mut pace = Pace::default();
    assert_eq!(pace.prefill_tokens(0, 256), 256, "nobody is held up");
    assert_eq!(pace.prefill_tokens(8, 256), 32, "nothing is known yet");
    let ms = Duration::from_millis;
    pace.observe(8, 0, ms(50));
    pace.observe(8, 20, ms(90)); // 2 ms a token
    assert_eq!(pace.prefill_tokens(8, 256), 25);
    pace.observe(0, 256, ms(256)); // 1 ms a token, with larger pieces
    assert!(pace.prefill_tokens(8, 256) > 25);
    for _ in 0..30 {
        pace.observe(8, 10, ms(1050)); // 100 ms a token
    }
    assert_eq!(
        pace.prefill_tokens(8, 256),
        1,
        "a prompt goes on, however slowly"
    );
}

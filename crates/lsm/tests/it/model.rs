//! Random operations against the model: the store equals a `BTreeMap` after each, also across
//! flushes, compactions, reopens and crashes, under random options.

use std::sync::Arc;

use proptest::prelude::*;
use siltstone_io::{
    disk::{Disk, ReadMode},
    sim::{Crash, SimDisk},
};
use siltstone_lsm::options::{Durability, Options};

use crate::script::{Change, Op, Place, Runner, dump, small_options};

const PLACES: [(&str, Option<&str>); 4] =
    [("a", None), ("b", None), ("a", Some("t1")), ("a", Some("t2"))];

/// A step of a random history: an operation, or a crash and a reopen.
#[derive(Clone, Debug)]
enum Step {
    Run(Op),
    Crash(Crash),
    /// A tenant of `a` goes elsewhere and comes back, perhaps to a store that was reopened.
    Offload(&'static str, bool),
}

fn a_place() -> impl Strategy<Value = Place> {
    (0..PLACES.len()).prop_map(|index| {
        let (collection, tenant) = PLACES[index];
        (collection.to_owned(), tenant.map(str::to_owned))
    })
}

/// Few keys that share prefixes, so that versions and ranges meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => "[ab]{1,4}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 1..40),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..30),
        2 => (any::<u8>(), 100..3000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (a_place(), key(), value()).prop_map(|(at, key, value)| Change::Put(at, key, value)),
        2 => (a_place(), key()).prop_map(|(at, key)| Change::Delete(at, key)),
        1 => (a_place(), key(), key()).prop_filter_map("a range has two ends", |(at, one, two)| {
            let (start, end) = if one < two { (one, two) } else { (two, one) };
            (start != end).then_some(Change::DeleteRange(at, start, Some(end)))
        }),
        1 => a_place().prop_map(|at| Change::DeleteRange(at, Vec::new(), None)),
    ]
}

fn durability() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(Durability::Sync), Just(Durability::Buffered)]
}

fn crash() -> impl Strategy<Value = Crash> {
    (0..13_usize, any::<u64>()).prop_map(|(index, seed)| Crash::matrix(seed)[index])
}

fn step() -> impl Strategy<Value = Step> {
    let writes = prop::collection::vec(change(), 1..6);
    let write = (writes, durability()).prop_map(|(changes, how)| Op::Write(changes, how));
    prop_oneof![
        20 => write.prop_map(Step::Run),
        2 => Just(Step::Run(Op::Flush)),
        2 => Just(Step::Run(Op::Compact)),
        3 => (1..6_usize).prop_map(|most| Step::Run(Op::Steps(most))),
        1 => Just(Step::Run(Op::Sync)),
        1 => Just(Step::Run(Op::Cut)),
        1 => Just(Step::Run(Op::Close)),
        1 => Just(Step::Run(Op::Reopen)),
        2 => crash().prop_map(Step::Crash),
        1 => (prop_oneof![Just("t1"), Just("t2")], any::<bool>())
            .prop_map(|(tenant, reopen)| Step::Offload(tenant, reopen)),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let sizes = (512..8192_usize, 64..600_usize, 400..4000_u64, 2..6_usize);
    let modes = (0..20_u32, prop_oneof![Just(ReadMode::Direct), Just(ReadMode::Map)]);
    (sizes, modes, 0..100_000_u64).prop_map(|(sizes, (filter_bits, read_mode), cache)| {
        let mut options = small_options();
        options.memtable_bytes_max = sizes.0;
        options.block_bytes = sizes.1;
        options.segment_bytes_max = sizes.2;
        options.level0_segments_compact = sizes.3;
        options.level0_segments_stop = sizes.3 + 4;
        options.filter_bits_per_key = filter_bits;
        options.cache_bytes_max = cache;
        options.read_mode = read_mode;
        options
    })
}

/// Runs a history; panics where store and model differ.
fn run(options: &Options, steps: &[Step], seed: u64) {
    let mut disk = SimDisk::new(seed);
    let mut runner = runner(&disk, options, 0);
    for op in
        [Op::Create("a"), Op::Create("b"), Op::CreateTenant("a", "t1"), Op::CreateTenant("a", "t2")]
    {
        runner.apply(&op).unwrap();
    }
    for step in steps {
        match step {
            Step::Run(op) => runner.apply(op).unwrap_or_else(|error| panic!("{op:?}: {error}")),
            Step::Offload(tenant, reopen) => {
                let reopened = reopen.then_some(Op::Reopen);
                let ops = [Op::Freeze("a", tenant)].into_iter().chain(reopened);
                for op in ops.chain([Op::FetchBack("a", tenant)]) {
                    runner.apply(&op).unwrap_or_else(|error| panic!("{op:?}: {error}"));
                    let found = dump(runner.store.as_ref().expect("it is open")).unwrap();
                    assert!(found == runner.state(), "store and model differ after {op:?}");
                }
            }
            Step::Crash(crash) => {
                let least = match crash {
                    Crash::All => runner.run.acknowledged,
                    _ => runner.run.durable,
                };
                runner.store = None;
                disk = disk.crash(*crash);
                let (known, seed) = (runner.run, runner.seed);
                runner = self::runner(&disk, options, seed);
                let found = dump(runner.store.as_ref().expect("it was opened")).unwrap();
                let allowed = &known.states[least..];
                assert!(
                    allowed.contains(&found),
                    "{crash:?} left a state that is none of {}",
                    allowed.len()
                );
                runner.run.states = vec![found];
            }
        }
        let found = dump(runner.store.as_ref().expect("it is open")).unwrap();
        assert!(found == runner.state(), "store and model differ after {step:?}");
    }
    runner.store.expect("it is open").verify(&mut |_, _| ()).unwrap();
}

fn runner(disk: &SimDisk, options: &Options, seed: u64) -> Runner {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut runner = Runner::new(disk, options.clone());
    runner.seed = seed;
    runner.open().unwrap();
    runner
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn random_histories_match_the_model(
        options in options(),
        steps in prop::collection::vec(step(), 1..60),
        seed in any::<u64>(),
    ) {
        run(&options, &steps, seed);
    }
}

/// `PROPTEST_CASES`, or enough for a run that takes seconds.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(96)
}

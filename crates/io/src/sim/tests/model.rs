//! The simulated disk against plain maps: one for what is shown, one for what is durable.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A file of the model: its bytes, and every state it had since its last sync.
#[derive(Clone, Debug, Default)]
struct ModelFile {
    shown: Vec<u8>,
    durable: Vec<u8>,
    since_sync: Vec<Vec<u8>>,
}

/// Files by number; the names are kept apart, shown and durable.
#[derive(Clone, Debug, Default)]
struct Model {
    files: Vec<ModelFile>,
    shown: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
}

#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Stream(u8, Vec<u8>),
    Write(u8, u16, Vec<u8>),
    Sync(u8),
    Rename(u8, u8, bool),
    Remove(u8),
    SyncDir,
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..4_u8;
    let bytes = || prop::collection::vec(1..=u8::MAX, 1..1500);
    prop_oneof![
        name.clone().prop_map(Step::Create),
        (name.clone(), bytes()).prop_map(|(name, bytes)| Step::Stream(name, bytes)),
        (name.clone(), 0..6000_u16, bytes())
            .prop_map(|(name, at, bytes)| Step::Write(name, at, bytes)),
        name.clone().prop_map(Step::Sync),
        (name.clone(), name.clone(), any::<bool>()).prop_map(|(a, b, c)| Step::Rename(a, b, c)),
        name.prop_map(Step::Remove),
        Just(Step::SyncDir),
    ]
}

fn file_name(number: u8) -> String {
    format!("file-{number}")
}

impl Model {
    fn create(&mut self, name: u8) -> Option<usize> {
        if self.shown.contains_key(&file_name(name)) {
            return None;
        }
        self.files.push(ModelFile::default());
        self.shown.insert(file_name(name), self.files.len() - 1);
        Some(self.files.len() - 1)
    }

    fn file(&mut self, name: u8) -> Option<&mut ModelFile> {
        let file = *self.shown.get(&file_name(name))?;
        self.files.get_mut(file)
    }

    /// Does a step; says whether it succeeds.
    fn run(&mut self, step: &Step) -> bool {
        match step {
            Step::Create(name) => self.create(*name).is_some(),
            Step::Stream(name, bytes) => self.create(*name).is_some_and(|file| {
                let file = &mut self.files[file];
                (file.shown, file.durable) = (bytes.clone(), bytes.clone());
                true
            }),
            Step::Write(name, at, bytes) => self.file(*name).is_some_and(|file| {
                file.since_sync.push(file.shown.clone());
                let end = usize::from(*at) + bytes.len();
                file.shown.resize(file.shown.len().max(end), 0);
                file.shown[usize::from(*at)..end].copy_from_slice(bytes);
                true
            }),
            Step::Sync(name) => self.file(*name).is_some_and(|file| {
                file.durable = file.shown.clone();
                file.since_sync.clear();
                true
            }),
            Step::Rename(from, to, replace) => {
                let (from, to) = (file_name(*from), file_name(*to));
                let allowed = *replace || !self.shown.contains_key(&to);
                if !self.shown.contains_key(&from) || !allowed {
                    return false;
                }
                let file = self.shown.remove(&from).expect("it is there");
                self.shown.insert(to, file);
                true
            }
            Step::Remove(number) => self.shown.remove(&file_name(*number)).is_some(),
            Step::SyncDir => {
                self.durable = self.shown.clone();
                true
            }
        }
    }

    fn shown_contents(&self) -> Vec<(String, Vec<u8>)> {
        let content =
            |(name, &file): (&String, &usize)| (name.clone(), self.files[file].shown.clone());
        self.shown.iter().map(content).collect()
    }

    fn durable_contents(&self) -> Vec<(String, Vec<u8>)> {
        let content =
            |(name, &file): (&String, &usize)| (name.clone(), self.files[file].durable.clone());
        self.durable.iter().map(content).collect()
    }
}

fn run(disk: &SimDisk, step: &Step) -> bool {
    let path = |number: &u8| RelPath::new(file_name(*number)).unwrap();
    let result = match step {
        Step::Create(name) => disk.create_log(&path(name)).map(drop),
        Step::Stream(name, bytes) => disk
            .create_stream(&path(name), bytes.len() as u64 / 2)
            .and_then(|mut stream| stream.write(bytes).and_then(|()| stream.finish()))
            .map(drop),
        Step::Write(name, at, bytes) => {
            disk.open_log(&path(name)).and_then(|log| write_all_at(&*log, u64::from(*at), &[bytes]))
        }
        Step::Sync(name) => disk.open_log(&path(name)).and_then(|log| log.sync()),
        Step::Rename(from, to, replace) => {
            let mode = if *replace { Rename::Replace } else { Rename::NoReplace };
            disk.rename(&path(from), &path(to), mode)
        }
        Step::Remove(name) => disk.remove(&path(name)),
        Step::SyncDir => disk.sync_dir(&RelPath::root()),
    };
    result.is_ok()
}

fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let read = |path: String| {
        let bytes = disk.read_file(&path).expect("listed files are there");
        (path, bytes)
    };
    disk.paths().into_iter().map(read).collect()
}

/// Whether each sector of `left` is that sector in one of the states.
fn every_sector_is_from(left: &[u8], states: &[&Vec<u8>]) -> bool {
    let sector_of = |bytes: &[u8], start: usize| {
        let mut sector = [0; 512];
        let part = bytes.get(start..).unwrap_or_default();
        let len = part.len().min(512);
        sector[..len].copy_from_slice(&part[..len]);
        sector
    };
    (0..left.len()).step_by(512).all(|start| {
        let found = sector_of(left, start);
        // A length that was cut inside a sector cuts its bytes, too.
        let len = (left.len() - start).min(512);
        let states = states.iter().map(|bytes| sector_of(bytes, start));
        let mut states = states.chain([[0; 512]]);
        states.any(|state| state[..len] == found[..len])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn shown_and_durable_states_equal_the_models(
        steps in prop::collection::vec(step(), 1..60),
        short_io in any::<bool>(),
    ) {
        let disk = SimDisk::with_options(SimOptions {
            short_io,
            stream_piece_bytes: 700,
            ..SimOptions::default()
        });
        let mut model = Model::default();
        for step in &steps {
            prop_assert_eq!(run(&disk, step), model.run(step), "{:?}", step);
            prop_assert_eq!(contents(&disk), model.shown_contents());
        }
        prop_assert_eq!(contents(&disk.fork()), model.shown_contents());
        let durable = contents(&disk.crash(Crash::Nothing));
        prop_assert_eq!(durable, model.durable_contents());
        prop_assert_eq!(contents(&disk.crash(Crash::All)), model.shown_contents());
    }

    #[test]
    fn every_crash_leaves_sectors_that_once_were(
        steps in prop::collection::vec(step(), 1..40),
        seed in any::<u64>(),
    ) {
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        for step in &steps {
            run(&disk, step);
            model.run(step);
        }
        for crash in Crash::matrix(seed) {
            let left = disk.crash(crash);
            for (path, bytes) in contents(&left) {
                // Without the folder's history any file could be under the name.
                let found = model.files.iter().any(|file| {
                    let mut states: Vec<_> = file.since_sync.iter().collect();
                    states.extend([&file.shown, &file.durable]);
                    bytes.len() >= file.durable.len() && every_sector_is_from(&bytes, &states)
                });
                prop_assert!(found, "{} after {:?} is nothing that ever was", path, crash);
            }
            for (name, &file) in &model.durable {
                let settled = model.shown.get(name) == Some(&file)
                    && model.files[file].since_sync.is_empty();
                let touched = steps.iter().any(|step| matches!(step, Step::Rename(..) | Step::Remove(_)));
                if settled && !touched {
                    let bytes = left.read_file(name);
                    prop_assert_eq!(bytes.as_ref(), Some(&model.files[file].durable));
                }
            }
        }
    }
}

//! Repositories whose bytes are not what was written: by chance, by mix-up, by malice, by age.

use std::{collections::BTreeMap, env, io::Write, process::Command, sync::Arc};

use bytes::Bytes;
use siltstone_backup::{
    api::{self, Backups, Listed},
    backend::{self, Backend, BackendConfig, Depth, PutMode},
    error::{Error, ErrorKind},
    format::config::Config,
    options::{Compression, RestoreOptions},
};
use siltstone_io::sim::SimDisk;
use siltstone_lsm::{format::primitives::hash, store::Store};

use crate::{
    site::{assert_error, assert_unchanged, check, durable_files, fresh_store, plain, still_store},
    support::{Rows, content, create, fill, memory, quick, sim_store},
};

const CONFIG: &str = "nightly/backup_config.json";

/// What stands before the hash of a descriptor, and behind it.
const HASH_FIELD: &str = ",\n  \"hash\": \"";
const END: &str = "\"\n}\n";

/// Bits that are flipped in chunks, one at a time.
const CHUNK_FLIPS: u64 = 2000;

/// A backup in memory, and a store that it is restored into in vain.
struct Target {
    backend: Arc<dyn Backend>,
    expected: BTreeMap<String, Rows>,
    disk: SimDisk,
    store: Store,
    before: Vec<(String, Option<Vec<u8>>)>,
}

impl Target {
    fn new(seed: u64, rows: u32, compression: Compression) -> Self {
        let (_disk, source) = sim_store(seed);
        fill(&source, rows);
        let backend = memory();
        let mut options = plain(2);
        options.compression = compression;
        let backups = Backups::new(source.clone()).unwrap();
        backups.create(&backend, "nightly", options).unwrap().wait().unwrap();
        let expected = content(&source);
        let (disk, store) = still_store();
        let before = durable_files(&disk);
        Self { backend, expected, disk, store, before }
    }

    /// Restores and must fail; the store is then as it was, to the byte.
    fn refuses(&self, context: &str) -> Error {
        let backups = Backups::new(self.store.clone()).unwrap();
        let started = backups.restore(&self.backend, "nightly", RestoreOptions::default());
        let error = started.and_then(|handle| handle.wait()).map(drop);
        let error = error.expect_err(context);
        assert!(self.store.catalog().collections.is_empty(), "{context}");
        error
    }

    fn unchanged(&self) {
        assert_unchanged(&self.disk, &self.before);
        check(&self.backend, "nightly", &self.expected);
    }

    fn objects(&self, prefix: &str) -> Vec<String> {
        let found = self.backend.list("", Depth::All).unwrap();
        found.into_iter().map(|it| it.name).filter(|it| it.starts_with(prefix)).collect()
    }

    fn part(&self) -> String {
        let parts = self.objects("nightly/");
        parts.into_iter().find(|it| it.contains("/backup-")).expect("a part")
    }

    fn get(&self, object: &str) -> Vec<u8> {
        self.backend.get(object, 1 << 30).unwrap().to_vec()
    }

    fn put(&self, object: &str, bytes: impl Into<Bytes>) {
        self.backend.put(object, bytes.into(), PutMode::Replace).unwrap();
    }

    /// Puts a part, and a descriptor that says that it must be so.
    fn put_part(&self, bytes: Vec<u8>) {
        let mut config = Config::decode(CONFIG, &self.get(CONFIG)).unwrap();
        (config.parts[0].length, config.parts[0].hash) = (bytes.len() as u64, hash(&bytes));
        self.put(&self.part(), bytes);
        self.put(CONFIG, config.encode().unwrap());
    }
}

/// A descriptor with other content, and the hash that belongs to it.
fn sealed(body: &str) -> Vec<u8> {
    format!("{body}{HASH_FIELD}{}{END}", hash(body.as_bytes())).into_bytes()
}

fn body(config: &[u8]) -> String {
    let text = String::from_utf8(config.to_vec()).unwrap();
    text.split_once(HASH_FIELD).unwrap().0.to_owned()
}

#[test]
fn fault_18_every_flipped_byte_of_descriptors_and_bit_of_chunks_is_found() {
    let target = Target::new(180, 25, Compression::GzipBestSpeed);
    for object in [CONFIG.to_owned(), target.part()] {
        let whole = target.get(&object);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            target.put(&object, bytes);
            let error = target.refuses(&object);
            assert_error(&error, ErrorKind::Corrupt, &[&object]);
        }
        target.put(&object, whole);
    }
    let chunks = target.objects(".chunks/");
    let total: u64 = chunks.iter().map(|it| target.get(it).len() as u64 * 8).sum();
    let mut flips = 0;
    for object in &chunks {
        let whole = target.get(object);
        let bits = whole.len() as u64 * 8;
        let share = (CHUNK_FLIPS * bits).div_ceil(total);
        for step in 0..share {
            let bit = bits * step / share + step % 8;
            let mut bytes = whole.clone();
            let Some(byte) = bytes.get_mut(usize::try_from(bit / 8).unwrap()) else { continue };
            *byte ^= 1 << (bit % 8);
            target.put(object, bytes);
            let error = target.refuses(object);
            assert_error(&error, ErrorKind::Corrupt, &[object]);
            flips += 1;
        }
        target.put(object, whole);
    }
    assert!(flips >= CHUNK_FLIPS - 8, "{flips}");
    target.unchanged();
}

#[test]
fn fault_19_what_is_missing_is_listed() {
    let target = Target::new(190, 1500, Compression::None);
    let chunks = target.objects(".chunks/");
    assert!(chunks.len() > 2);
    let taken = [&chunks[0], &chunks[2]].map(|name| (name, target.get(name)));
    for (name, _) in &taken {
        target.backend.delete(name).unwrap();
    }
    let error = target.refuses("chunks are missing");
    assert_error(&error, ErrorKind::Corrupt, &["missing", &chunks[0], &chunks[2]]);
    assert!(!error.to_string().contains(&chunks[1]), "{error}");
    for (name, bytes) in taken {
        target.put(name, bytes);
    }
    for (object, kind) in
        [(target.part(), ErrorKind::Corrupt), (CONFIG.to_owned(), ErrorKind::NotFound)]
    {
        let bytes = target.get(&object);
        target.backend.delete(&object).unwrap();
        let named = if kind == ErrorKind::NotFound { "'nightly'" } else { &object };
        assert_error(&target.refuses(&object), kind, &[named]);
        target.put(&object, bytes);
    }
    target.unchanged();
}

/// Cuts and fills every chunk at `boundaries`, and wants each found.
fn cut_everywhere(target: &Target, boundaries: impl Fn(&[u8]) -> Vec<usize>) -> usize {
    let mut cuts = 0;
    for object in target.objects(".chunks/") {
        let whole = target.get(&object);
        for at in boundaries(&whole) {
            // Cut off; and, as a clean end of the archive, all zeros to the length it should have.
            let mut zeros = whole[..at].to_vec();
            zeros.resize(whole.len(), 0);
            for bytes in [whole[..at].to_vec(), zeros] {
                if bytes == whole {
                    continue;
                }
                target.put(&object, bytes);
                let error = target.refuses(&object);
                assert_error(&error, ErrorKind::Corrupt, &[&object]);
                cuts += 1;
            }
        }
        target.put(&object, whole);
    }
    target.unchanged();
    cuts
}

#[test]
fn fault_20_chunks_cut_at_any_boundary_are_found() {
    let tar = Target::new(200, 25, Compression::None);
    let blocks = cut_everywhere(&tar, |whole| (0..whole.len()).step_by(512).collect());
    assert!(blocks > 100, "{blocks}");
    let gzip = Target::new(201, 120, Compression::GzipBestSpeed);
    let members = cut_everywhere(&gzip, |whole| {
        let starts = whole.windows(4).enumerate();
        let starts = starts.filter(|(_, bytes)| bytes.starts_with(&[0x1f, 0x8b, 8]));
        starts.flat_map(|(at, _)| [at, at + 1, at.saturating_sub(1)]).collect()
    });
    assert!(members > 10, "{members}");
}

#[test]
fn fault_21_chunks_and_descriptors_in_the_wrong_place_are_found() {
    let target = Target::new(210, 1500, Compression::None);
    let chunks = target.objects(".chunks/");
    let wholes: Vec<Vec<u8>> = chunks.iter().map(|it| target.get(it)).collect();
    // Swapped, in the right length, so that nothing but the content tells.
    let fitted = |bytes: &[u8], length: usize| {
        let mut bytes = bytes.to_vec();
        bytes.resize(length, 0);
        bytes
    };
    target.put(&chunks[0], fitted(&wholes[1], wholes[0].len()));
    target.put(&chunks[1], fitted(&wholes[0], wholes[1].len()));
    assert_error(&target.refuses("swapped"), ErrorKind::Corrupt, &[".chunks/"]);
    target.put(&chunks[1], wholes[1].clone());

    // Of another store, and of an older backup of a store that looks alike.
    let other = Target::new(211, 1500, Compression::None);
    for name in other.objects(".chunks/") {
        target.put(&chunks[0], fitted(&other.get(&name), wholes[0].len()));
        let error = target.refuses("a chunk of another store");
        assert_error(&error, ErrorKind::Corrupt, &[&chunks[0]]);
    }
    target.put(&chunks[0], wholes[0].clone());

    // Parts and descriptors of other backups, each whole and right in its own place.
    let (part, config) = (target.get(&target.part()), target.get(CONFIG));
    target.put(&target.part(), other.get(&other.part()));
    assert_error(&target.refuses("a foreign part"), ErrorKind::Corrupt, &[&target.part()]);
    target.put_part(other.get(&other.part()));
    assert_error(&target.refuses("a foreign part that is listed"), ErrorKind::Corrupt, &[]);
    target.put(&target.part(), part);
    let (_disk, source) = sim_store(212);
    fill(&source, 10);
    create(&source, &target.backend, "another");
    target.put(CONFIG, target.get("another/backup_config.json"));
    let error = target.refuses("a foreign descriptor");
    assert_error(&error, ErrorKind::Corrupt, &[CONFIG, "it describes backup 'another'"]);
    target.put(CONFIG, config);
    target.unchanged();
}

/// The memory is that of a process that does nothing else: this test starts itself again.
#[test]
fn fault_22_absurd_descriptors_are_refused_in_bounded_memory() {
    if env::var_os(ALONE).is_some() {
        return refuse_the_absurd();
    }
    let mut alone = Command::new(env::current_exe().unwrap());
    let name = "damage::fault_22_absurd_descriptors_are_refused_in_bounded_memory";
    let output = alone.args([name, "--exact", "--nocapture"]).env(ALONE, "yes").output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success() && said[0].contains("1 passed"), "{said:?}");
    assert!(said[1].contains("bytes of memory"), "it was measured: {said:?}");
}

/// Set for the process that is measured.
const ALONE: &str = "SILTSTONE_FAULT_22_ALONE";

/// Bytes by which all of that may raise the most that the process ever had: what a restore may use.
/// The longest input has 5 MiB, and the test itself holds it several times; the longest that is not
/// read has a gigabyte, and some claim more than there is.
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// The most memory that this process has had so far, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says it");
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib << 10
}

fn refuse_the_absurd() {
    let target = Target::new(220, 25, Compression::GzipBestSpeed);
    target.unchanged(); // a whole restore, so that what follows is compared with what is usual
    let before = peak_bytes();
    refuse_absurd_descriptors(&target);
    refuse_a_gigabyte();
    let grown = peak_bytes() - before;
    writeln!(std::io::stderr(), "{grown} bytes of memory").unwrap();
    assert!(grown <= GROWTH_BYTES_MAX, "{grown} bytes more than {before}");
    target.unchanged();
}

fn refuse_absurd_descriptors(target: &Target) {
    let whole = target.get(CONFIG);
    let body = body(&whole);
    let with = |field: &str, value: &str| {
        let at = body.find(&format!("\"{field}\": ")).expect(field) + field.len() + 4;
        let end = at + body[at..].find(['\n', ',']).expect("a line ends");
        format!("{}{value}{}", &body[..at], &body[end..])
    };
    let deep = format!("{{\"id\": {}", "[".repeat(200_000));
    let long = format!("{{\"id\": \"{}\"", "x".repeat(900_000));
    let mut cases: Vec<Vec<u8>> =
        ["", "{", "{}", "[]", "null", "\"x\"", "{\"id\":1}", &deep, &long]
            .into_iter()
            .flat_map(|text| [text.as_bytes().to_vec(), sealed(text)])
            .collect();
    let fields = [
        with("sequence", "\"1000000000000000000\""),
        with("sequence", "1000000000000000000"),
        with("sequence", "\"-1\""),
        with("sequence", "\"99999999999999999999999\""),
        with("completedAt", "\"NaN\""),
        with("completedAt", "NaN"),
        with("completedAt", "\"2026-13-45T99:99:99Z\""),
        with("startedAt", "null"),
        with("status", "\"STARTED\""),
        with("compressionType", "\"zip\""),
        with("segments", "\"1e9\""),
        with("length", "\"18446744073709551615\""),
        with("length", "\"1099511627776\""),
        with("id", "\"../../etc/passwd\""),
        with("node", "\"../up\""),
        with("storeId", "\"00\""),
        body.replacen("\"id\": ", "\"id\": \"twice\",\n  \"id\": ", 1),
        body.replacen("\"id\": ", "\"unknown\": 1,\n  \"id\": ", 1),
    ];
    cases.extend(fields.iter().map(|text| sealed(text)));
    cases.push((0..=255).cycle().take(10_000).collect());
    for bytes in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
        target.put(CONFIG, bytes);
        assert_error(&target.refuses(&shown), ErrorKind::Corrupt, &[CONFIG]);
        let listed = api::list(&target.backend).unwrap();
        assert!(matches!(&listed[..], [Listed::Unreadable(..)]), "{shown}");
    }
    target.put(CONFIG, whole.clone());

    let part = target.get(&target.part());
    let text = String::from_utf8(part.clone()).unwrap();
    let line = text.lines().last().unwrap();
    let parts = [
        String::new(),
        "{}\n".to_owned(),
        format!("{text}{line}\n"),
        format!("{text}{}", "[".repeat(100_000)),
        format!("{text}{}\n", "x".repeat(5 << 20)),
        text.replacen("\"length\":\"", "\"length\":\"99999999999999999", 1),
        text.lines().rev().map(|line| format!("{line}\n")).collect(),
    ];
    for (case, bytes) in parts.into_iter().enumerate() {
        if bytes == text {
            continue;
        }
        target.put_part(bytes.into_bytes());
        let error = target.refuses(&format!("part {case}"));
        assert_error(&error, ErrorKind::Corrupt, &[&target.part()]);
    }
    target.put(&target.part(), part);
    target.put(CONFIG, whole);
}

/// A descriptor of a gigabyte, which the disk does not even hold, is refused by its length.
fn refuse_a_gigabyte() {
    let folder = tempfile::tempdir().unwrap();
    let backend = backend::open(&BackendConfig::Folder(folder.path().join("backups"))).unwrap();
    let (_disk, source) = sim_store(221);
    fill(&source, 10);
    create(&source, &backend, "nightly");
    let path = folder.path().join("backups").join(CONFIG);
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(1 << 30).unwrap();
    let (_disk, store) = fresh_store();
    let backups = Backups::new(store).unwrap();
    let refused = backups.restore(&backend, "nightly", RestoreOptions::default());
    let error = refused.expect_err("a gigabyte");
    assert_error(&error, ErrorKind::Corrupt, &[CONFIG, "1073741824 bytes"]);
}

#[test]
fn fault_23_versions_that_are_not_known_are_told_from_damage() {
    let target = Target::new(230, 25, Compression::GzipBestSpeed);
    let whole = target.get(CONFIG);
    let versions = [
        ("1.1", ErrorKind::NewerFormat, "upgrade siltstone"),
        ("2.0", ErrorKind::NewerFormat, "upgrade siltstone"),
        ("0.9", ErrorKind::Corrupt, "no format '0.9' exists"),
        ("one", ErrorKind::Corrupt, "no format 'one' exists"),
    ];
    for (version, kind, words) in versions {
        let other =
            body(&whole).replace("\"version\": \"1.0\"", &format!("\"version\": \"{version}\""));
        target.put(CONFIG, sealed(&other));
        assert_error(&target.refuses(version), kind, &[CONFIG, words]);
    }
    target.put(CONFIG, whole);
    let about = target.get("repository.json");
    let newer = String::from_utf8(about.clone()).unwrap().replace("\"1.0\"", "\"2.0\"");
    assert_ne!(newer.as_bytes(), about);
    target.put("repository.json", newer);
    let error = target.refuses("a newer repository");
    assert_error(&error, ErrorKind::NewerFormat, &["repository.json", "upgrade siltstone"]);
    let (_disk, source) = sim_store(231);
    let backups = Backups::new(source).unwrap();
    let error = backups.create(&target.backend, "other", quick()).expect_err("newer");
    assert_eq!(error.kind(), ErrorKind::NewerFormat, "a backup does not write into it either");
    target.put("repository.json", about);
    target.unchanged();
}

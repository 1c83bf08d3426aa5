//! Stores that refuse, fall silent, cut connections, keep less or other bytes than they were sent.

use std::{collections::BTreeMap, net::TcpListener, sync::Arc, time::Duration};

use siltstone_backup::{
    api::{self, Backups},
    backend::{self, Backend, BackendConfig, S3Credentials},
    delete::{Damaged, delete},
    error::{Error, ErrorKind},
    options::RestoreOptions,
    state::State,
    verify::Level,
};
use siltstone_loopback::{
    Server, aws_container,
    s3::{Act, KEY_ID, Operation, Rule, S3, Seen},
};

use crate::{
    site::{
        CANARY, Site, assert_error, assert_unchanged, bucket, cancel, check, config, durable_files,
        found_at, hasty_bucket, keys, plain, still_store,
    },
    support::{quick, wait_until},
};

/// Requests that write part of a chunk.
const UPLOADS: [Operation; 2] = [Operation::Put, Operation::PutPart];

/// What a caller is promised about a cancel, whatever the backend does.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

fn refused(request: &Seen) -> bool {
    request.status.is_some_and(|status| status >= 400)
}

/// The waits of requests for one object between a refusal and the next try.
fn waits_after_refusals(seen: &[Seen], operation: Operation) -> Vec<Vec<Duration>> {
    let mut of_object: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for request in seen.iter().filter(|it| it.operation == operation) {
        of_object.entry(&request.object).or_default().push(request);
    }
    let waits = |tries: Vec<&Seen>| {
        let pairs = tries.windows(2).filter(|pair| refused(pair[0]));
        pairs.map(|pair| pair[1].at - pair[0].at).collect::<Vec<Duration>>()
    };
    of_object.into_values().map(waits).filter(|waits| !waits.is_empty()).collect()
}

/// The refusals last three seconds here, not thirty: that is four tries of one request.
#[test]
fn fault_01_refusals_for_a_while_are_waited_out() {
    let site = Site::filled(9000);
    let calm = S3::start().unwrap();
    site.succeeds(&bucket(&calm), plain(2));
    let s3 = S3::start().unwrap();
    let rule = Rule::new(&UPLOADS, Act::Refuse(503, "SlowDown")).below(".chunks/").after(5);
    let hits = s3.script(rule.lasting(Duration::from_secs(3)));
    site.succeeds(&bucket(&s3), plain(2));
    assert!(hits.count() >= 3, "{}", hits.count());
    let (without, with) = (calm.requests(), s3.requests());
    assert!(with * 10 <= without * 12, "{with} requests, {without} without the refusals");
    let waits = waits_after_refusals(&s3.seen(), Operation::Put);
    assert!(!waits.is_empty());
    for (tries, wait) in waits.iter().flat_map(|waits| waits.iter().enumerate()) {
        let least = Duration::from_millis(200 << tries);
        assert!(*wait >= least, "try {tries} came after {wait:?}");
    }
}

/// With six tries of a request a store is given up after some twelve seconds; with three, earlier.
#[test]
fn fault_02_refusals_for_ever_fail_the_backup_with_their_cause() {
    let site = Site::filled(2000);
    let refusals = [
        (Operation::Put, 503, "SlowDown", "SlowDown: said by the stub"),
        (Operation::Put, 429, "TooManyRequests", "TooManyRequests: said by the stub"),
        (Operation::Head, 500, "InternalError", "the answer was 500"), // has no body to say more
    ];
    for (operation, status, code, words) in refusals {
        let s3 = S3::start().unwrap();
        let rule = Rule::new(&[operation], Act::Refuse(status, code)).below(".chunks/").after(1);
        let hits = s3.script(rule);
        let error = site.fails(&s3, &hasty_bucket(&s3), quick());
        assert_error(&error, ErrorKind::Unavailable, &[words, ".chunks/"]);
        assert!((3..=12).contains(&hits.count()), "{} tries", hits.count());
        site.recovers(&s3);
    }
}

#[test]
fn fault_03_silence_is_timed_out_and_a_cancel_does_not_wait_for_it() {
    let site = Site::filled(2000);
    let s3 = S3::start().unwrap();
    let silence = || Rule::new(&UPLOADS, Act::Silence).below(".chunks/").after(2);
    let hits = s3.script(silence().times(1));
    site.succeeds(&hasty_bucket(&s3), quick());
    assert_eq!(hits.count(), 1, "one silence is tried again");

    let s3 = S3::start().unwrap();
    let hits = s3.script(silence());
    let error = site.fails(&s3, &hasty_bucket(&s3), quick());
    assert_error(&error, ErrorKind::Unavailable, &[".chunks/"]);
    assert!(hits.count() >= 3, "{} tries", hits.count());
    site.recovers(&s3);

    let s3 = S3::start().unwrap();
    let hits = s3.script(silence());
    let handle = site.start(&bucket(&s3), quick());
    wait_until(|| hits.count() > 0);
    let shown = cancel(&handle, &site.store.env().clock);
    assert!(shown <= SHOWN_WITHIN, "{shown:?}");
    assert_eq!(handle.wait().expect_err("canceled").kind(), ErrorKind::Canceled);
    site.recovers(&s3);

    // A port where nobody ever takes the connection.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hole.local_addr().unwrap());
    let backend = backend::open(&BackendConfig::S3(config(&url))).unwrap();
    let error = site.backups.create(&backend, "nightly", quick()).expect_err("no answer");
    assert_error(&error, ErrorKind::Unavailable, &["no answer within 5 s"]);
}

#[test]
fn fault_04_connections_cut_in_a_body_are_made_good_from_the_source() {
    let site = Site::filled(3500);
    // Whole objects, and parts of larger ones.
    for (operation, options) in [(Operation::Put, plain(2)), (Operation::PutPart, plain(16))] {
        let s3 = S3::start().unwrap();
        let cut = |bytes| Rule::new(&[operation], Act::CutRequest(bytes)).below(".chunks/");
        let hits = [s3.script(cut(100_000).times(2)), s3.script(cut(1).after(1).times(1))];
        let downloads = Rule::new(&[Operation::Get], Act::CutAnswer(50_000)).below(".chunks/");
        let cut_downloads = s3.script(downloads.times(3));
        site.succeeds(&bucket(&s3), options);
        assert_eq!(hits.map(|hits| hits.count()), [2, 1]);
        assert_eq!(cut_downloads.count(), 3, "the restore met its cuts too");
        assert!(s3.open_uploads().is_empty());
    }
}

#[test]
fn fault_05_objects_stored_short_are_found_before_the_backup_counts() {
    let site = Site::filled(3500);
    let whole = [(Operation::Put, plain(2)), (Operation::CompleteUpload, plain(8))];
    for (operation, options) in whole {
        let s3 = S3::start().unwrap();
        let rule = Rule::new(&[operation], Act::Truncate(1000)).below(".chunks/").after(1);
        let hits = s3.script(rule.times(1));
        let error = site.fails(&s3, &bucket(&s3), options);
        assert_error(&error, ErrorKind::Corrupt, &["bytes were sent, the store holds 1000"]);
        assert_eq!(hits.count(), 1);
        site.recovers(&s3);
    }
    // A descriptor that is cut must not pass for one either.
    for prefix in ["nightly/node1/", "nightly/backup_config.json"] {
        let s3 = S3::start().unwrap();
        let rule = Rule::new(&[Operation::Put], Act::Truncate(20)).below(prefix);
        let hits = s3.script(rule.times(1));
        let error = site.fails(&s3, &bucket(&s3), quick());
        assert_error(&error, ErrorKind::Corrupt, &[prefix]);
        assert_eq!(hits.count(), 1);
        site.recovers(&s3);
    }
    a_descriptor_that_is_cut_and_stays(&site);
}

/// The store keeps part of the descriptor and refuses to give it up: nobody is told of a success, and
/// everybody of the way out.
fn a_descriptor_that_is_cut_and_stays(site: &Site) {
    let s3 = S3::start().unwrap();
    let (backend, config) = (bucket(&s3), "nightly/backup_config.json");
    s3.script(Rule::new(&[Operation::Put], Act::Truncate(20)).below(config).times(1));
    s3.script(Rule::new(&[Operation::Delete], Act::Refuse(403, "AccessDenied")).below(config));
    let handle = site.start(&backend, quick());
    let error = handle.wait().expect_err("the descriptor is cut");
    let way_out = "elete backup 'nightly' as damaged";
    assert_error(&error, ErrorKind::Corrupt, &[config, "AccessDenied", way_out]);
    assert_eq!(handle.status().state, State::Transferred);
    let journal = api::statuses(site.store.env(), Some(&backend)).unwrap();
    assert_eq!(journal[0].state, State::Transferred);
    let told = journal[0].error.clone().unwrap();
    assert!(told.contains(config) && told.contains(way_out), "{told}");
    let again = site.backups.create(&backend, "nightly", quick()).expect_err("it is in the way");
    assert_error(&again, ErrorKind::Corrupt, &[config]);

    // Other backups go on, and once it is gone so does this one.
    site.backups.create(&backend, "other", quick()).unwrap().wait().unwrap();
    check(&backend, "other", &site.expected);
    s3.behave();
    let refused = delete(&backend, "nightly", Damaged::Refuse).expect_err("it is damaged");
    assert_error(&refused, ErrorKind::Corrupt, &["can be deleted as damaged"]);
    delete(&backend, "nightly", Damaged::Remove).unwrap();
    let journal = api::statuses(site.store.env(), Some(&backend)).unwrap();
    let of_it = journal.iter().find(|it| it.id.as_str() == "nightly").unwrap();
    assert_eq!(of_it.state, State::Failed);
    site.succeeds(&backend, quick());
}

#[test]
fn fault_06_flipped_bits_are_refused_by_the_store_or_found_by_the_restore() {
    let site = Site::filled(3500);
    // On the way, in a whole object and in a part of one: the store compares its checksum, and what
    // it refuses is sent again or fails the backup. It never counts.
    for (operation, options) in [(Operation::Put, plain(2)), (Operation::PutPart, plain(16))] {
        let s3 = S3::start().unwrap();
        let rule = Rule::new(&[operation], Act::FlipOnTheWay(4711)).below(".chunks/");
        let hits = s3.script(rule.times(1));
        match site.start(&bucket(&s3), options).wait() {
            Ok(_) => site.check(&bucket(&s3)),
            Err(error) => {
                assert_error(&error, ErrorKind::Unavailable, &["BadDigest", ".chunks/"]);
                site.recovers(&s3);
            }
        }
        assert_eq!(hits.count(), 1);
        let is_of_it = |it: &&Seen| it.operation == operation && it.object.starts_with(".chunks/");
        let refusals = s3.seen().iter().filter(is_of_it).filter(|it| refused(it)).count();
        assert_eq!(refusals, 1, "the store has found it");
    }
    // A descriptor is read back before the backup counts, and one that is spoilt does not.
    let s3 = S3::start().unwrap();
    let config = "nightly/backup_config.json";
    s3.script(Rule::new(&[Operation::Put], Act::FlipStored(4711)).below(config).times(1));
    let error = site.fails(&s3, &bucket(&s3), quick());
    assert_error(&error, ErrorKind::Corrupt, &[config]);
    site.recovers(&s3);

    // What the store spoils by itself after it acknowledged it, a verification finds, or a restore,
    // which then changes nothing.
    for (operation, options, prefix) in [
        (Operation::Put, plain(2), ".chunks/"),
        (Operation::CompleteUpload, plain(16), ".chunks/"),
        (Operation::Put, quick(), "nightly/node1/"),
    ] {
        let s3 = S3::start().unwrap();
        let rule = Rule::new(&[operation], Act::FlipStored(100_000)).below(prefix).times(1);
        let hits = s3.script(rule);
        site.start(&bucket(&s3), options).wait().unwrap();
        assert_eq!(hits.count(), 1, "{prefix}");
        let problems = found_at(&site.store, &bucket(&s3), Level::Hashes);
        assert!(problems.len() == 1 && problems[0].contains(prefix), "{problems:?}");
        let (disk, target) = still_store();
        let before = durable_files(&disk);
        let backups = Backups::new(target.clone()).unwrap();
        let started = backups.restore(&bucket(&s3), "nightly", RestoreOptions::default());
        let error = started.and_then(|started| started.wait()).expect_err("it is spoilt");
        assert_error(&error, ErrorKind::Corrupt, &[prefix]);
        assert!(target.catalog().collections.is_empty());
        assert_unchanged(&disk, &before);
    }
}

#[test]
fn fault_07_a_part_that_fails_for_good_leaves_no_upload_behind() {
    let site = Site::filled(3500);
    for (code, name) in [(500, "InternalError"), (400, "InvalidRequest")] {
        let s3 = S3::start().unwrap();
        // Others are on their way while it fails; the first try to abort is refused.
        s3.script(Rule::new(&[Operation::PutPart], Act::Refuse(code, name)).after(2));
        let abort = Rule::new(&[Operation::AbortUpload], Act::Refuse(503, "SlowDown")).times(1);
        let aborts = s3.script(abort);
        let error = site.fails(&s3, &hasty_bucket(&s3), plain(16));
        assert_error(&error, ErrorKind::Unavailable, &[name, ".chunks/"]);
        assert_eq!(aborts.count(), 1);
        assert!(s3.open_uploads().is_empty(), "{:?}", s3.open_uploads());
        let seen = s3.seen();
        let aborted = |it: &&Seen| it.operation == Operation::AbortUpload && !refused(it);
        let abort = seen.iter().find(aborted).expect("the upload was aborted");
        let late = |it: &&Seen| {
            it.operation == Operation::PutPart && it.object == abort.object && it.at > abort.at
        };
        assert_eq!(seen.iter().filter(late).count(), 0, "no part comes after the abort");
        site.recovers(&s3);
    }
}

#[test]
fn fault_08_an_error_in_the_body_of_a_success_is_an_error() {
    let site = Site::filled(3500);
    let s3 = S3::start().unwrap();
    let rule = || Rule::new(&[Operation::CompleteUpload], Act::RefuseInBody("InternalError"));
    let hits = s3.script(rule().times(1));
    site.succeeds(&bucket(&s3), plain(16));
    assert_eq!(hits.count(), 1, "once is tried again");

    let s3 = S3::start().unwrap();
    s3.script(rule());
    let error = site.fails(&s3, &hasty_bucket(&s3), plain(16));
    assert_error(&error, ErrorKind::Unavailable, &["InternalError"]);
    assert!(s3.open_uploads().is_empty(), "{:?}", s3.open_uploads());
    site.recovers(&s3);
}

/// The texts of an error and all its causes.
fn all_of(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |it| it.source());
    causes.map(|cause| format!("{cause} {cause:?}\n")).collect()
}

#[test]
fn fault_29_credentials_that_end_fail_the_backup_and_stay_secret() {
    let site = Site::filled(2000);
    let refusals = [
        (403, "ExpiredToken"),
        (400, "ExpiredToken"),
        (401, "Unauthorized"),
        (403, "RequestTimeTooSkewed"),
        (403, "SignatureDoesNotMatch"),
    ];
    for (status, code) in refusals {
        let s3 = S3::start().unwrap();
        let backend = bucket(&s3);
        let hits = s3.script(Rule::new(&[], Act::Refuse(status, code)).after(15));
        let error = site.fails(&s3, &backend, quick());
        let text = format!("{}{:?}{backend:?}", all_of(&error), site.backups);
        let (said, bare) = (error.to_string(), format!("the answer was {status}"));
        assert!(said.contains(code) || said.contains(&bare), "{error}"); // `HEAD` has no body
        assert_ne!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(hits.count() >= 1 && !text.contains(CANARY), "{text}");
        site.recovers(&s3);
    }
    for file in files_below(site.folder.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        assert!(!found, "the secret is in {}", file.display());
    }
    // Keys that never were right are refused before anything is stored.
    let s3 = S3::start().unwrap();
    let mut wrong = config(&s3.url());
    wrong.credentials = keys("another-key");
    let backend: Arc<dyn Backend> = backend::open(&BackendConfig::S3(wrong)).unwrap();
    let error = site.backups.create(&backend, "nightly", quick()).expect_err("unknown key");
    assert_error(&error, ErrorKind::Denied, &["the answer was 403"]);
    assert!(s3.names().is_empty() && !all_of(&error).contains(CANARY));
    keys_of_a_role_are_renewed_half_way(&site);
}

/// Keys of a role that end while a backup runs are asked for anew, once; if there are no new ones, the
/// backup fails with that cause.
fn keys_of_a_role_are_renewed_half_way(site: &Site) {
    // They count as used up two minutes before they end: these can be used for a second or two.
    let short = Duration::from_secs(122);
    let keys = [("FIRST", short), ("SECOND", Duration::from_hours(1))];
    let mut options = plain(2);
    options.bytes_per_second_max = Some(2 << 20); // 8 MB: the backup takes longer than the keys
    let with_role = |agent: &Server| {
        let s3 = S3::start().unwrap();
        s3.accept_keys(&["FIRST", "SECOND"]);
        let mut with_role = config(&s3.url());
        let uri = format!("{}/credentials", agent.url());
        let variables = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)];
        with_role.credentials = S3Credentials::Search(variables.into_iter().collect());
        let backend = backend::open(&BackendConfig::S3(with_role)).unwrap();
        (s3, backend)
    };
    let agent = aws_container::serve_in_turn(&keys, "").unwrap();
    let (s3, backend) = with_role(&agent);
    let handle = site.start(&backend, options.clone());
    handle.wait().unwrap();
    assert_eq!(agent.seen().len(), 2, "one renewal");
    let seen = s3.seen();
    let signed_by = |key_id: &str| seen.iter().filter(|it| it.key_id == key_id).count();
    assert!(signed_by("FIRST") > 0 && signed_by("SECOND") > 0, "{seen:?}");
    assert!(!seen.iter().any(|it| it.status == Some(403)), "no request is refused: {seen:?}");
    site.check(&backend);

    let agent = aws_container::serve_in_turn(&keys, "").unwrap();
    let (s3, backend) = with_role(&agent);
    let handle = site.start(&backend, options);
    drop(agent);
    let error = handle.wait().expect_err("the keys have ended");
    let text = format!("{}{:?}{:?}", all_of(&error), handle.status(), site.backups);
    assert!(error.to_string().contains("cannot renew from container role"), "{error}");
    assert!(!text.contains("secret-of-") && !text.contains("session-of-"), "{text}");
    assert_eq!(handle.status().state, State::Failed);
    s3.accept_keys(&[KEY_ID]);
    site.recovers(&s3);
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|it| if it.is_dir() { files_below(&it) } else { vec![it] }).collect()
}

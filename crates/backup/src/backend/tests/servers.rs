//! Servers: our own stand-in for Google in this process, and whichever the environment names.
//!
//! `cargo xtask test backends` starts real servers and sets the variables that an operator would
//! set, and: `SILTSTONE_TEST_BACKEND` (the provider), `SILTSTONE_TEST_SERVER` (what to call it),
//! `SILTSTONE_TEST_CONDITIONS=ignored` and `SILTSTONE_TEST_SIGNATURES=unchecked` where the server
//! falls short.

use std::io::Write;

use siltstone_loopback::{
    Server, gcs,
    google_auth::{self, Identity},
};

use super::{
    super::{credentials::aws, *},
    suite::{self, Check, EXAMPLE, Subject, keys},
};
use crate::error::ErrorKind;

/// A root that only a client that encodes everything gets right.
const ODD_ROOT: &str = "odd root/a+b&c=d%25~'()!*,;@$#?/\u{e9}\u{6f22}";

/// A server, and what it is known to do.
struct Served {
    config: BackendConfig,
    conditions: Conditions,
    checks_signatures: bool,
}

const CHECKS: [Check<Served>; 8] = [
    Check::new("ask", it_says_who_asked),
    Check::new("names", odd_names_come_back),
    Check::new("roots", roots_do_not_see_each_other),
    Check::new("ages", objects_have_an_age),
    Check::new("wrong credentials", wrong_credentials_are_denied).unless(signatures_are_unchecked),
    Check::new("missing bucket", a_missing_bucket_is_named),
    Check::new("unreachable", a_port_that_nobody_serves_is_unavailable),
    Check::new("open uploads", aborts_leave_no_open_upload).unless(uploads_cannot_be_listed),
];

fn serve(name: &str, served: &Served) {
    let backend = open(&served.config).unwrap();
    let subject = Subject { backend, conditions: served.conditions };
    let mut outcomes = suite::run(&suite::CHECKS, &subject);
    outcomes.extend(suite::run(&CHECKS, served));
    suite::report(name, &outcomes);
}

/// The configuration with another root or another bucket.
fn changed(config: &BackendConfig, root: &str, bucket: Option<&str>) -> BackendConfig {
    let mut config = config.clone();
    let (own_root, own_bucket) = match &mut config {
        BackendConfig::S3(s3) => (&mut s3.root, &mut s3.bucket),
        BackendConfig::Gcs(gcs) => (&mut gcs.root, &mut gcs.bucket),
        BackendConfig::Azure(azure) => (&mut azure.root, &mut azure.container),
        other => panic!("{other:?} is no server"),
    };
    root.clone_into(own_root);
    if let Some(bucket) = bucket {
        bucket.clone_into(own_bucket);
    }
    config
}

fn it_says_who_asked(served: &Served) {
    let answer = ask(&served.config).unwrap();
    answer.reached.expect("it answers");
    assert!(answer.credentials.is_some_and(|who| !who.is_empty()));
}

fn odd_names_come_back(served: &Served) {
    let backend = open(&changed(&served.config, ODD_ROOT, None)).unwrap();
    backend.put(EXAMPLE, Bytes::from_static(b"odd"), PutMode::NoReplace).unwrap();
    assert_eq!(&backend.get(EXAMPLE, 10).unwrap()[..], b"odd");
    let mut writer = backend.writer("a/large").unwrap();
    writer.write(Bytes::from(vec![3; PART_BYTES + 1])).unwrap();
    writer.finish().unwrap();
    let names: Vec<String> =
        backend.list("", Depth::All).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [EXAMPLE, "a/large"]);
    for name in names {
        backend.delete(&name).unwrap();
    }
    assert!(backend.list("", Depth::All).unwrap().is_empty());
}

fn roots_do_not_see_each_other(served: &Served) {
    let [near, far] =
        ["roots/a", "roots/ab"].map(|root| open(&changed(&served.config, root, None)).unwrap());
    far.put(EXAMPLE, Bytes::from_static(b"x"), PutMode::Replace).unwrap();
    assert!(near.list("", Depth::All).unwrap().is_empty());
    assert_eq!(near.stat(EXAMPLE).unwrap(), None);
    assert_ne!(near.describe(), far.describe());
    far.delete(EXAMPLE).unwrap();
}

fn objects_have_an_age(served: &Served) {
    let backend = open(&served.config).unwrap();
    backend.put(EXAMPLE, Bytes::from_static(b"x"), PutMode::Replace).unwrap();
    let stated = backend.stat(EXAMPLE).unwrap().expect("there").modified.expect("an age");
    let listed = backend.list("a/", Depth::All).unwrap()[0].modified.expect("an age");
    let apart = stated.abs_diff(listed);
    assert!(apart < Duration::from_secs(2), "{stated:?} {listed:?}");
    assert!(stated > Duration::from_hours(24 * 365 * 50), "{stated:?} since 1970");
    backend.delete(EXAMPLE).unwrap();
}

fn signatures_are_unchecked(served: &Served) -> Option<&'static str> {
    (!served.checks_signatures).then_some("it checks no signatures")
}

fn wrong_credentials_are_denied(served: &Served) {
    let mut config = served.config.clone();
    match &mut config {
        BackendConfig::S3(s3) => s3.credentials = keys("nobody", "hunter2"),
        BackendConfig::Gcs(gcs) => gcs.anonymous = true,
        BackendConfig::Azure(azure) => {
            let AzureAccount::ConnectionString(text) = &azure.account else { panic!("a string") };
            let (before, rest) = text.expose().split_once("AccountKey=").expect("a key");
            let after = rest.split_once(';').map_or("", |(_, after)| after);
            let wrong = format!("{before}AccountKey=aHVudGVyMg==;{after}");
            azure.account = AzureAccount::ConnectionString(Secret::new(wrong));
        }
        other => panic!("{other:?} is no server"),
    }
    let backend = open(&config).unwrap();
    let put = backend.put(EXAMPLE, Bytes::from_static(b"x"), PutMode::Replace);
    for error in [put.expect_err("denied"), backend.get(EXAMPLE, 10).expect_err("denied")] {
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let text = error.to_string();
        assert!(text.contains("check the credentials") && text.len() < 600, "{text}");
        for secret in ["hunter2", "aHVudGVyMg", "Signature="] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

fn a_missing_bucket_is_named(served: &Served) {
    let backend = open(&changed(&served.config, "", Some("no-such-bucket-here"))).unwrap();
    let errors = [
        backend.put(EXAMPLE, Bytes::from_static(b"x"), PutMode::Replace).expect_err("no bucket"),
        backend.conditions().expect_err("no bucket"),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let text = error.to_string();
        assert!(text.contains("no-such-bucket-here") && text.len() < 600, "{text}");
    }
}

fn a_port_that_nobody_serves_is_unavailable(served: &Served) {
    let nobody = "http://127.0.0.1:1";
    let mut config = served.config.clone();
    match &mut config {
        BackendConfig::S3(s3) => nobody.clone_into(&mut s3.endpoint),
        BackendConfig::Gcs(gcs) => nobody.clone_into(&mut gcs.endpoint),
        BackendConfig::Azure(azure) => {
            let text = format!("AccountName=a;AccountKey=aGk=;BlobEndpoint={nobody}/a");
            azure.account = AzureAccount::ConnectionString(Secret::new(text));
        }
        other => panic!("{other:?} is no server"),
    }
    let error = ask(&config).unwrap().reached.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().len() < 600, "{error}");
}

fn uploads_cannot_be_listed(served: &Served) -> Option<&'static str> {
    match served.config {
        BackendConfig::Azure(_) => Some("blocks without a blob go by themselves"),
        BackendConfig::Gcs(_) => Some("its requests are counted instead"),
        _ => None,
    }
}

fn aborts_leave_no_open_upload(served: &Served) {
    let BackendConfig::S3(s3) = &served.config else { panic!("skipped elsewhere") };
    let backend = open(&served.config).unwrap();
    let mut writer = backend.writer(EXAMPLE).unwrap();
    for _ in 0..3 {
        writer.write(Bytes::from(vec![7; PART_BYTES])).unwrap();
    }
    let open_ones = || door::open_uploads(s3).matches("<UploadId>").count();
    assert_eq!(open_ones(), 1, "the upload is on its way");
    writer.abort().unwrap();
    assert_eq!(open_ones(), 0, "nothing is left to pay for");
}

/// Our stand-in for Google, which wants the token that the account of this machine gets.
fn google() -> (Server, Server, GcsConfig) {
    let identity =
        Identity { proof: String::new(), access_token: "token-of-the-machine".to_owned() };
    let storage = gcs::serve(0, &["birds"], Some(&identity.access_token)).unwrap();
    let accounts = google_auth::serve(identity).unwrap();
    let config = GcsConfig {
        bucket: "birds".to_owned(),
        root: "conformance".to_owned(),
        endpoint: storage.url(),
        anonymous: false,
        environment: Environment::from_iter([("GCE_METADATA_HOST", accounts.host())]),
    };
    (storage, accounts, config)
}

#[test]
fn gcs_conforms() {
    let (storage, _accounts, config) = google();
    let config = BackendConfig::Gcs(config);
    let conditions = Conditions::Enforced;
    serve("gcs (stand-in)", &Served { config, conditions, checks_signatures: true });
    // Uploads that are given up are ended, not only forgotten.
    let begun = storage.seen().iter().filter(|seen| seen.line.ends_with("?uploads")).count();
    let ended = |seen: &&siltstone_loopback::Seen| {
        let is_end = seen.line.starts_with("POST ") || seen.line.starts_with("DELETE ");
        is_end && seen.line.contains("?uploadId=")
    };
    assert!(begun > 3);
    assert_eq!(storage.seen().iter().filter(ended).count(), begun);
}

#[test]
fn a_server_of_the_environment_conforms() {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(provider) = read("SILTSTONE_TEST_BACKEND") else {
        let skipped = "SKIPPED: conformance of real servers; run cargo xtask test backends";
        writeln!(std::io::stderr(), "{skipped}").unwrap(); // past the capture of the test runner
        return;
    };
    let settings = Settings::from_env(read);
    let root = format!("conformance-{}", std::process::id());
    let place = Place::default().with_path(root);
    let config = settings.config(provider.parse().unwrap(), &place).unwrap();
    let conditions = match read("SILTSTONE_TEST_CONDITIONS").as_deref() {
        Some("ignored") => Conditions::Ignored,
        _ => Conditions::Enforced,
    };
    let checks_signatures = read("SILTSTONE_TEST_SIGNATURES").as_deref() != Some("unchecked");
    let name = read("SILTSTONE_TEST_SERVER").unwrap_or(provider);
    serve(&name, &Served { config, conditions, checks_signatures });
}

#[test]
fn a_key_in_the_variables_of_azure_must_be_base64() {
    let account = AzureAccount::Named { name: "a".to_owned(), key: Some(Secret::new("hunter2!")) };
    let config = AzureConfig { container: "c".to_owned(), root: String::new(), account };
    let error = open(&BackendConfig::Azure(config)).expect_err("no base64");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let account = AzureAccount::ConnectionString(Secret::new("hunter2;AccountKey=hunter2"));
    let config = AzureConfig { container: "c".to_owned(), root: String::new(), account };
    let error = open(&BackendConfig::Azure(config)).expect_err("no string");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn a_search_for_credentials_is_not_run_by_opening() {
    // Nothing is asked, so that a store starts whatever is wrong with its backends.
    let chain = aws::chain(&S3Config { bucket: "b".to_owned(), ..S3Config::default() });
    assert!(chain.search().winner().is_none());
}

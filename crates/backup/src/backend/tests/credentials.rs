//! Every source of credentials, against a server of ours that checks what the real one checks.

use std::{net::TcpListener, path::Path, time::Instant};

use jiff::SignedDuration;
use siltstone_loopback::{
    Server, aws_container, aws_metadata,
    aws_sts::{self, Role},
    gcs,
    google_auth::{self, Identity},
    recorder,
};

use super::super::*;
use crate::error::ErrorKind;

type Pairs<'a> = Vec<(&'a str, String)>;

fn s3(endpoint: &str, pairs: &Pairs<'_>) -> BackendConfig {
    let credentials = S3Credentials::Search(pairs.iter().cloned().collect());
    let (bucket, endpoint) = ("b".to_owned(), endpoint.to_owned());
    BackendConfig::S3(S3Config { bucket, endpoint, credentials, ..S3Config::default() })
}

/// Who won, as the backend tells it; and the key id with which the request was signed.
fn winner(storage: &Server, pairs: &Pairs<'_>) -> (String, String) {
    let answer = ask(&s3(&storage.url(), pairs)).unwrap();
    answer.reached.expect("a missing object is an answer");
    let seen = storage.seen().pop().expect("the store was asked");
    let key_id = seen.authorization.split("Credential=").nth(1).expect("signed");
    let key_id = key_id.split('/').next().unwrap().to_owned();
    let is_session = seen.session_token == format!("session-of-{key_id}");
    assert_eq!(is_session, !key_id.starts_with("KEY"), "roles come with the token of a session");
    (answer.credentials.expect("somebody won"), key_id)
}

fn storage() -> Server {
    recorder::serve(404).unwrap()
}

fn no_metadata() -> (&'static str, String) {
    ("AWS_EC2_METADATA_DISABLED", "true".to_owned())
}

fn some_keys() -> Pairs<'static> {
    vec![("AWS_ACCESS_KEY_ID", "KEYS".to_owned()), ("AWS_SECRET_ACCESS_KEY", "hunter2".to_owned())]
}

/// A service that gives keys to a web identity, and the variables that lead there.
fn web_identity(folder: &Path, valid: SignedDuration) -> (Server, Pairs<'static>) {
    let arn = "arn:aws:iam::123456789012:role/backups".to_owned();
    let role = Role {
        arn: arn.clone(),
        token: "token-of-the-pod".to_owned(),
        key_id: "WEB".to_owned(),
        valid,
    };
    let (sts, file) = (aws_sts::serve(role).unwrap(), folder.join("token"));
    std::fs::write(&file, "token-of-the-pod\n").unwrap();
    let pairs = vec![
        ("AWS_ROLE_ARN", arn),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.display().to_string()),
        ("AWS_ENDPOINT_URL_STS", sts.url()),
    ];
    (sts, pairs)
}

#[test]
fn a_web_identity_wins_over_keys() {
    let (home, storage) = (tempfile::tempdir().unwrap(), storage());
    let (_sts, mut pairs) = web_identity(home.path(), SignedDuration::from_hours(1));
    pairs.extend(some_keys());
    let (who, key_id) = winner(&storage, &pairs);
    assert_eq!(who, "web identity (arn:aws:iam::123456789012:role/backups)");
    assert_eq!(key_id, "WEB");
}

#[test]
fn a_container_role_wins_over_keys_and_shows_its_token() {
    let (home, storage) = (tempfile::tempdir().unwrap(), storage());
    let file = home.path().join("authorization");
    std::fs::write(&file, "of-the-task\n").unwrap();
    for token in [
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-the-task".to_owned()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.display().to_string()),
    ] {
        let agent = aws_container::serve("CONTAINER", "of-the-task").unwrap();
        let address = format!("{}/credentials", agent.url());
        let mut pairs = some_keys();
        pairs.extend([("AWS_CONTAINER_CREDENTIALS_FULL_URI", address), token]);
        let (who, key_id) = winner(&storage, &pairs);
        assert_eq!((who.as_str(), key_id.as_str()), ("container role", "CONTAINER"));
    }
}

#[test]
fn an_instance_role_is_used_where_nothing_else_is() {
    let storage = storage();
    let metadata = aws_metadata::serve("backups", "INSTANCE").unwrap();
    let pairs = vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url())];
    let (who, key_id) = winner(&storage, &pairs);
    assert_eq!((who.as_str(), key_id.as_str()), ("instance role", "INSTANCE"));
    assert!(metadata.seen()[0].line.starts_with("PUT /latest/api/token"), "version 2");
}

#[test]
fn an_instance_role_is_not_asked_when_disabled_or_when_keys_are_for_another_store() {
    let storage = storage();
    let metadata = aws_metadata::serve("backups", "INSTANCE").unwrap();
    let mut pairs = some_keys();
    pairs.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url()));
    let (who, key_id) = winner(&storage, &pairs); // the endpoint is not AWS
    assert_eq!((who.as_str(), key_id.as_str()), ("access keys (KEYS)", "KEYS"));
    let pairs = vec![no_metadata(), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url())];
    let error = ask(&s3(&storage.url(), &pairs)).unwrap().reached.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("AWS_ACCESS_KEY_ID"), "{error}");
    assert!(metadata.seen().is_empty(), "{:?}", metadata.seen());
}

#[test]
fn on_aws_itself_an_instance_role_comes_before_keys() {
    let mut config = S3Config { bucket: "b".to_owned(), ..S3Config::default() };
    config.credentials = S3Credentials::Search(some_keys().into_iter().collect());
    let names = |config: &S3Config| format!("{:?}", credentials::aws::chain(config));
    assert_eq!(
        names(&config),
        r#"["instance role", "access keys (KEYS)", "shared credentials file"]"#
    );
    "minio:9000".clone_into(&mut config.endpoint);
    assert_eq!(names(&config), r#"["access keys (KEYS)", "shared credentials file"]"#);
}

#[test]
fn both_spellings_of_keys_and_the_shared_file_work() {
    let (home, storage) = (tempfile::tempdir().unwrap(), storage());
    let others = vec![
        ("AWS_ACCESS_KEY", "KEY2".to_owned()),
        ("AWS_SECRET_KEY", "hunter2".to_owned()),
        no_metadata(),
    ];
    assert_eq!(winner(&storage, &others).1, "KEY2");
    let file = home.path().join("credentials");
    let text = "[default]\naws_access_key_id = KEY3\naws_secret_access_key = hunter2\n";
    std::fs::write(&file, text).unwrap();
    let shared = vec![("AWS_SHARED_CREDENTIALS_FILE", file.display().to_string()), no_metadata()];
    assert_eq!(winner(&storage, &shared).1, "KEY3");
}

#[test]
fn a_role_that_is_refused_or_silent_gives_way_to_keys() {
    let (home, storage) = (tempfile::tempdir().unwrap(), storage());
    let (_sts, mut pairs) = web_identity(home.path(), SignedDuration::from_hours(1));
    pairs[0].1 = "arn:aws:iam::123456789012:role/other".to_owned();
    let refused = ask(&s3(&storage.url(), &pairs)).unwrap();
    let text = refused.reached.expect_err("nobody else").to_string();
    assert!(text.contains("AccessDenied") && !text.contains("token-of-the-pod"), "{text}");
    pairs.extend(some_keys());
    assert_eq!(winner(&storage, &pairs).1, "KEYS");

    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // takes connections, says nothing
    let address = format!("http://{}/credentials", silent.local_addr().unwrap());
    let mut pairs = some_keys();
    pairs.push(("AWS_CONTAINER_CREDENTIALS_FULL_URI", address));
    #[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
    let started = Instant::now();
    assert_eq!(winner(&storage, &pairs).1, "KEYS");
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn keys_are_renewed_before_they_end_and_by_the_same_source() {
    let (home, storage) = (tempfile::tempdir().unwrap(), storage());
    // Valid for less than what is held ready, so every request renews.
    let (sts, mut pairs) = web_identity(home.path(), SignedDuration::from_secs(90));
    pairs.extend(some_keys());
    let backend = open(&s3(&storage.url(), &pairs)).unwrap();
    for _ in 0..3 {
        assert_eq!(backend.stat("x").unwrap(), None);
    }
    assert_eq!(sts.seen().len(), 3);
    drop(sts);
    let error = backend.stat("x").expect_err("who it was cannot be renewed");
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("cannot renew from web identity"), "{error}");
    let signers = storage.seen();
    assert!(signers.iter().all(|seen| seen.authorization.contains("Credential=WEB/")));
}

/// Asks a bucket that wants `token` with what the variables lead to.
fn google(token: &str, pairs: Pairs<'_>) -> Answer {
    let storage = gcs::serve(0, &["b"], Some(token)).unwrap();
    let config = GcsConfig {
        bucket: "b".to_owned(),
        endpoint: storage.url(),
        environment: pairs.into_iter().collect(),
        ..GcsConfig::default()
    };
    ask(&BackendConfig::Gcs(config)).unwrap()
}

fn accounts(proof: &str) -> Server {
    let (proof, access_token) = (proof.to_owned(), "granted".to_owned());
    google_auth::serve(Identity { proof, access_token }).unwrap()
}

fn reached(answer: Answer) -> String {
    answer.reached.expect("a missing object is an answer");
    answer.credentials.expect("somebody won")
}

#[test]
fn the_account_of_a_machine_is_used_where_there_is_no_file() {
    let metadata = accounts("");
    let who = reached(google("granted", vec![("GCE_METADATA_HOST", metadata.host())]));
    assert_eq!(who, "attached account");
}

#[test]
fn a_workload_identity_file_is_exchanged() {
    let (home, exchange) = (tempfile::tempdir().unwrap(), accounts("token-of-the-pod"));
    let (token, file) = (home.path().join("token"), home.path().join("workload.json"));
    std::fs::write(&token, "token-of-the-pod").unwrap();
    let json = serde_json::json!({
        "type": "external_account", "audience": "//iam.googleapis.com/pools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("{}/exchange", exchange.url()),
        "credential_source": { "file": token.display().to_string() },
    });
    std::fs::write(&file, json.to_string()).unwrap();
    let path = file.display().to_string();
    let pairs = || vec![("GOOGLE_APPLICATION_CREDENTIALS", path.clone())];
    assert_eq!(
        reached(google("granted", pairs())),
        format!("GOOGLE_APPLICATION_CREDENTIALS ({path})")
    );
    std::fs::write(&token, "token-of-somebody").unwrap();
    let refused = google("granted", pairs()).reached.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::Denied);
    assert!(!refused.to_string().contains("token-of-somebody"), "{refused}");
}

#[test]
fn the_users_credentials_of_gcloud_are_found_and_exchanged() {
    let (home, tokens) = (tempfile::tempdir().unwrap(), accounts("refresh-me"));
    let json = serde_json::json!({
        "type": "authorized_user", "client_id": "id", "client_secret": "hunter2",
        "refresh_token": "refresh-me", "token_uri": format!("{}/token", tokens.url()),
    });
    let folder = home.path().join("gcloud");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("application_default_credentials.json"), json.to_string()).unwrap();
    let pairs = vec![("XDG_CONFIG_HOME", home.path().display().to_string())];
    assert!(reached(google("granted", pairs)).starts_with("gcloud ("));
}

#[test]
fn a_file_that_is_named_and_missing_is_an_error_that_names_it() {
    let pairs = vec![("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json".to_owned())];
    let error = google("granted", pairs).reached.expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::Denied);
    let text = error.to_string();
    assert!(text.contains("GOOGLE_APPLICATION_CREDENTIALS") && text.contains("/no/such"), "{text}");
}

#[test]
fn a_wrong_token_is_denied() {
    let metadata = accounts("");
    let answer = google("another", vec![("GCE_METADATA_HOST", metadata.host())]);
    let error = answer.reached.expect_err("401");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("granted"), "{error}");
}

//! The variables, one after the other.

use super::*;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let pairs: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Settings::from_env(|name| pairs.get(name).cloned())
}

fn config(provider: Provider, pairs: &[(&str, &str)]) -> BackendConfig {
    settings(pairs).config(provider, &Place::default()).expect("configured")
}

fn refusal(provider: Provider, pairs: &[(&str, &str)]) -> String {
    let error = settings(pairs).config(provider, &Place::default()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.to_string()
}

#[test]
fn a_missing_variable_is_named() {
    let account = [("BACKUP_AZURE_CONTAINER", "c")];
    for (provider, pairs, variables) in [
        (Provider::Filesystem, &[][..], &["BACKUP_FILESYSTEM_PATH"][..]),
        (Provider::S3, &[], &["BACKUP_S3_BUCKET"]),
        (Provider::Gcs, &[], &["BACKUP_GCS_BUCKET"]),
        (Provider::Azure, &[], &["BACKUP_AZURE_CONTAINER"]),
        (Provider::Azure, &account, &["AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT"]),
    ] {
        let text = refusal(provider, pairs);
        assert!(text.contains(&format!("'{provider}'")), "{text}");
        for variable in variables {
            assert!(text.contains(&format!("'{variable}'")), "{variable}: {text}");
        }
    }
}

#[test]
fn an_empty_variable_is_a_missing_one() {
    assert!(refusal(Provider::S3, &[("BACKUP_S3_BUCKET", "")]).contains("must be set"));
}

#[test]
fn the_folder_must_be_absolute() {
    let text = refusal(Provider::Filesystem, &[("BACKUP_FILESYSTEM_PATH", "backups")]);
    assert!(text.contains("BACKUP_FILESYSTEM_PATH 'backups' is relative"), "{text}");
    let BackendConfig::Folder(folder) =
        config(Provider::Filesystem, &[("BACKUP_FILESYSTEM_PATH", "/var/backups")])
    else {
        panic!("a folder")
    };
    assert_eq!(folder, PathBuf::from("/var/backups"));
}

#[test]
fn s3_reads_its_variables() {
    let s3 = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = [("BACKUP_S3_BUCKET", "b")].iter().chain(pairs).copied().collect();
        match config(Provider::S3, &pairs) {
            BackendConfig::S3(config) => config,
            other => panic!("{other:?}"),
        }
    };
    let plain = s3(&[]);
    assert_eq!(plain.endpoint_url(), "https://s3.amazonaws.com");
    assert_eq!((plain.region_or_default(), plain.root.as_str()), ("us-east-1", ""));
    assert_eq!(s3(&[("AWS_DEFAULT_REGION", "eu-west-1")]).region, "eu-west-1");
    let both = s3(&[("AWS_DEFAULT_REGION", "eu-west-1"), ("AWS_REGION", "eu-north-1")]);
    assert_eq!(both.region, "eu-north-1");
    let minio = s3(&[("BACKUP_S3_ENDPOINT", "minio:9000"), ("BACKUP_S3_USE_SSL", "false")]);
    assert_eq!(minio.endpoint_url(), "http://minio:9000");
    assert_eq!(s3(&[("BACKUP_S3_ENDPOINT", "minio:9000")]).endpoint_url(), "https://minio:9000");
    assert_eq!(s3(&[("BACKUP_S3_PATH", "/a/b/")]).root, "a/b");
    assert_eq!(s3(&[("BACKUP_S3_VIRTUAL_HOST", "true")]).virtual_host, Some(true));
}

#[test]
fn what_cannot_be_is_wrong_with_its_name_and_without_its_secrets() {
    for (variable, value) in [
        ("BACKUP_S3_PATH", "../elsewhere"),
        ("BACKUP_S3_ENDPOINT", "https://user:hunter2@host"),
        ("BACKUP_S3_ENDPOINT", "ftp://host"),
        ("BACKUP_S3_VIRTUAL_HOST", "maybe"),
    ] {
        let text = refusal(Provider::S3, &[("BACKUP_S3_BUCKET", "b"), (variable, value)]);
        assert!(text.contains(variable) && !text.contains("hunter2"), "{text}");
    }
    let emulator = [("BACKUP_GCS_BUCKET", "b"), ("STORAGE_EMULATOR_HOST", "http://h?x=y")];
    assert!(refusal(Provider::Gcs, &emulator).contains("STORAGE_EMULATOR_HOST"));
}

#[test]
fn gcs_reads_its_variables() {
    let pairs = [
        ("BACKUP_GCS_BUCKET", "b"),
        ("BACKUP_GCS_PATH", "p"),
        ("BACKUP_GCS_USE_AUTH", "false"),
        ("STORAGE_EMULATOR_HOST", "localhost:4443"),
        ("GCP_PROJECT", "third"),
        ("GCLOUD_PROJECT", "second"),
    ];
    let BackendConfig::Gcs(gcs) = config(Provider::Gcs, &pairs) else { panic!("a bucket") };
    assert_eq!((gcs.root.as_str(), gcs.anonymous), ("p", true));
    assert_eq!(gcs.endpoint_url(), "http://localhost:4443");
    assert_eq!(settings(&pairs).project(), Some("second"));
}

#[test]
fn azure_takes_the_connection_string_first_and_an_empty_key_as_anonymous() {
    let azure = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> =
            [("BACKUP_AZURE_CONTAINER", "c")].iter().chain(pairs).copied().collect();
        match config(Provider::Azure, &pairs) {
            BackendConfig::Azure(config) => config.account,
            other => panic!("{other:?}"),
        }
    };
    let string = ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=one;AccountKey=aGk=");
    let account = ("AZURE_STORAGE_ACCOUNT", "two");
    assert_eq!(azure(&[account, string]).name(), "one");
    let keyed = azure(&[account, ("AZURE_STORAGE_KEY", "aGk=")]);
    assert_eq!((keyed.name().as_str(), keyed.credentials()), ("two", "account key"));
    assert_eq!(azure(&[account, ("AZURE_STORAGE_KEY", "")]).credentials(), "none (anonymous)");
}

#[test]
fn one_wrong_backend_leaves_the_others_alone() {
    let settings = settings(&[
        ("BACKUP_FILESYSTEM_PATH", "relative"),
        ("BACKUP_S3_BUCKET", "b"),
        ("BACKUP_AZURE_CONTAINER", "c"),
    ]);
    let is_ready = |provider| settings.config(provider, &Place::default()).is_ok();
    assert!(!is_ready(Provider::Filesystem) && is_ready(Provider::S3));
    assert!(!is_ready(Provider::Gcs) && !is_ready(Provider::Azure));
    assert!(settings.is_meant(Provider::Azure) && !settings.is_meant(Provider::Gcs));
}

#[test]
fn modules_choose_providers_and_unknown_names_are_warned_of() {
    let pairs = [
        ("ENABLE_MODULES", "backup-s3, text2vec-cohere,backup-tape"),
        ("BACKUP_S3_BUCKET", "b"),
        ("BACKUP_FILESYSTEM_PATH", "/b"),
    ];
    let settings = settings(&pairs);
    assert!(settings.config(Provider::S3, &Place::default()).is_ok());
    let text = refusal(Provider::Filesystem, &pairs);
    assert!(text.contains("add backup-filesystem to ENABLE_MODULES"), "{text}");
    let warned = settings.warnings().join("\n");
    assert!(warned.contains("text2vec-cohere") && warned.contains("backup-tape"), "{warned}");
}

#[test]
fn a_request_may_name_a_prefix_and_a_listed_bucket() {
    let settings = settings(&[
        ("BACKUP_S3_BUCKET", "b"),
        ("BACKUP_S3_PATH", "usual"),
        ("BACKUP_ALLOWED_BUCKETS", "other, third"),
        ("BACKUP_FILESYSTEM_PATH", "/var/backups"),
    ]);
    let at = |place: &Place| match settings.config(Provider::S3, place)? {
        BackendConfig::S3(config) => Ok((config.bucket, config.root)),
        other => panic!("{other:?}"),
    };
    let place = Place::default;
    let pair = |bucket: &str, root: &str| (bucket.to_owned(), root.to_owned());
    assert_eq!(at(&place()).unwrap(), pair("b", "usual"));
    assert_eq!(at(&place().with_path("any/where")).unwrap(), pair("b", "any/where"));
    assert_eq!(at(&place().with_bucket("third")).unwrap(), pair("third", "usual"));
    for (place, word) in [
        (place().with_bucket("fourth"), "BACKUP_ALLOWED_BUCKETS"),
        (place().with_path("a/../b"), "dots"),
    ] {
        let error: Error = at(&place).expect_err("not allowed");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(word), "{error}");
    }
    let error = settings.config(Provider::Filesystem, &place().with_bucket("b"));
    assert!(error.expect_err("no buckets").to_string().contains("no bucket"));
}

#[test]
fn the_name_of_a_provider_is_its_way_back() {
    for provider in Provider::ALL {
        assert_eq!(provider.as_str().parse::<Provider>().unwrap(), provider);
    }
    let error = "tape".parse::<Provider>().expect_err("unknown");
    assert!(error.to_string().contains("'filesystem', 's3', 'gcs', 'azure'"), "{error}");
}

//! Small protocols, right and wrong: the right one survives every crash, and every wrong one is
//! caught, both by a crash and by the check wrapper.

use super::*;
use crate::{
    check::{CheckDisk, Record, RecordReader},
    disk::Rename,
};

/// A way to replace the content of `CURRENT` in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Right,
    WithoutSync,
    WithoutSyncOfTheFolder,
    InPlace,
}

fn replace(disk: &dyn Disk, content: &[u8], way: Way) -> Result<()> {
    if way == Way::InPlace {
        let log = disk.open_log(&path("CURRENT"))?;
        write_all_at(&*log, 0, &[content])?;
        return log.sync();
    }
    let next = disk.create_log(&path("next"))?;
    write_all_at(&*next, 0, &[content])?;
    if way != Way::WithoutSync {
        next.sync()?;
    }
    disk.rename(&path("next"), &path("CURRENT"), Rename::Replace)?;
    if way != Way::WithoutSyncOfTheFolder {
        disk.sync_dir(&RelPath::root())?;
    }
    Ok(())
}

fn old() -> Vec<u8> {
    vec![1; 2000]
}

fn new() -> Vec<u8> {
    vec![2; 2000]
}

/// How many crashes leave a `CURRENT` that is neither old nor new, or is old after success.
fn losses(way: Way) -> u64 {
    let start = SimDisk::new(1);
    start.write_file("CURRENT", &old()).unwrap();
    let mut lost = 0;
    let visited = Explorer::new(&start, 9).run(
        |disk| replace(disk, &new(), way).is_ok(),
        |left, acknowledged, moment| {
            let found = left.read_file("CURRENT").unwrap_or_default();
            let right = found == new() || (!acknowledged && found == old());
            lost += u64::from(!right);
            assert!(way != Way::Right || right, "{moment}");
            assert!(moment.finished || !acknowledged);
        },
    );
    assert!(visited >= 13 * 3, "every step was a stop");
    lost
}

#[test]
fn only_the_right_replacement_survives_every_crash() {
    assert_eq!(losses(Way::Right), 0);
    for way in [Way::WithoutSync, Way::WithoutSyncOfTheFolder, Way::InPlace] {
        assert!(losses(way) > 0, "{way:?} must be caught");
    }
}

#[test]
fn the_check_wrapper_needs_no_crash_to_see_a_missing_sync() {
    let disk = CheckDisk::new(Arc::new(SimDisk::new(1)));
    replace(&disk, &new(), Way::Right).unwrap();
    disk.expect_durable(&path("CURRENT"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        replace(&disk, &old(), Way::WithoutSync)
    }));
    assert!(caught.is_err());
    assert_eq!(disk.violations().len(), 1);
}

/// `log` holds numbers, one a sector, and is the only record; the numbers name files.
#[derive(Debug)]
struct Numbers;

impl RecordReader for Numbers {
    fn read(&self, path: &RelPath, disk: &dyn Disk) -> Option<Record> {
        if path.as_str() != "log" {
            return None;
        }
        let numbers = numbers(disk).ok()?;
        let files = numbers.into_iter().map(|number| RelPath::new(format!("file-{number}")));
        Some(files.flatten().fold(Record::root(), Record::needs))
    }
}

fn numbers(disk: &dyn Disk) -> Result<Vec<u8>> {
    let log = disk.open_log(&path("log"))?;
    let mut bytes = vec![0; 8 * 512];
    let len = read_up_to(&*log, 0, &mut bytes)?;
    let firsts = bytes[..len].chunks(512).map(|sector| sector[0]);
    Ok(firsts.take_while(|&number| number != 0).collect())
}

/// Adds files one by one, each named by the log once it is durable; returns how many are.
fn add_files(disk: &dyn Disk) -> u8 {
    let add = |number: u8| -> Result<()> {
        let mut stream = disk.create_stream(&path(&format!("file-{number}")), 600)?;
        stream.write(&[number; 600])?;
        stream.finish()?;
        disk.sync_dir(&RelPath::root())?;
        let log = disk.open_log(&path("log"))?;
        write_all_at(&*log, u64::from(number - 1) * 512, &[&[number; 512]])?;
        log.sync()
    };
    let first = numbers(disk).map_or(1, |numbers| numbers.len() + 1);
    let mut done = 0;
    for number in u8::try_from(first).unwrap()..=3 {
        if add(number).is_err() {
            break;
        }
        done = number;
    }
    done
}

/// Removes what the log does not name, but only once the log is surely on the device.
fn recover(disk: &dyn Disk) -> Result<Vec<u8>> {
    disk.open_log(&path("log"))?.sync()?;
    let known = numbers(disk)?;
    for entry in disk.list(&RelPath::root())? {
        let number = entry.name.strip_prefix("file-").and_then(|number| number.parse().ok());
        if number.is_some_and(|number: u8| !known.contains(&number)) {
            disk.remove(&path(&entry.name))?;
        }
    }
    disk.sync_dir(&RelPath::root())?;
    Ok(known)
}

fn assert_recovered(disk: &SimDisk, acknowledged: u8, moment: Moment) {
    let known = recover(disk).unwrap();
    assert!(known.len() >= usize::from(acknowledged), "{moment}: {known:?} of {acknowledged}");
    assert_eq!(known, (1..=3).take(known.len()).collect::<Vec<u8>>(), "{moment}: a prefix");
    for number in known {
        let bytes = disk.read_file(&format!("file-{number}"));
        assert_eq!(bytes, Some(vec![number; 600]), "{moment}");
    }
}

#[test]
fn a_second_crash_during_recovery_loses_nothing_either() {
    let start = SimDisk::new(3);
    start.write_file("log", b"").unwrap();
    let mut second = 0;
    let first = Explorer::new(&start, 5).run(
        |disk| add_files(disk),
        |left, &acknowledged, moment| {
            assert_recovered(&left.fork(), acknowledged, moment);
            second += Explorer::new(left, 6).stops_max(8).run(
                |disk| recover(disk).is_ok(),
                |left, _, moment| assert_recovered(left, acknowledged, moment),
            );
        },
    );
    assert!(first > 200 && second > 5000, "{first} crashes, {second} second crashes");
}

#[test]
fn the_right_order_of_files_and_log_satisfies_the_check_wrapper() {
    let sim = SimDisk::new(3);
    sim.write_file("log", b"").unwrap();
    let disk = CheckDisk::with_reader(Arc::new(sim.clone()), Arc::new(Numbers), &[path("log")]);
    assert_eq!(add_files(&disk), 3);
    recover(&disk).unwrap();
    assert_eq!((sim.paths().len(), disk.violations().len()), (4, 0));
}

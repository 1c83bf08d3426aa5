//! What a backup and a restore take of the processors. A program of its own, since it measures the
//! processor time of the whole process.

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Arc, thread, time::Duration};

    use siltstone_backup::{
        api::Backups,
        backend::{self, Backend, BackendConfig},
        handle::Handle,
        options::{Compression, CreateOptions, RestoreOptions},
        state::State,
    };
    use siltstone_io::env::{Clock, SystemClock};
    use siltstone_lsm::{
        options::{Durability, Options},
        store::Store,
    };

    /// Rows of 64 KiB, of which every second compresses.
    const ROWS: u32 = 1200;

    const VALUE_BYTES: usize = 64 << 10;

    /// What each of the threads may use in the one step that it is in, together.
    const STEPS: Duration = Duration::from_millis(150);

    /// One tenant whose rows are one segment.
    fn store(folder: &Path) -> Store {
        let mut options = Options::default();
        options.segment_bytes_max = 1 << 30;
        options.memtable_bytes_max = 1 << 28;
        let store = Store::open(folder, options).unwrap();
        let tree = store.create_collection("one").unwrap();
        let mut state = 1_u64;
        for row in 0..ROWS {
            let mut value = vec![b'.'; VALUE_BYTES];
            if row % 2 == 0 {
                for byte in &mut value {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *byte = (state >> 56) as u8;
                }
            } else {
                for (at, byte) in value.iter_mut().enumerate() {
                    *byte = b"silt and stone and "[(at + at / 97) % 19];
                }
            }
            store.put(tree, format!("{row:08}").as_bytes(), &value, Durability::Buffered).unwrap();
        }
        store.flush().unwrap();
        store.compact().unwrap();
        store
    }

    /// Processor time of this process, in steps of 10 ms.
    fn cpu() -> Duration {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        let ticks =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    fn wait_until_transferring(handle: &Handle) {
        while handle.status().state == State::Started {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets it run for a while, compares what it used with its share, and stops it.
    fn assert_share(handle: &Handle, percent: u8, window: Duration) -> u64 {
        wait_until_transferring(handle);
        let clock = SystemClock::default();
        let (before, began) = (cpu(), clock.monotonic());
        thread::sleep(window);
        let used = cpu().saturating_sub(before);
        let passed = clock.monotonic().saturating_sub(began);
        let done = handle.status().progress.bytes_done;
        assert_eq!(handle.status().state, State::Transferring, "it goes on after {passed:?}");
        let cores = u32::try_from(thread::available_parallelism().unwrap().get()).unwrap();
        let share = passed * u32::from(percent) * cores / 100;
        assert!(used <= share + STEPS, "{percent} %: {used:?} of {share:?} in {passed:?}");
        assert!(used + STEPS >= share / 4, "{percent} %: it hardly runs: {used:?} of {share:?}");

        let began = clock.monotonic();
        handle.cancel();
        assert!(handle.wait().is_err());
        let took = clock.monotonic().saturating_sub(began);
        assert!(took < Duration::from_secs(1), "a sleep ends with the cancel");
        done
    }

    fn create(backups: &Backups, backend: &Arc<dyn Backend>, options: &CreateOptions) -> Handle {
        backups.create(backend, "b", options.clone()).unwrap()
    }

    #[test]
    fn backup_and_restore_keep_to_their_share_of_the_processors() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder.path().join("store"));
        let segments = store.metrics().segments;
        assert!(segments <= 2, "few and large ones, not {segments}");
        let backups = Backups::new(store.clone()).unwrap();
        let memory = backend::open(&BackendConfig::Memory).unwrap();
        let mut options = CreateOptions::default();
        options.chunk_mib = 8;
        for (compression, percent) in [
            (Compression::GzipBestCompression, 10),
            (Compression::GzipBestCompression, 1),
            (Compression::ZstdBestCompression, 1),
            (Compression::None, 1),
        ] {
            (options.compression, options.cpu_percent) = (compression, percent);
            let handle = create(&backups, &memory, &options);
            assert_share(&handle, percent, Duration::from_secs(2));
        }

        options.compression = Compression::ZstdBestCompression;
        let done = [10, 80].map(|percent| {
            options.cpu_percent = percent;
            let handle = create(&backups, &memory, &options);
            wait_until_transferring(&handle);
            thread::sleep(Duration::from_millis(1500));
            let done = handle.status().progress.bytes_done;
            handle.cancel();
            assert!(handle.wait().is_err() || done > 0);
            done
        });
        assert!(done[1] > done[0], "80 % does more than 10 %: {done:?} bytes");

        options.compression = Compression::ZstdBestSpeed;
        options.cpu_percent = 80;
        create(&backups, &memory, &options).wait().unwrap();
        store.close().unwrap();
        let other = Store::open(&folder.path().join("other"), Options::default()).unwrap();
        let mut restore = RestoreOptions::default();
        restore.cpu_percent = 1;
        let handle = Backups::new(other.clone()).unwrap().restore(&memory, "b", restore).unwrap();
        assert_share(&handle, 1, Duration::from_secs(2));
        other.close().unwrap();
    }
}

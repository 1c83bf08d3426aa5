//! Whatever happens to the bytes of a segment, a reader gives the value written or an error.

use proptest::{collection::vec, prelude::*};

use super::*;

/// A segment with everything in it: several leaves, a filter, straddling versions, tombstones.
fn full() -> (Model, Vec<u8>, SegmentMeta) {
    let mut model = plain(24);
    (1..6).for_each(|sequence| put(&mut model, b"key000007", sequence, b"older"));
    delete(&mut model, b"key000008", 5000);
    let tombstone = RangeTombstone { start: b"k".to_vec(), end: Some(b"l".to_vec()), sequence: 3 };
    let (file, meta) = file_of(&model, &[tombstone], options(100));
    assert_eq!(open(file.clone(), &meta).unwrap().height, 2);
    (model, file, meta)
}

/// Reads all that can be read; whatever is answered must be right.
fn read_all(reader: &Arc<SegmentReader>, model: &Model) -> crate::error::Result<()> {
    for ((key, sequence), value) in model {
        if let Some((found, _, bytes)) = reader.get(key, sequence.0)? {
            assert_eq!((found, bytes.as_ref()), (sequence.0, value.as_deref().unwrap_or_default()));
        } else {
            panic!("a damaged segment denies a key");
        }
    }
    let mut cursor = reader.cursor(FillCache::Yes);
    cursor.seek_first()?;
    for (key, sequence) in model.keys() {
        let entry = cursor.entry().expect("as many entries as were written");
        assert_eq!((entry.key, entry.sequence), (key.as_slice(), sequence.0));
        cursor.next()?;
    }
    Ok(())
}

#[test]
fn every_single_bit_flip_is_detected_and_never_read() {
    let (model, file, meta) = full();
    let end = START + index(meta.length);
    read_all(&open(file.clone(), &meta).unwrap(), &model).unwrap();
    for bit in START * 8..end * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let Ok(reader) = open(damaged, &meta) else {
            continue;
        };
        let error = reader.verify().expect_err("a flipped bit");
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat), "{error}");
        if let Err(error) = read_all(&reader, &model) {
            let (_, offset) = error.place().expect("a place");
            assert!((START as u64..end as u64).contains(&offset), "{error}");
        }
    }
}

#[test]
fn every_truncation_is_detected_at_open() {
    let (_, file, meta) = full();
    for length in 0..START + index(meta.length) {
        let error = open(file[..length].to_vec(), &meta).expect_err("a short file");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn blocks_in_each_others_place_are_detected() {
    let (model, mut file, meta) = full();
    // The same bytes elsewhere in the segment, and the same segment under another identity.
    let (a, b) = (START..START + 40, START + 40..START + 80);
    let (left, right) = (file[a.clone()].to_vec(), file[b.clone()].to_vec());
    file[a].copy_from_slice(&right);
    file[b].copy_from_slice(&left);
    assert!(open(file, &meta).unwrap().verify().is_err());
    let mut sink = Sink::default();
    let mut builder = SegmentBuilder::new(Uid([3; 16]), options(100));
    for (key, sequence) in model.keys() {
        let entry = Entry { key, sequence: sequence.0, kind: EntryKind::Delete, value: b"" };
        builder.add(entry, &mut sink).unwrap();
    }
    let other = builder.finish(&mut sink).unwrap();
    let stolen = SegmentMeta { uid: UID, ..other };
    assert!(
        SegmentReader::open(Memory::new(sink.0), 0, &stolen, Arc::new(BlockCache::new(0))).is_err()
    );
}

#[test]
fn device_errors_name_the_place_and_are_not_corruption() {
    #[derive(Debug)]
    struct Failing(Arc<Memory>);

    impl BlockSource for Failing {
        fn path(&self) -> &RelPath {
            self.0.path()
        }

        fn len(&self) -> u64 {
            self.0.len()
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> IoResult<usize> {
            if offset < START as u64 + 50 {
                let kind = siltstone_io::error::ErrorKind::Device;
                return Err(siltstone_io::error::Error::new(kind, "read", self.path()).at(offset));
            }
            self.0.read_at(offset, buf)
        }
    }

    let (file, meta) = file_of(&plain(3000), &[], options(4096));
    let source = Arc::new(Failing(Memory::new(file)));
    let cache = Arc::new(BlockCache::new(1 << 20));
    let reader = SegmentReader::open(source, START as u64, &meta, Arc::clone(&cache)).unwrap();
    let error = reader.get(b"key000000", u64::MAX).expect_err("a device error");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(error.place(), Some(("files/7.seg", START as u64)));
    let mut cursor = reader.cursor(FillCache::Yes);
    assert!(cursor.seek_first().is_err());
    assert!(cursor.entry().is_none());
    cursor.seek_last().unwrap();
    assert!(cursor.entry().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn mutations_never_yield_a_wrong_value(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (model, mut file, meta) = full();
        let original = file.clone();
        for (place, byte) in changes {
            file[START + place.index(index(meta.length))] = byte;
        }
        prop_assume!(file != original);
        if let Ok(reader) = open(file, &meta) {
            prop_assert!(reader.verify().is_err());
            if let Err(error) = read_all(&reader, &model) {
                prop_assert!(error.place().is_some());
            }
        }
    }
}

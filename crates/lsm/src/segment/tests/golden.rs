//! The bytes of format version 1, pinned: a change here is a new version of the format.

use super::*;

/// A segment of four entries and one tombstone in two data blocks, so with a filter.
fn golden() -> (Vec<u8>, SegmentMeta) {
    let mut model = Model::new();
    put(&mut model, b"bark", 300, b"brown");
    put(&mut model, b"bark", 299, b"grey");
    delete(&mut model, b"barley", 301);
    put(&mut model, b"beech", 302, &[0x2e; 60]);
    let tombstone =
        RangeTombstone { start: b"ba".to_vec(), end: Some(b"bc".to_vec()), sequence: 7 };
    let (file, meta) = file_of(&model, &[tombstone], options(64));
    (file[START..START + index(meta.length)].to_vec(), meta)
}

const GOLDEN: &str = "
    ac02000401056261726b62726f776e0400050467726579020000000100000000
    846f4e90ad020006026261726c65790200000001000000001825c784ae020005
    013c62656563682e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e
    2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e
    2e2e2e02000000010000000098e28e2000402000200000000000000000000080
    0000080001000000000000000000000000080080001106000000000000000a00
    0000009800000000000000000001000006003373165effffffffffffff7f0000
    01020024000401026261726c241801010102653c54080000000100000000885b
    e1720102626102626307000db6afbc0301010ce33b95127c87daaf21b471a237
    e6dc07a7020262610105626565636800b2c7aeea7369787465656e2062797465
    73206964740100000000000046000000000000002c0000000d00000025000000
    0100010000000000856cbe6d53494c5453454731
";

#[test]
fn bytes_are_pinned() {
    let (bytes, _) = golden();
    let lines: Vec<String> = bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let pinned: Vec<&str> = GOLDEN.split_whitespace().collect();
    assert_eq!(lines, pinned, "{}", lines.join("\n"));
}

#[test]
fn pinned_bytes_are_read() {
    let digits: String = GOLDEN.split_whitespace().collect();
    let bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|i| u8::from_str_radix(&digits[i * 2..i * 2 + 2], 16).unwrap())
        .collect();
    let (_, meta) = golden();
    let cache = Arc::new(BlockCache::new(0));
    let reader = SegmentReader::open(Memory::new(bytes), 0, &meta, cache).unwrap();
    reader.verify().unwrap();
    assert_eq!(reader.get(b"bark", 299).unwrap().unwrap().2.as_ref(), b"grey");
    assert_eq!(reader.get(b"barley", 400).unwrap().unwrap().1, EntryKind::Delete);
    assert_eq!(reader.get(b"beech", 400).unwrap().unwrap().2.as_ref(), [0x2e; 60]);
    assert_eq!(reader.covering(b"bark", 400), 7);
}

//! Data-driven tests of the picker: `testdata/compaction/*.txt` hold state, command and answer.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    compaction::{Job, pick::pick},
    options::Options,
    output::rewrite::Tombstones,
    types::{Counts, FileId, Hash, SegmentMeta, TreeId, Uid},
    version::{Version, edit::VersionEdit},
};

/// `key=value` words of a line.
struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    fn of(words: &'a str) -> Self {
        let pairs = words.split_whitespace().map(|word| word.split_once('=').expect("key=value"));
        Self(pairs.collect())
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key).map(|text| text.parse().expect(key))
    }
}

/// The state of one case.
#[derive(Default)]
struct State {
    options: Options,
    lengths: BTreeMap<u64, u64>,
    segments: Vec<(TreeId, u8, u64, u64, SegmentMeta)>,
}

impl State {
    fn line(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').expect("a word and its arguments");
        match word {
            "options" => {
                let words = Words::of(rest);
                let options = &mut self.options;
                options.level0_segments_compact =
                    usize::try_from(words.number("level0").expect("level0")).unwrap();
                options.level1_bytes = words.number("level1").expect("level1");
                options.level_ratio = words.number("ratio").unwrap_or(10);
                options.segment_bytes_max = words.number("segment").expect("segment");
            }
            "file" => {
                let (file, rest) = rest.split_once(' ').expect("file N length=L");
                let length = Words::of(rest).number("length").expect("length");
                self.lengths.insert(file.parse().expect("a file"), length);
            }
            "segment" => self.segment(&Words::of(rest)),
            other => panic!("unknown word {other}"),
        }
    }

    fn segment(&mut self, words: &Words<'_>) {
        let (file, offset) = words.0["at"].split_once(':').expect("file:offset");
        let (file, offset): (u64, u64) = (file.parse().unwrap(), offset.parse().unwrap());
        let (min, max) = words.0["keys"].split_once('-').expect("first-last");
        let length = words.number("bytes").expect("bytes");
        let sequence = words.number("seq").expect("seq");
        let mut uid = [0; 16];
        uid[..8].copy_from_slice(&(self.segments.len() as u64).to_le_bytes());
        let meta = SegmentMeta {
            uid: Uid(uid),
            length,
            hash: Hash([0; 32]),
            counts: Counts {
                puts: 1,
                deletes: words.number("deletes").unwrap_or(0),
                range_deletes: words.number("ranges").unwrap_or(0),
            },
            sum: 0,
            key_min: min.as_bytes().to_vec(),
            key_max: (!max.is_empty()).then(|| max.as_bytes().to_vec()),
            sequence_min: sequence,
            sequence_max: sequence,
        };
        let end = self.lengths.entry(file).or_default();
        *end = (*end).max(offset + length);
        let tree = TreeId(words.number("tree").expect("tree"));
        let level = u8::try_from(words.number("level").expect("level")).unwrap();
        self.segments.push((tree, level, file, offset, meta));
    }

    fn version(&self) -> Version {
        let mut edit = VersionEdit::new(Version::default());
        for (file, length) in &self.lengths {
            edit.add_file(FileId(*file), *length).unwrap();
        }
        for (tree, level, file, offset, meta) in &self.segments {
            edit.add_segment(*tree, *level, (FileId(*file), *offset), meta.clone()).unwrap();
        }
        edit.finish().unwrap().0
    }
}

fn render(job: Option<&Job>) -> String {
    let Some(job) = job else { return "nothing\n".to_owned() };
    let mut text = String::new();
    for tree in &job.trees {
        write!(text, "{} -> level {}", tree.tree, tree.to_level).unwrap();
        let flags =
            [(tree.tombstones == Tombstones::Drop, ", bottom"), (tree.trivial_move, ", move")];
        flags.into_iter().filter(|(on, _)| *on).for_each(|(_, flag)| text.push_str(flag));
        text.push(':');
        for input in &tree.inputs {
            write!(text, " {}:{}", input.file.id.0, input.offset).unwrap();
        }
        text.push('\n');
    }
    text
}

fn check(file: &str, cases: &str) {
    for case in cases.split("== ").skip(1) {
        let (title, body) = case.split_once('\n').expect("a title and a case");
        let (state, expected) = body.split_once("pick\n").expect("a state, pick, an answer");
        let mut parsed = State::default();
        let lines = state.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        lines.for_each(|line| parsed.line(line));
        let version = parsed.version();
        let picked = render(pick(&version, &parsed.options).as_ref());
        assert_eq!(picked.trim(), expected.trim(), "{file}: {title}");
    }
}

macro_rules! data_driven {
    ($($name:ident => $file:literal;)*) => {$(
        #[test]
        fn $name() {
            check($file, include_str!(concat!("../../../testdata/compaction/", $file)));
        }
    )*};
}

data_driven! {
    level0_goes_down => "level0.txt";
    levels_keep_their_targets => "levels.txt";
    files_are_emptied_and_gathered => "files.txt";
}

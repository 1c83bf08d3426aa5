//! Objects and multipart uploads of the one bucket.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use jiff::{SignedDuration, Timestamp};

/// Names of a page of a list, as AWS has it.
const PAGE_NAMES_MAX: usize = 1000;

/// Shortest part of a multipart upload but the last.
const PART_BYTES_MIN: usize = 5 << 20;

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) tag: String,
    pub(super) modified: Timestamp,
}

/// A multipart upload under way.
#[derive(Clone, Debug)]
struct Upload {
    name: String,
    /// Number -> tag and bytes.
    parts: BTreeMap<u32, (String, Bytes)>,
}

/// A part as a completion names it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) number: u32,
    pub(super) tag: String,
}

/// One page of a list.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) objects: Vec<(String, Object)>,
    /// Folders, where there is a delimiter.
    pub(super) folders: BTreeSet<String>,
    /// Where the next page begins.
    pub(super) next: Option<String>,
}

/// What a list asks for.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    pub(super) prefix: &'a str,
    pub(super) delimiter: &'a str,
    /// Names up to this one were on earlier pages.
    pub(super) after: &'a str,
    pub(super) names_max: usize,
}

/// The bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    changes: u64,
    /// How far its clock is ahead of the machine's.
    pub(super) ahead: SignedDuration,
    pub(super) page_names: usize,
}

impl Default for Bucket {
    fn default() -> Self {
        let (objects, uploads) = (BTreeMap::new(), BTreeMap::new());
        let ahead = SignedDuration::ZERO;
        Self { objects, uploads, changes: 0, ahead, page_names: PAGE_NAMES_MAX }
    }
}

impl Bucket {
    pub(super) fn names(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Object> {
        self.objects.get(name)
    }

    /// Stores an object, or removes it; its tag.
    pub(super) fn set(&mut self, name: &str, bytes: Option<Bytes>) -> String {
        let Some(bytes) = bytes else {
            self.objects.remove(name);
            return String::new();
        };
        let tag = self.next_tag();
        let object = Object { bytes, tag: tag.clone(), modified: Timestamp::now() + self.ahead };
        self.objects.insert(name.to_owned(), object);
        tag
    }

    pub(super) fn open_uploads(&self) -> Vec<String> {
        self.uploads.values().map(|upload| upload.name.clone()).collect()
    }

    /// Ids and names of the open uploads.
    pub(super) fn uploads(&self) -> impl Iterator<Item = (&String, &String)> {
        self.uploads.iter().map(|(id, upload)| (id, &upload.name))
    }

    pub(super) fn begin(&mut self, name: &str) -> String {
        let id = format!("upload{}", self.next_tag());
        self.uploads.insert(id.clone(), Upload { name: name.to_owned(), parts: BTreeMap::new() });
        id
    }

    /// Stores a part; its tag, or `None` without such an upload.
    pub(super) fn put_part(&mut self, id: &str, number: u32, bytes: Bytes) -> Option<String> {
        let tag = self.next_tag();
        let upload = self.uploads.get_mut(id)?;
        upload.parts.insert(number, (tag.clone(), bytes));
        Some(tag)
    }

    /// Ends an upload without an object; whether it was open.
    pub(super) fn abort(&mut self, id: &str) -> bool {
        self.uploads.remove(id).is_some()
    }

    /// What the object of an upload would be.
    ///
    /// # Errors
    /// The code with which S3 refuses.
    pub(super) fn assemble(&self, id: &str, named: &[Named]) -> Result<Bytes, &'static str> {
        let upload = self.uploads.get(id).ok_or("NoSuchUpload")?;
        if named.is_empty() {
            return Err("MalformedXML");
        }
        let (mut bytes, mut last) = (BytesMut::new(), 0);
        for (at, Named { number, tag }) in named.iter().enumerate() {
            let (stored_tag, stored) = upload.parts.get(number).ok_or("InvalidPart")?;
            if stored_tag != tag {
                return Err("InvalidPart");
            }
            if *number <= last {
                return Err("InvalidPartOrder");
            }
            if at + 1 < named.len() && stored.len() < PART_BYTES_MIN {
                return Err("EntityTooSmall");
            }
            last = *number;
            bytes.extend_from_slice(stored);
        }
        Ok(bytes.freeze())
    }

    pub(super) fn list(&self, listing: &Listing<'_>) -> Page {
        let Listing { prefix, delimiter, after, names_max } = *listing;
        let names_max = names_max.min(self.page_names);
        let mut page = Page::default();
        let mut last = String::new();
        let found = self.objects.range(prefix.to_owned()..);
        for (name, object) in found.take_while(|(name, _)| name.starts_with(prefix)) {
            let rest = &name[prefix.len()..];
            let cut = if delimiter.is_empty() { None } else { rest.find(delimiter) };
            let shown = match cut {
                Some(end) => &name[..prefix.len() + end + delimiter.len()],
                None => name,
            };
            if shown <= after || page.folders.contains(shown) {
                continue;
            }
            if page.objects.len() + page.folders.len() == names_max {
                page.next = Some(last);
                break;
            }
            shown.clone_into(&mut last);
            if cut.is_some() {
                page.folders.insert(shown.to_owned());
            } else {
                page.objects.push((name.clone(), object.clone()));
            }
        }
        page
    }

    fn next_tag(&mut self) -> String {
        self.changes += 1;
        format!("{:016x}", self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(names: &[&str]) -> Bucket {
        let mut bucket = Bucket::default();
        for name in names {
            bucket.set(name, Some(Bytes::from_static(b"x")));
        }
        bucket
    }

    fn pages(bucket: &Bucket, prefix: &str, delimiter: &str) -> Vec<Vec<String>> {
        let (mut after, mut pages) = (String::new(), Vec::new());
        loop {
            let listing = Listing { prefix, delimiter, after: &after, names_max: 2 };
            let page = bucket.list(&listing);
            let names = page.objects.into_iter().map(|(name, _)| name);
            pages.push(names.chain(page.folders).collect());
            match page.next {
                Some(next) => after = next,
                None => return pages,
            }
        }
    }

    #[test]
    fn lists_come_in_pages_with_and_without_folders() {
        let bucket = filled(&["a/1", "a/2", "b", "c/1", "c/2", "c/3/4"]);
        assert_eq!(
            pages(&bucket, "", ""),
            [vec!["a/1", "a/2"], vec!["b", "c/1"], vec!["c/2", "c/3/4"]]
        );
        assert_eq!(pages(&bucket, "", "/"), [vec!["b", "a/"], vec!["c/"]]);
        assert_eq!(pages(&bucket, "c/", "/"), [vec!["c/1", "c/2"], vec!["c/3/"]]);
        assert_eq!(pages(&bucket, "d", "/"), [Vec::<String>::new()]);
    }

    #[test]
    fn an_upload_is_assembled_of_the_parts_that_are_named() {
        let mut bucket = Bucket::default();
        let id = bucket.begin("a");
        let named = |number, tag: &str| Named { number, tag: tag.to_owned() };
        let first = bucket.put_part(&id, 1, Bytes::from(vec![1; PART_BYTES_MIN])).unwrap();
        let second = bucket.put_part(&id, 2, Bytes::from_static(b"end")).unwrap();
        let both = [named(1, &first), named(2, &second)];
        assert_eq!(bucket.assemble(&id, &both).unwrap().len(), PART_BYTES_MIN + 3);
        let refused = |parts: &[Named]| bucket.assemble(&id, parts).expect_err("refused");
        assert_eq!(refused(&[named(2, &second), named(1, &first)]), "EntityTooSmall");
        assert_eq!(refused(&[named(1, &first), named(1, &first)]), "InvalidPartOrder");
        assert_eq!(refused(&[named(1, &second)]), "InvalidPart");
        assert_eq!(refused(&[]), "MalformedXML");
        assert_eq!(bucket.open_uploads(), ["a"]);
        assert!(bucket.abort(&id) && !bucket.abort(&id));
        assert_eq!(bucket.assemble(&id, &both).expect_err("it is gone"), "NoSuchUpload");
    }
}

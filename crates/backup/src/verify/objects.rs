//! Level 1: the descriptor is whole, and all chunks are there with their lengths.

use siltstone_lsm::format::primitives::hash;

use super::{Verification, VerifyReport};
use crate::{
    error::{Error, Result},
    format::{
        config::Config,
        descriptor::{Descriptor, DescriptorReader},
    },
    names::BackupId,
    repository::Repository,
};

impl Verification<'_> {
    /// The descriptor, if it is whole.
    pub(super) fn objects(
        &mut self,
        repository: &Repository,
        id: &BackupId,
        report: &mut VerifyReport,
    ) -> Result<Option<Descriptor>> {
        report.objects += 1;
        let config = match repository.config(id) {
            Ok(Some(config)) => config,
            Ok(None) => return repository.backup(id).map(|_| None),
            Err(error) => return self.problems.take(error).map(|()| None),
        };
        let Some(descriptor) = self.parts(repository, &config, report)? else { return Ok(None) };
        report.segments = descriptor.segments.len() as u64;
        report.objects += descriptor.chunks.len() as u64;
        let lengths = repository.lengths(&descriptor.chunks)?;
        for chunk in &descriptor.chunks {
            let object = chunk.id.object();
            let what = match lengths.get(&chunk.id) {
                Some(length) if *length == chunk.length => continue,
                Some(length) => format!("it has {length} bytes of {}", chunk.length),
                None => "it is missing".to_owned(),
            };
            self.bad_chunks.insert(chunk.id);
            self.problems.add(&Error::corrupt(object, what));
        }
        Ok(Some(descriptor))
    }

    /// Reads all parts, also behind one that is damaged.
    fn parts(
        &mut self,
        repository: &Repository,
        config: &Config,
        report: &mut VerifyReport,
    ) -> Result<Option<Descriptor>> {
        let mut reader = Some(DescriptorReader::new(config.clone()));
        for (number, part) in (0..).zip(&config.parts) {
            report.objects += 1;
            let object = config.id.part_object(&config.node, config.attempt, number);
            let read = repository.part(&object, part.length).and_then(|bytes| match &mut reader {
                Some(reader) => reader.add(&bytes),
                None if hash(&bytes) == part.hash => Ok(()),
                None => Err(Error::corrupt(object, "it does not match the hash in the config")),
            });
            if let Err(error) = read {
                self.problems.take(error)?;
                reader = None;
            }
        }
        match reader.map(DescriptorReader::finish) {
            None => Ok(None),
            Some(Ok(descriptor)) => Ok(Some(descriptor)),
            Some(Err(error)) => self.problems.take(error).map(|()| None),
        }
    }
}

//! Cuts and flushes on demand: barriers in the commit queue, then a wait for the flush.

use std::sync::Arc;

use crate::{
    cut::Cut,
    error::{Error, ErrorKind, Result},
    options::Background,
    store::{
        Step,
        collector::Collector,
        core::{Core, lock},
        work::Work,
    },
};

impl Core {
    /// The whole store at one instant. A second cut waits here, outside the queue.
    ///
    /// Nothing needs to be synced: what the cut holds is durable when it is in segments.
    pub(crate) fn cut(&self) -> Result<Cut> {
        let _one = lock(&self.cutting);
        self.prepare_cut()?;
        let collector = Arc::new(Collector::default());
        self.submit(Work::Barrier(Some(Arc::clone(&collector))))?;
        let (begun, collected) = self.wait_until(|| collector.take())?;
        let catalog = Arc::clone(&begun.view.catalog);
        let mut segments: Vec<_> = begun.view.version.segments().map(Arc::clone).collect();
        segments.extend(collected);
        segments.sort_by_key(|segment| (segment.level, segment.file.id, segment.offset));
        Ok(Cut {
            sequence: begun.sequence,
            store_id: self.store_id,
            catalog,
            segments,
            view: Some(begun.view),
        })
    }

    /// Does outside the queue what the cut would do in it: makes the log that follows, if there is
    /// none.
    fn prepare_cut(&self) -> Result<()> {
        self.check_writable()?;
        if !lock(&self.log).active.is_empty() {
            self.ready_log_step()?;
        }
        Ok(())
    }

    /// Seals the active memtable and waits until all that was written before is in segments.
    pub(crate) fn flush(&self) -> Result<()> {
        let barrier = self.submit(Work::Barrier(None))?;
        self.wait_until(|| {
            let oldest = lock(&self.sealed).front().map(|sealed| sealed.last_sequence);
            oldest.is_none_or(|last| last > barrier.sequence).then_some(())
        })
    }

    /// Sleeps, or runs background steps, until `done` returns something.
    fn wait_until<T>(&self, mut done: impl FnMut() -> Option<T>) -> Result<T> {
        loop {
            let seen = self.signal.now();
            if let Some(value) = done() {
                return Ok(value);
            }
            self.check_writable()?;
            match self.options.background {
                Background::Threads => {
                    self.flush_failure.check()?;
                    self.signal.wait_past(seen);
                }
                Background::Manual => {
                    if self.step()? == Step::Idle {
                        let message = "the flush ended without what was waited for";
                        return Err(Error::new(ErrorKind::Unavailable, message));
                    }
                }
            }
        }
    }
}

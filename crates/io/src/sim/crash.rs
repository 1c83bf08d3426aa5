//! [`Crash`]: what is left when the machine stops.
//!
//! A crash never touches what a sync has made durable. About everything pending, each policy
//! decides in its own way; the unit is a sector of 512 bytes for data, one change for names.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    file::{File, Keep, Pending},
    names::{Inode, NameChange},
    seed::mix,
};

/// What survives of everything that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crash {
    /// Power is lost and nothing pending had reached the device.
    Nothing,
    /// Only the process dies (kill -9): everything is still shown, and what was pending is pending
    /// still, so that a crash during recovery can lose it yet.
    All,
    /// Everything pending survives but the newest write, which is torn at a sector.
    LastTorn {
        /// Chooses the sector, the side that survives, and the pending names.
        seed: u64,
    },
    /// The newest pending write of each file survives, and none before it.
    NewestWriteOfEachFile {
        /// Chooses the pending names.
        seed: u64,
    },
    /// The pending writes of the file that was written last survive, and no other file's.
    NewestFileOnly {
        /// Chooses the pending names.
        seed: u64,
    },
    /// Each pending sector, each new length and each pending name survives by the toss of a coin.
    Subset {
        /// Tosses the coins.
        seed: u64,
    },
}

impl Crash {
    /// The crashes to try at every operation boundary: each policy once, and eight subsets.
    pub fn matrix(seed: u64) -> Vec<Self> {
        let mut all = vec![
            Self::Nothing,
            Self::All,
            Self::LastTorn { seed },
            Self::NewestWriteOfEachFile { seed },
            Self::NewestFileOnly { seed },
        ];
        all.extend((0..8).map(|subset| Self::Subset { seed: mix(seed, subset) }));
        all
    }

    pub(super) fn keeps_name(self, change: &NameChange) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::LastTorn { seed }
            | Self::NewestWriteOfEachFile { seed }
            | Self::NewestFileOnly { seed }
            | Self::Subset { seed } => mix(seed, change.seq) & 1 == 1,
        }
    }

    /// Builds the files that are left. `Crash::All` leaves pending changes pending and is not
    /// decided here.
    pub(super) fn files_left(self, files: &BTreeMap<Inode, File>) -> BTreeMap<Inode, File> {
        let newest = files
            .iter()
            .filter(|(_, file)| file.linked)
            .filter_map(|(&inode, file)| Some((newest_write(file)?, inode)))
            .max();
        let left = files.iter().map(|(&inode, file)| {
            let mut content = Arc::clone(&file.durable);
            let of_file = newest_write(file);
            for pending in &file.pending {
                let keep = self.keeps(pending, of_file, newest, inode);
                if keep != Keep::Lost {
                    pending.apply(keep, Arc::make_mut(&mut content));
                }
            }
            (inode, File::holding(content))
        });
        left.collect()
    }

    fn keeps(
        self,
        pending: &Pending,
        newest_of_file: Option<u64>,
        newest: Option<(u64, Inode)>,
        inode: Inode,
    ) -> Keep {
        let whole_if = |kept| if kept { Keep::Whole } else { Keep::Lost };
        match self {
            Self::Nothing => Keep::Lost,
            Self::All => Keep::Whole,
            Self::LastTorn { seed } => match newest {
                Some((seq, _)) if seq == pending.seq => Keep::Torn(mix(seed, seq)),
                _ => Keep::Whole,
            },
            Self::NewestWriteOfEachFile { .. } => whole_if(newest_of_file == Some(pending.seq)),
            Self::NewestFileOnly { .. } => {
                whole_if(newest.is_some_and(|(_, newest_file)| newest_file == inode))
            }
            Self::Subset { seed } => Keep::Coins(mix(seed, pending.seq)),
        }
    }
}

fn newest_write(file: &File) -> Option<u64> {
    file.pending.iter().rev().find(|pending| pending.is_write()).map(|pending| pending.seq)
}

//! Many tenants with small trees: the time of a backup and the objects it makes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use siltstone_backup::{
    api::Backups,
    options::{CreateOptions, RestoreOptions},
};
use siltstone_lsm::{
    batch::Batch,
    options::{Durability, Options},
    store::Store,
};
use siltstone_peers::{
    machine::files_below,
    report::{Goal, Report},
    rounds::{Contender, rounds},
    rows::{FIRST_VERSION, ROW_BYTES, key, value},
    stone::{COLLECTION, folder_backend},
};

use crate::world::{World, clear};

const SECTION: &str = "tenants";

/// Rows of each tenant.
const ROWS: u64 = 4;

/// How much smaller the other store is.
const FACTOR: usize = 10;

/// More a tenant than this, at the larger number, is not linear.
const GROWTH_MAX: f64 = 1.5;

#[expect(clippy::cast_precision_loss, reason = "small counts")]
pub(crate) fn run(world: &mut World, report: &mut Report<'_>) -> Result<()> {
    let (many, few) = (world.effort.tenants, world.effort.tenants / FACTOR);
    let (many_folder, few_folder) = (world.path("tenants-many"), world.path("tenants-few"));
    let (target, restored) = (world.path("backup"), world.path("restored"));
    let mut objects = [0, 0];
    let measured = {
        let [few_objects, many_objects] = &mut objects;
        let mut contenders = Vec::new();
        for (count, folder, objects) in
            [(few, &few_folder, few_objects), (many, &many_folder, many_objects)]
        {
            let store = load(folder, count)?;
            let backups = Backups::new(store.clone())?;
            let (target, restored) = (&target, &restored);
            let back_up = move |_| {
                let backend = folder_backend(target)?;
                backups.create(&backend, "tenants", CreateOptions::default())?.wait()?;
                Ok(())
            };
            let check = move |round| {
                *objects = files_below(target)?.len();
                if round == 0 {
                    check_restored(&store, target, restored)?;
                    clear(restored)?;
                }
                clear(target)
            };
            let name = format!("siltstone, {count} tenants");
            contenders.push(Contender::new(name, world.effort.rounds, back_up).after(check));
        }
        rounds(report, SECTION, contenders)?
    };
    for (count, measured) in [few, many].iter().zip(&measured) {
        let bytes = *count as u64 * ROWS * ROW_BYTES;
        report.times(SECTION, bytes, std::slice::from_ref(measured));
    }
    for (count, objects) in [few, many].iter().zip(objects) {
        let goal = Some(Goal::AtMost(*count as f64 / 100.0));
        report.finding(SECTION, format!("{count} tenants"), (objects as f64, "objects"), goal)?;
    }
    let each = |at: usize, count: usize| measured[at].seconds() / count as f64;
    let growth = (each(1, many) / each(0, few), "x");
    let what = format!("time a tenant, {many} against {few}");
    report.finding(SECTION, what, growth, Some(Goal::AtMost(GROWTH_MAX)))?;
    clear(&few_folder)?;
    clear(&many_folder)
}

fn load(folder: &Path, count: usize) -> Result<Store> {
    let store = Store::open(folder, Options::default())?;
    store.create_collection(COLLECTION)?;
    let names: Vec<String> = (0..count).map(|number| format!("tenant-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let trees = store.create_tenants(COLLECTION, &names)?;
    for (number, trees) in trees.chunks(100).enumerate() {
        let mut batch = Batch::new();
        for &tree in trees {
            for row in 0..ROWS {
                let index = number as u64 * ROWS + row;
                batch.put(tree, &key(index), &value(index, FIRST_VERSION))?;
            }
        }
        store.write(batch, Durability::Buffered)?;
    }
    store.flush()?;
    Ok(store)
}

/// Every tenant of the restored store has the rows of the original.
fn check_restored(store: &Store, target: &Path, restored: &Path) -> Result<()> {
    let other = Store::open(restored, Options::default())?;
    let backups = Backups::new(other.clone())?;
    backups.restore(&folder_backend(target)?, "tenants", RestoreOptions::default())?.wait()?;
    let (ours, theirs) = (store.snapshot(), other.snapshot());
    let catalog = store.catalog();
    let collection = catalog.collections.get(COLLECTION).context("the collection is there")?;
    for tenant in collection.tenants.keys() {
        let tree = |store: &Store| store.tree(COLLECTION, Some(tenant));
        let (ours, theirs) = (ours.digest(tree(store)?)?, theirs.digest(tree(&other)?)?);
        ensure!(ours.rows == ROWS, "tenant {tenant} has {} rows", ours.rows);
        ensure!(ours == theirs, "tenant {tenant} was not restored as it was");
    }
    Ok(())
}

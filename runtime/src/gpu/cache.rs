//! What later processes need not do again: files in the user's cache directory.
//!
//! A cache never is the reason of an error. Without a directory that can be written nothing is kept,
//! and what is damaged, or of another device, is not used.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use std::{env, fs};

use fgi_compiler::ir::kernel::Program;
use fgi_compiler::target::gpu::ROWS;
use serde::{Deserialize, Serialize};

use super::AdapterInfo;
use crate::bench::Tuning;
use crate::file::write_whole;

/// `fgi` in the user's cache directory, if the environment says where that is.
pub(super) fn directory() -> Option<PathBuf> {
    let path = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = path("XDG_CACHE_HOME")
        .or_else(|| path("LOCALAPPDATA"))
        .or_else(|| Some(path("HOME")?.join(".cache")))?;
    Some(caches.join("fgi"))
}

/// What a driver made of shaders, in a file for each kind of device.
pub(super) struct PipelineCache {
    pub cache: wgpu::PipelineCache,
    file: PathBuf,
    /// What the driver was given.
    given: Option<Vec<u8>>,
}

/// A file never becomes smaller, so that a larger one is begun again.
const MOST_BYTES: u64 = 64 << 20;

impl PipelineCache {
    /// `None` where the back end has no such thing; `create` makes one of what a file holds.
    pub fn open(
        adapter: &wgpu::AdapterInfo,
        directory: &Path,
        create: impl Fn(&wgpu::PipelineCacheDescriptor<'_>) -> Option<wgpu::PipelineCache>,
    ) -> Option<PipelineCache> {
        let file = directory.join(wgpu::util::pipeline_cache_key(adapter)?);
        let is_small = fs::metadata(&file).is_ok_and(|file| file.len() <= MOST_BYTES);
        let given = is_small.then(|| fs::read(&file).ok().and_then(unsealed)).flatten();
        let with = |data| {
            create(&wgpu::PipelineCacheDescriptor { label: Some("fgi"), data, fallback: true })
        };
        match given.as_deref().and_then(|data| with(Some(data))) {
            Some(cache) => Some(PipelineCache { cache, file, given }),
            None => Some(PipelineCache { cache: with(None)?, file, given: None }),
        }
    }

    /// Keeps what is new.
    pub fn save(&self) {
        let data = self.cache.get_data().filter(|data| Some(data) != self.given.as_ref());
        if let Some(data) = data {
            write(&self.file, &sealed(data));
        }
    }

    /// Whether the driver was given what an earlier process kept.
    #[cfg(test)]
    pub fn is_warm(&self) -> bool {
        self.given.is_some()
    }
}

/// The choice of a variant, with all that tells a reader what it is about.
#[derive(Serialize, Deserialize)]
struct Tuned {
    program: String,
    adapter: String,
    driver: String,
    /// Of a workgroup.
    rows: u32,
    /// The rows and milliseconds of the variants.
    measured: Vec<(u32, f64)>,
}

/// The rows of a workgroup that were best when a program was tuned on an adapter.
pub(super) fn rows(directory: &Path, adapter: &AdapterInfo, program: &Program) -> Option<u32> {
    let text = fs::read(tuned_file(directory, adapter, program)).ok()?;
    let tuned: Tuned = serde_json::from_slice(&text).ok()?;
    ROWS.contains(&tuned.rows).then_some(tuned.rows)
}

/// Keeps what was measured; gives the file if that could be done.
pub(super) fn keep_rows(
    directory: &Path,
    adapter: &AdapterInfo,
    program: &Program,
    tuning: &Tuning,
) -> Option<PathBuf> {
    let tuned = Tuned {
        program: program.name.clone(),
        adapter: adapter.name.clone(),
        driver: adapter.driver.clone(),
        rows: tuning.rows,
        measured: tuning.variants.clone(),
    };
    let file = tuned_file(directory, adapter, program);
    write(&file, &serde_json::to_vec_pretty(&tuned).ok()?).then_some(file)
}

fn tuned_file(directory: &Path, adapter: &AdapterInfo, program: &Program) -> PathBuf {
    let AdapterInfo { name, driver, .. } = adapter;
    let hash = hash(format!("{name}\n{driver}\n{program}").as_bytes());
    directory.join(format!("tuned_{hash:016x}.json"))
}

/// Writes a file, and the directory where it is missing. Tells whether that could be done.
fn write(file: &Path, bytes: &[u8]) -> bool {
    let directory = file.parent().map_or(Ok(()), fs::create_dir_all);
    directory.is_ok() && write_whole(file, |file| file.write_all(bytes)).is_ok()
}

/// The bytes and then their hash: drivers trust what they are given.
pub(super) fn sealed(mut data: Vec<u8>) -> Vec<u8> {
    data.extend(hash(&data).to_le_bytes());
    data
}

/// The bytes, if they are as they were.
pub(super) fn unsealed(mut file: Vec<u8>) -> Option<Vec<u8>> {
    let data = file.len().checked_sub(size_of::<u64>())?;
    let is_whole = file[data..] == hash(&file[..data]).to_le_bytes();
    file.truncate(data);
    is_whole.then_some(file)
}

/// The same in every process of a build.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_not_used() {
        let file = sealed(b"code".to_vec());
        assert_eq!(unsealed(file.clone()).as_deref(), Some(&b"code"[..]));
        assert_eq!(unsealed(file[1..].to_vec()), None);
        assert_eq!(unsealed(Vec::new()), None);
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            assert_eq!(unsealed(damaged), None, "byte {place}");
        }
    }
}

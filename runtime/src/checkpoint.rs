//! Parameters on disk: a safetensors file with one f32 tensor for each parameter and each memory of
//! the optimiser, by path, and how far training has come as JSON in the metadata under `fgi`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use crate::file::{failed, read, write_whole};
use crate::npz::Arrays;
use crate::{Array, Data, Error};

/// A moment of training.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// f32 arrays by path.
    pub params: Arrays,
    /// How far training had come.
    pub progress: Progress,
}

/// How far training has come, and what it needs to go on as if it had never stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The graph's name.
    pub graph: String,
    /// The graph's fingerprint; unknown in checkpoints of earlier versions.
    #[serde(default)]
    pub program: Option<u64>,
    /// The optimiser's name.
    pub optimizer: String,
    /// Of the initial parameters and the order of samples.
    pub seed: u64,
    /// Samples in a batch.
    pub batch: usize,
    /// Complete epochs.
    pub epoch: u64,
    /// Updates so far.
    pub step: u64,
    /// Batches of the current epoch so far. The order of an epoch's samples follows from the seed
    /// and the epoch.
    pub batches: usize,
    pub(crate) sums: Sums,
}

/// What an epoch's means are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub samples: u64,
    pub correct: u64,
    /// The bits of an f64: JSON would round it.
    loss: u64,
}

impl Sums {
    /// Adds a batch whose mean loss this is.
    pub fn add(&mut self, samples: usize, loss: f32, correct: usize) {
        self.loss = (f64::from_bits(self.loss) + f64::from(loss) * samples as f64).to_bits();
        self.samples += samples as u64;
        self.correct += correct as u64;
    }

    pub fn mean_loss(&self) -> f64 {
        f64::from_bits(self.loss) / self.samples as f64
    }

    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.samples as f64
    }
}

impl Checkpoint {
    /// Writes the file, all or nothing.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let bytes = self.to_bytes().map_err(|message| failed(path, message))?;
        write_whole(path, |file| file.write_all(&bytes))
    }

    /// Reads a file that [`Checkpoint::save`] wrote; a damaged one is an error.
    pub fn load(path: &Path) -> Result<Checkpoint, Error> {
        Checkpoint::from_bytes(&read(path)?).map_err(|message| failed(path, message))
    }

    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        // One entry: the order of several would not be the same in each run.
        let progress = serde_json::to_string(&self.progress).map_err(|error| error.to_string())?;
        to_safetensors(&self.params, Some(HashMap::from([("fgi".to_string(), progress)])))
    }

    /// A checkpoint, given as the bytes of its file; the error says what is wrong with them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let params = from_safetensors(bytes)?;
        let entries = metadata.metadata().as_ref();
        let progress = entries.and_then(|entries| entries.get("fgi"));
        let progress = progress.ok_or("its metadata has no entry `fgi`: not a checkpoint")?;
        let progress = serde_json::from_str(progress)
            .map_err(|error| format!("its metadata is not a checkpoint's: {error}"))?;
        Ok(Checkpoint { params, progress })
    }
}

/// A safetensors file with f32 arrays.
pub(crate) fn to_safetensors(
    arrays: &Arrays,
    metadata: Option<HashMap<String, String>>,
) -> Result<Vec<u8>, String> {
    let mut tensors = BTreeMap::new();
    for (path, array) in arrays {
        let (dtype, bytes): (Dtype, &[u8]) = match &array.data {
            Data::F32(values) => (Dtype::F32, bytemuck::cast_slice(values)),
            Data::I32(values) => (Dtype::I32, bytemuck::cast_slice(values)),
            _ => return Err(format!("`{path}` is {}, not f32 or i32", array.type_name())),
        };
        let view = TensorView::new(dtype, array.shape.clone(), bytes);
        tensors.insert(path, view.map_err(|error| error.to_string())?);
    }
    serialize(tensors, metadata).map_err(|error| error.to_string())
}

/// The arrays of a safetensors file, all f32 or i32.
pub(crate) fn from_safetensors(bytes: &[u8]) -> Result<Arrays, String> {
    let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut arrays = Arrays::new();
    for (path, tensor) in tensors.iter() {
        let data: Data = match tensor.dtype() {
            Dtype::F32 => bytemuck::pod_collect_to_vec::<u8, f32>(tensor.data()).into(),
            Dtype::I32 => bytemuck::pod_collect_to_vec::<u8, i32>(tensor.data()).into(),
            found => return Err(format!("`{path}` is {found:?}, not F32 or I32")),
        };
        arrays.insert(path.into(), Array::new(tensor.shape(), data));
    }
    Ok(arrays)
}

fn damaged(error: SafeTensorError) -> String {
    format!("not a complete safetensors file: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let mut sums = Sums::default();
        sums.add(3, 0.1, 2);
        Checkpoint {
            params: Arrays::from([
                ("h.w".into(), Array::new([2, 2], vec![1.0f32, -0.0, f32::MIN_POSITIVE, 4.0])),
                ("adam.m/h.w".into(), Array::new([], vec![0.5f32])),
                ("runs".into(), Array::new([2], vec![-1, i32::MAX])),
            ]),
            progress: Progress { graph: "g".into(), epoch: 3, sums, ..Progress::default() },
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.safetensors");
        checkpoint().save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint());
        let bytes = std::fs::read(&path).unwrap();
        checkpoint().save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn truncated_files_are_errors() {
        let bytes = checkpoint().to_bytes().unwrap();
        for length in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}

//! Devices as a few figures, and the time that they predict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::KernelCost;

/// The figures of a device. Rates are peaks a second, latencies are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// What it is asked for by.
    pub name: String,
    /// Its full name.
    pub about: String,
    /// f32 operations, of which a fused multiply-add is two.
    pub flops: f64,
    /// Exponentials, quotients, roots and the like.
    pub transcendentals: f64,
    /// Bytes from and to memory.
    pub memory_bandwidth: f64,
    /// Bytes from and to the caches and workgroup memories of all cores. Without a figure, they
    /// are taken for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_bandwidth: Option<f64>,
    /// What a dispatch costs besides its work.
    pub dispatch_latency: f64,
    /// How long a step of a recurrence waits for the step before: a barrier, and the way to the cache
    /// that all cores share and back.
    pub step_latency: f64,
    /// Where the figures are from, by field.
    #[serde(default)]
    pub sources: BTreeMap<String, String>,
}

/// Why a text describes no device; the text says what is at fault.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DeviceError(#[from] Fault);

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no description of a device: {0}")]
    Json(serde_json::Error),
    #[error("`{field}` is {value}: it must be {expected}")]
    Figure { field: &'static str, value: f64, expected: &'static str },
}

/// Seconds that a roofline predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Prediction {
    /// Arithmetic at its peak.
    pub compute: f64,
    /// Each element from and to memory once.
    pub memory: f64,
    /// All loads and stores.
    pub cache: f64,
    /// Steps that wait for each other.
    pub steps: f64,
    /// Dispatches, besides their work.
    pub dispatch: f64,
}

impl Device {
    /// The devices of the table.
    pub fn all() -> Result<Vec<Device>, DeviceError> {
        let devices: Vec<Device> =
            serde_json::from_str(include_str!("devices.json")).map_err(Fault::Json)?;
        devices.into_iter().map(Device::checked).collect()
    }

    /// Reads the JSON object of one device.
    pub fn parse(json: &str) -> Result<Device, DeviceError> {
        serde_json::from_str::<Device>(json).map_err(Fault::Json)?.checked()
    }

    fn checked(self) -> Result<Device, DeviceError> {
        let rates = [
            ("flops", Some(self.flops)),
            ("transcendentals", Some(self.transcendentals)),
            ("memory_bandwidth", Some(self.memory_bandwidth)),
            ("cache_bandwidth", self.cache_bandwidth),
        ];
        for (field, value) in rates {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && value.is_finite())) {
                return Err(Fault::Figure { field, value, expected: "positive" }.into());
            }
        }
        let latencies =
            [("dispatch_latency", self.dispatch_latency), ("step_latency", self.step_latency)];
        for (field, value) in latencies {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Fault::Figure { field, value, expected: "0 or more" }.into());
            }
        }
        Ok(self)
    }

    /// The time of a kernel. Choices and comparisons take the place of a multiply-add.
    pub fn predict(&self, cost: &KernelCost) -> Prediction {
        let operations = &cost.operations;
        let simple = operations.adds + operations.multiplies + 2 * operations.others;
        let special = operations.divisions + operations.transcendentals;
        Prediction {
            compute: simple as f64 / self.flops + special as f64 / self.transcendentals,
            memory: (cost.read_bytes + cost.written_bytes) as f64 / self.memory_bandwidth,
            cache: self.cache_bandwidth.map_or(0.0, |rate| cost.accessed_bytes as f64 / rate),
            steps: cost.steps as f64 * self.step_latency,
            dispatch: cost.dispatches as f64 * self.dispatch_latency,
        }
    }
}

impl Prediction {
    /// What takes the longest besides dispatches, and its name.
    pub fn bound(&self) -> (&'static str, f64) {
        let Prediction { compute, memory, cache, steps, .. } = *self;
        let parts = [("compute", compute), ("memory", memory), ("cache", cache), ("steps", steps)];
        let longest = parts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        match longest {
            Some((_, seconds)) if seconds < self.dispatch => ("dispatch", seconds),
            Some(longest) => longest,
            None => ("nothing", 0.0),
        }
    }

    /// Seconds in all.
    pub fn total(&self) -> f64 {
        self.bound().1 + self.dispatch
    }
}

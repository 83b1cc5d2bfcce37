//! The optimiser, as `train` and `build` are told of it.

use clap::ValueEnum;
use fgi_compiler::middle::optimizer::{Groups, Optimizer};

use crate::numbers;

#[derive(Clone, Copy, ValueEnum)]
pub enum OptimizerName {
    Adam,
    Adamw,
    Amsgrad,
    Sgd,
}

/// The settings of an optimiser.
#[derive(clap::Args)]
pub struct OptimizerArgs {
    /// Makes the gradients shorter where their norm, taken together, is greater than this; `inf` leaves
    /// them as they are [default: 1]
    #[arg(long, value_name = "NORM", value_parser = numbers::norm, allow_negative_numbers = true)]
    clip: Option<f64>,
    /// The momentum of sgd [default: 0]
    #[arg(long, value_parser = numbers::momentum, allow_negative_numbers = true)]
    momentum: Option<f64>,
    /// The weight decay; 0.01 for adamw and 0 for the others if not given
    #[arg(long, value_parser = numbers::weight_decay, allow_negative_numbers = true)]
    weight_decay: Option<f64>,
    /// Multiplies the learning rate of parameters whose paths are of a pattern, in which `*` stands for any text:
    /// `--rate 'h.tau*=0.1'` (repeatable; of several that match, the last one counts)
    #[arg(long, value_name = "PATTERN=FACTOR", value_parser = numbers::group)]
    rate: Vec<(String, f64)>,
    /// The weight decay of parameters whose paths are of a pattern: `--decay '*.w=0.01'` (repeatable)
    #[arg(long, value_name = "PATTERN=DECAY", value_parser = numbers::group)]
    decay: Vec<(String, f64)>,
    /// Leaves parameters whose paths are of a pattern as they are (repeatable)
    #[arg(long, value_name = "PATTERN")]
    freeze: Vec<String>,
}

impl OptimizerArgs {
    pub fn optimizer(&self, name: OptimizerName) -> Optimizer {
        let (beta1, beta2, eps) = (0.9, 0.999, 1e-8);
        let weight_decay = self.weight_decay.unwrap_or(0.0);
        match name {
            OptimizerName::Adam => Optimizer::Adam { beta1, beta2, eps, weight_decay },
            OptimizerName::Adamw => {
                let weight_decay = self.weight_decay.unwrap_or(0.01);
                Optimizer::AdamW { beta1, beta2, eps, weight_decay }
            }
            OptimizerName::Amsgrad => Optimizer::AmsGrad { beta1, beta2, eps, weight_decay },
            OptimizerName::Sgd => {
                Optimizer::Sgd { momentum: self.momentum.unwrap_or(0.0), weight_decay }
            }
        }
    }

    /// Parameters that are treated another way.
    pub fn groups(&self) -> Groups {
        let (rates, decays) = (self.rate.clone(), self.decay.clone());
        Groups { rates, decays, frozen: self.freeze.clone() }
    }

    /// The greatest norm of the gradients, if there is one.
    pub fn clip(&self) -> Option<f64> {
        Some(self.clip.unwrap_or(1.0)).filter(|norm| norm.is_finite())
    }

    /// An option that was given.
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            ("--clip", self.clip),
            ("--momentum", self.momentum),
            ("--weight-decay", self.weight_decay),
        ];
        let groups = [
            ("--rate", !self.rate.is_empty()),
            ("--decay", !self.decay.is_empty()),
            ("--freeze", !self.freeze.is_empty()),
        ];
        let options = options.into_iter().map(|(name, value)| (name, value.is_some()));
        options.chain(groups).find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }
}

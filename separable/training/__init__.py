"""Training by gradient: one loop for every module, its checkpoints, and the record of a run."""

from separable.training.batches import BatchStream, ShuffledRows
from separable.training.checkpoint import load_weights
from separable.training.config import TrainingConfig
from separable.training.distributed import is_main_process, process_count
from separable.training.loop import TrainingInterrupted, TrainingResult, run_training
from separable.training.optimiser import ParameterOptions, adamw, matrices_decay, optimiser_of
from separable.training.report import Report
from separable.training.run_folder import RunFolder, environment
from separable.training.soap import SOAP
from separable.training.trial import Trial, tried

__all__ = [
    "SOAP",
    "BatchStream",
    "ParameterOptions",
    "Report",
    "RunFolder",
    "ShuffledRows",
    "TrainingConfig",
    "TrainingInterrupted",
    "TrainingResult",
    "Trial",
    "adamw",
    "environment",
    "is_main_process",
    "load_weights",
    "matrices_decay",
    "optimiser_of",
    "process_count",
    "run_training",
    "tried",
]

"""The loop of every training by gradient: batches, loss, AdamW; evaluated, recorded, kept, and gone on with exactly.

A step draws the places of `batch` rows, which each of P processes computes in A parts: process p has the parts p A to
p A + A - 1 of the P A equal ones, and the gradient is that of the mean over all rows, whatever P and A are.

Each part seeds torch's generators by (seed, step, its number among the P A); before a step, what is called then and the
drawing of the rows have seeds of their own. So losses with draws in them are the same as well for the same P A; and the
state of a training is parameters, optimiser, step and the place in the stream of batches. That is what checkpoints
hold, and a training that is cut off anywhere and started again goes on from its last checkpoint with the losses that it
would have had, to the bit on the same machine, threads and number of processes. With `minutes` instead of `steps` the
clock decides, and losses differ as it does.
"""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from separable.training.allocation import memory_kept
from separable.training.batches import BatchStream
from separable.training.checkpoint import load_checkpoint, save_checkpoint
from separable.training.config import TrainingConfig
from separable.training.distributed import (
    Processes,
    distribute,
    gradients_exchanged,
    joined,
    parameters_gathered,
)
from separable.training.failures import check_finite, memory_explained
from separable.training.interruption import StopRequest, stop_requests
from separable.training.learning_curve import write_training_report
from separable.training.modes import enter_training, evaluation_mode
from separable.training.optimiser import Options, matrices_decay, optimiser_of
from separable.training.precision import autocast, faster_precision
from separable.training.progress import Progress
from separable.training.run_folder import RunFolder
from separable.training.run_lock import sole_user
from separable.training.schedule import learning_rate
from separable.training.trial import ENOUGH_SECONDS, ENOUGH_STEPS, TrainingTried, Trial, changed_by_trial, is_trial

Loss = Callable[[Any, Any], Tensor | tuple[Tensor, Mapping[str, Tensor | float]]]
# Names in the lines of the record.
_OWN = ("loss", "gradient_norm", "rate", "step", "steps", "seconds", "time", "scores", "sample")
_EVALUATION = 2**32  # a step that no training reaches, whose seed is that of evaluations
_BEFORE, _DRAW = 2**32, 2**32 + 1  # parts that no step has, whose seeds are those of what is done before its parts


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        steps: that were done, in all.
        seconds: of training, in all; evaluations and checkpoints not counted.
        speed: units a second, over all.
        loss: mean over the last steps that were logged.
        scores: of the last evaluation.
        best_step: step of the evaluation with the lowest first score.
        best_scores: its scores.
    """

    steps: int
    seconds: float
    speed: float
    loss: float
    scores: dict[str, float]
    best_step: int
    best_scores: dict[str, float]


class TrainingInterrupted(KeyboardInterrupt):
    """A signal asked a training to stop, and its checkpoint is written."""


def run_training(
    model: nn.Module,
    loss: Loss,
    batches: BatchStream,
    config: TrainingConfig,
    *,
    run: RunFolder | None = None,
    evaluate: Callable[[Any], Mapping[str, float]] | None = None,
    sample: Callable[[Any], str] | None = None,
    before_step: Callable[[float], None] | None = None,
    unit: str = "rows",
    units_per_row: int = 1,
    options: Options = matrices_decay,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> TrainingResult:
    """Train a module; it ends with the weights of the last step, in evaluation mode, on ``device``.

    Where the module comes in training mode, a part of it that is frozen stays so: one in evaluation mode with
    parameters of which none needs a gradient, such as a backbone whose normalisations are to keep their statistics.
    All else is trained in training mode, and so is all of a module that comes in evaluation mode itself.

    Args:
        model: what is trained, in place. With "fsdp" it stays whole, beside the parts that are trained.
        loss: gives the mean loss of (model, batch), a scalar; or with it a dictionary of scalars for the record, the
            same names in every step; these may be numbers, and need not be finite.
        batches: where the rows come from; its `draw` must be the same in every process.
        config: length, batches, rates and habits.
        run: the folder that gets ``last.safetensors`` and ``best.safetensors``, the record and ``report.html``; a
            training that was cut off goes on from its last checkpoint, one that has ended returns at once.
        evaluate: gives scores of the model, which is in evaluation mode without gradients; the lowest first score
            makes the best checkpoint. All processes call it.
        sample: gives a text for the record and the report at each evaluation. All processes call it.
        before_step: called once before each step with the share of the training that is done, for what changes on the
            way; torch's generators have the same seed in all processes then.
        unit: what the speed counts.
        units_per_row: units in a row, such as the tokens of a window.
        options: which parameters decay, and which have rates of their own.
        device: where to train; "cuda" is the process's own GPU under torchrun.
        progress: whether to show a bar with the time left.

    Returns:
        Steps, time, losses and scores.

    Raises:
        ValueError: the batch does not divide into the parts, the checkpoint is damaged or of another training, or the
            loss or what is told beside it is no scalar, or has a name that the record has of its own, or another than
            in the first step.
        FloatingPointError: the loss or its gradient is not finite; the step was not made.
        MemoryError: a step needs more memory than there is.
        OSError: a checkpoint cannot be written.
        RuntimeError: another process trains in this folder.
        TrainingInterrupted: Ctrl-C or SIGTERM; the checkpoint is that of the last step.
        In each case the checkpoints that were written are whole.

    Example:
        >>> import torch
        >>> from separable.training import ShuffledRows, TrainingConfig, run_training
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> rows = ShuffledRows(64, lambda places: (x[places], 3 * x[places]))
        >>> def squares(model, batch):
        ...     return torch.nn.functional.mse_loss(model(batch[0]), batch[1])
        >>> config = TrainingConfig(steps=200, batch=16, rate=0.1, warm_up=10, weight_decay=0.0)
        >>> result = run_training(torch.nn.Linear(1, 1), squares, rows, config, progress=False)
        >>> result.steps, result.loss < 0.01
        (200, True)
    """
    wanted = changed_by_trial(config)
    if is_trial():
        config, run, evaluate = wanted or config, None, None if wanted else evaluate
    with contextlib.ExitStack() as stack:
        processes = stack.enter_context(joined(device))
        parts = processes.count * config.accumulation
        if config.batch % parts:
            raise ValueError(
                f"batch: expected a multiple of {parts} (processes times accumulation), got {config.batch}"
            )
        if run is not None and processes.main:
            stack.enter_context(sole_user(run.path))
        gpus = [processes.device] if processes.device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=gpus))
        loop = _Loop(model, loss, batches, config, processes, run, evaluate, sample, options)
        loop.unit, loop.units_per_row, loop.before_step = unit, units_per_row, before_step
        request = stack.enter_context(stop_requests())
        if processes.device.type == "cpu":
            stack.enter_context(memory_kept())
        try:
            if wanted is None:
                raise TrainingTried(loop.tried(request))
            result = loop.run_to_end(request, progress)
            loop.give_back(model)
        finally:
            del loop.objective  # what DDP holds must go before the processes part
    if run is not None and processes.main:
        write_training_report(run, run.path.name)
    return result


class _Loop:
    """What changes from step to step."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batches: BatchStream,
        config: TrainingConfig,
        processes: Processes,
        run: RunFolder | None,
        evaluate: Callable[[Any], Mapping[str, float]] | None,
        sample: Callable[[Any], str] | None,
        options: Options,
    ) -> None:
        self.config, self.processes, self.batches, self.run = config, processes, batches, run
        self.evaluate, self.sample = evaluate, sample
        self.unit, self.units_per_row = "rows", 1
        self.before_step: Callable[[float], None] | None = None
        processor = config.clock == "processor" and processes.device.type == "cpu"
        self.clock = time.process_time if processor else time.perf_counter
        self.model, self.objective = distribute(model, loss, processes, config.distribution)
        self.optimiser = optimiser_of(self.model, config, options)
        self.parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        self.step, self.seconds, self.mean_loss = 0, 0.0, math.nan
        self.prepared = -1  # the last step that `before_step` was called for
        self.rate = math.nan  # of the last step
        self.since_log: dict[str, float] = {}  # sums over the steps since the last line of the record
        self.scores: dict[str, float] = {}
        self.best_step = 0
        self.best_scores: dict[str, float] = {}
        self.precision: Any = config.precision
        self.names: tuple[str, ...] | None = None  # of what is told beside the loss

    @property
    def share(self) -> float:
        """Share of the training that is done."""
        return self.step / self.config.steps if self.config.steps else self.seconds / (60 * self.config.minutes)

    def run_to_end(self, request: StopRequest, shown: bool) -> TrainingResult:
        """Go on from the last checkpoint, if there is one, until all is done."""
        self._begin()
        main, config = self.processes.main, self.config
        with Progress(self.run if main else None, self.unit, shown and main, self.share) as progress:
            while self.share < 1:
                before = self.share
                with memory_explained(self.step, config, self.processes.count, self.run):
                    stop = self._make_step(request)
                if self.step % config.log_every == 0 or self.share >= 1:
                    self._log(progress)
                if self._evaluation_is_due(before):
                    self._look(progress)
                elif stop or (config.checkpoint_every and self.step % config.checkpoint_every == 0):
                    self._store("last")
                if stop and self.share < 1:
                    told = "" if self.run is None else "; the same call goes on from there"
                    raise TrainingInterrupted(f"stopped after {self.step} steps{told}")
        speed = self.step * config.batch * self.units_per_row / max(self.seconds, 1e-9)
        return TrainingResult(
            self.step, self.seconds, speed, self.mean_loss, self.scores, self.best_step, self.best_scores
        )

    def tried(self, request: StopRequest) -> Trial:
        """Some steps and an evaluation, timed."""
        self._begin()
        self._make_step(request)
        started, count = time.perf_counter(), 0
        while count < ENOUGH_STEPS and (count == 0 or time.perf_counter() - started < ENOUGH_SECONDS):
            if self._make_step(request):
                raise TrainingInterrupted("stopped")
            count += 1
        ended = time.perf_counter()
        with Progress(None, self.unit, False, 0.0) as progress:
            self._look(progress)
        look = time.perf_counter() - ended if self.evaluate is not None else 0.0
        size = sum(parameter.numel() for parameter in self.parameters)
        return Trial(size, count, (ended - started) / count, look, self.config)

    def _evaluation_is_due(self, before: float) -> bool:
        """Whether to evaluate after a step before which a share of the training was done."""
        count = self.config.evaluations
        if self.share >= 1 or not count:
            return self.share >= 1 or self.step % self.config.evaluate_every == 0
        return math.floor(self.share * count + 1e-9) > math.floor(before * count + 1e-9)

    def _begin(self) -> None:
        """Restore the last checkpoint; without one choose the precision and write the first, to see that it can be."""
        self.optimiser.zero_grad(set_to_none=True)  # a training that was left in the middle of a step leaves gradients
        enter_training(self.model)
        kept = None if self.run is None else self.run.path / "last.safetensors"
        if kept is not None and self.processes.of_main(kept.exists()):
            progress = load_checkpoint(kept, self.model, self.optimiser)
            self.batches.restore(progress.pop("stream"))
            for name, value in progress.items():
                setattr(self, name, value)
            if self.run is not None and self.processes.main:
                self.run.forget_after(self.step)
            return
        if self.precision == "auto":
            start = self.batches.state()
            self._prepare()
            batch = self._batch(self._draw(), 0)
            self.batches.restore(start)
            with memory_explained(0, self.config, self.processes.count, self.run):
                choice = faster_precision(self.objective, batch, self.processes.device)
            self.precision = self.processes.of_main(choice)
        self._store("last")

    def _make_step(self, request: StopRequest) -> bool:
        """One step of the optimiser; returns whether a signal asked for the end."""
        started = self.clock()
        config, processes = self.config, self.processes
        self._prepare()
        self.rate = learning_rate(config, self.step, self.share)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * group["rate_factor"]
        places = self._draw()
        sums: Any = 0.0
        for part in range(config.accumulation):
            number = processes.rank * config.accumulation + part
            _seed(config.seed, self.step, number, processes.device)
            batch = self._batch(places, part)
            with gradients_exchanged(self.objective, now=part + 1 == config.accumulation):
                with autocast(processes.device, self.precision):
                    loss, metrics = self.objective(batch)
                (loss / config.accumulation).backward()
            names = self._names(metrics)
            sums = sums + _stacked([loss, *(metrics[name] for name in names)]) / config.accumulation
        norm = nn.utils.clip_grad_norm_(self.parameters, config.clip or math.inf)
        if hasattr(norm, "full_tensor"):
            norm = norm.full_tensor()
        measured = dict(zip(("loss", *names), processes.mean(sums).tolist(), strict=True), gradient_norm=float(norm))
        check_finite({name: measured[name] for name in ("loss", "gradient_norm")}, self.step, self.run)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        # The processes have to agree on the clock and on the wish to stop.
        spent = torch.tensor([self.clock() - started, request.made], dtype=torch.float32)
        seconds, stop = processes.mean(spent.to(sums.device)).tolist() if processes.count > 1 else spent.tolist()
        self.seconds += seconds
        for name, value in {**measured, "seconds": seconds, "steps": 1}.items():
            self.since_log[name] = self.since_log.get(name, 0) + value
        return bool(stop)

    def _prepare(self) -> None:
        """Let the user change what changes before a step, once for each."""
        if self.before_step is not None and self.prepared != self.step:
            _seed(self.config.seed, self.step, _BEFORE, self.processes.device)
            self.before_step(self.share)
        self.prepared = self.step

    def _draw(self) -> Any:
        """Places of the rows of a step."""
        _seed(self.config.seed, self.step, _DRAW, self.processes.device)
        return self.batches.draw(self.config.batch)

    def _names(self, metrics: Mapping[str, Tensor]) -> tuple[str, ...]:
        """The names of the first step; others would stand for something else, or be means over other steps."""
        if self.names is None:
            own = {*_OWN, self.unit, f"{self.unit}_per_second"}
            if taken := sorted(own & metrics.keys()):
                raise ValueError(f"loss: expected scalars of other names than those of the record, got {taken}")
            self.names = tuple(metrics)
        if metrics.keys() != set(self.names):
            raise ValueError(
                f"loss: expected the scalars of the first step, {list(self.names)}, got {list(metrics)} "
                f"at step {self.step}"
            )
        return self.names

    def _batch(self, places: Any, part: int) -> Any:
        """The rows of this process in one part of a step, on its device."""
        rows = self.processes.share(self.config.batch, part, self.config.accumulation)
        return _moved(self.batches.load(places[rows]), self.processes.device)

    def _log(self, progress: Progress) -> None:
        """Means since the last line, into the record and the bar."""
        sums, self.since_log = self.since_log, {}
        steps, seconds = sums.pop("steps"), sums.pop("seconds")
        means = {name: value / steps for name, value in sums.items()}
        self.mean_loss = means["loss"]
        units = self.config.batch * self.units_per_row
        speed = steps * units / max(seconds, 1e-9)
        rounded = {"rate": self.rate, "seconds": round(self.seconds, 3), f"{self.unit}_per_second": round(speed, 1)}
        progress.record(step=self.step, **{self.unit: self.step * units}, **means, **rounded)
        progress.moved(self.share, self.step, self.mean_loss, speed)

    def _look(self, progress: Progress) -> None:
        """Evaluate, and write the checkpoints: the best one first, so that the last never speaks of one not written."""
        _seed(self.config.seed, _EVALUATION, 0, self.processes.device)
        told: dict[str, Any] = {}
        with (
            evaluation_mode(self.model),
            torch.no_grad(),
            autocast(self.processes.device, self.precision),
            parameters_gathered(self.objective),
        ):
            if self.evaluate is not None:
                scores = {name: float(value) for name, value in self.evaluate(self.model).items()}
                self.scores = told["scores"] = self.processes.of_main(scores)
            if self.sample is not None:
                told["sample"] = self.sample(self.model)
        if told:
            progress.record(step=self.step, seconds=round(self.seconds, 3), **told)
        first = next(iter(self.scores.values()), math.nan)
        if math.isfinite(first) and (not self.best_scores or first < next(iter(self.best_scores.values()))):
            self.best_step, self.best_scores = self.step, self.scores
            self._store("best")
        self._store("last")

    def _store(self, name: str) -> None:
        if self.run is None:
            return
        names = ("step", "seconds", "mean_loss", "since_log", "scores", "best_step", "best_scores", "precision")
        state = {"stream": self.batches.state(), **{name: getattr(self, name) for name in names}}
        path = self.run.path / f"{name}.safetensors"
        save_checkpoint(path, self.model, self.optimiser, state, write=self.processes.main)
        self.processes.of_main(None)  # none goes on, say to read the best weights, before the file is there

    def give_back(self, model: nn.Module) -> None:
        """The trained weights in the module that was given, in evaluation mode."""
        if self.model is not model:
            with torch.no_grad():
                for mine, trained in zip(model.parameters(), self.model.parameters(), strict=True):
                    mine.copy_(trained.full_tensor() if hasattr(trained, "full_tensor") else trained)
                for kept, buffer in zip(model.buffers(), self.model.buffers(), strict=True):
                    kept.copy_(buffer)
        model.eval()


def _stacked(values: list[Tensor]) -> Tensor:
    """Scalars one after another, none of them in a narrower type than its own, all in float32 at least."""
    dtype = functools.reduce(torch.promote_types, (value.dtype for value in values), torch.float32)
    return torch.stack([value.detach().to(dtype) for value in values])


def _seed(seed: int, step: int, part: int, device: torch.device) -> None:
    """Seed the generators of CPU and device; `torch.manual_seed` would keep a list of calls where CUDA is not used."""
    mixed = int(np.random.SeedSequence([seed, step, part]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)


def _moved(batch: Any, device: torch.device) -> Any:
    """The tensors of a batch on the device."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {name: _moved(value, device) for name, value in batch.items()}
    if not isinstance(batch, (tuple, list)):
        return batch
    moved = [_moved(value, device) for value in batch]
    return type(batch)(*moved) if hasattr(batch, "_fields") else type(batch)(moved)  # of a named tuple, one by one

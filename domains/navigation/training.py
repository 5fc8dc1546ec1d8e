"""Training of a policy on waypoint worlds with stable-baselines3: settings, progress, evaluations, resumption.

A run folder holds, beside what `separable.training.RunFolder` writes,

::

    policy.safetensors        the best policy so far, which `saved.load_policy` reads together with config.json
    last.safetensors          the last one
    checkpoint.safetensors    everything that an interrupted run needs to go on (`checkpoint`)
    best.zip                  the best model in the form of stable-baselines3, written at the end
    figures/learning_curve.png
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from domains.navigation.checkpoint import restore, store
from domains.navigation.coordinates import Coordinates
from domains.navigation.evaluation import evaluate
from domains.navigation.learning_curves import draw_learning_curves, learning_curve
from domains.navigation.networks import PublishedSpan, QuadraticNetwork
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import parameter_count
from domains.navigation.random_states import random_states_kept
from domains.navigation.stable_baselines import WaypointVecEnv
from separable.atomic_files import replacing
from separable.files import read_tensors, write_tensors
from separable.training import RunFolder, process_count
from separable.training.run_lock import sole_user

_ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "a2c": A2C, "sac": SAC, "td3": TD3, "dqn": DQN}
_RATES = {"ppo": 1e-2, "a2c": 3e-3, "sac": 3e-3, "td3": 1e-3, "dqn": 1e-3}
_ROLLOUTS = {"ppo": 64, "a2c": 8}
_CHOOSING = 1_000_000  # seed of the first episode by which the best policy is chosen


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a policy is trained.

    Args:
        algorithm: PPO and A2C take any actions, SAC and TD3 commands, DQN the numbers of a table (``discrete``).
        policy: Our separable network, stable-baselines3's multilayer perceptron, or the published SPAN.
        options: The worlds; their fields are settings of their own on the command line.
        pairs: Products of two learned coordinates in our network.
        singles: Learned coordinates that enter our network alone.
        atoms: What a learned coordinate of our network is carried through.
        hidden: Widths of the perceptron's layers.
        rank: Modes of the published network.
        steps: Steps of a world in all; on-policy methods finish the last rollout.
        worlds: Number of worlds that fly side by side.
        learning_rate: At the start; None takes one that suits the algorithm.
        decay: Whether the learning rate falls to 0 in a straight line.
        rollout: Steps of each world between two updates, PPO (64 if None) and A2C (8).
        batch: Transitions in a step of the optimiser; A2C takes them all.
        epochs: Times that PPO goes through a rollout.
        gamma: Discount per step.
        gae_lambda: Of generalised advantage estimation, PPO and A2C.
        entropy: Weight of the entropy bonus, PPO and A2C.
        deviation: Standard deviation of the actions: at the start for PPO and A2C, throughout for TD3.
        buffer: Transitions that SAC, TD3 and DQN remember.
        warmup: Steps with random actions before those learn.
        updates: Steps of their optimiser for each step of all worlds; None makes as many as there are worlds.
        evaluate_every: Steps between evaluations, each of which also saves; None makes 20 of them.
        episodes: Episodes of an evaluation.
        seed: Of worlds, start values and actions.

    Raises:
        ValueError: If a field is out of its range or does not go with another; both are named.

    Example:
        >>> TrainConfig(algorithm="dqn")
        Traceback (most recent call last):
        ValueError: TrainConfig: dqn needs options with discrete=True; got discrete=False
    """

    algorithm: Literal["ppo", "a2c", "sac", "td3", "dqn"] = "ppo"
    policy: Literal["span", "mlp", "published"] = "span"
    options: WaypointOptions = dataclasses.field(default_factory=WaypointOptions)
    pairs: int = 5
    singles: int = 5
    atoms: Literal["tanh", "spline"] = "tanh"
    hidden: tuple[int, ...] = (64, 64)
    rank: int = 8
    steps: int = 40_000
    worlds: int = 16
    learning_rate: float | None = None
    decay: bool = True
    rollout: int | None = None
    batch: int = 128
    epochs: int = 10
    gamma: float = 0.99
    gae_lambda: float = 0.95
    entropy: float = 0.0
    deviation: float = 1.0
    buffer: int = 100_000
    warmup: int = 1_000
    updates: int | None = None
    evaluate_every: int | None = None
    episodes: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        self._one_of("algorithm", tuple(_ALGORITHMS))
        self._one_of("policy", ("span", "mlp", "published"))
        whole = ["rank", "steps", "worlds", "batch", "epochs", "buffer", "episodes"]
        whole += [name for name in ("rollout", "evaluate_every", "updates") if getattr(self, name) is not None]
        for name in whole:
            self._at_least(name, 1)
        for name in ("pairs", "singles", "warmup", "seed"):
            self._at_least(name, 0)
        if not all(isinstance(width, int) and width > 0 for width in self.hidden):
            self._wrong("hidden", "positive whole numbers", self.hidden)
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            self._wrong("learning_rate", "a finite number greater than 0, or None", self.learning_rate)
        for name in ("gamma", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                self._wrong(name, "a number from 0 to 1", getattr(self, name))
        for name, least in (("entropy", "at least 0"), ("deviation", "greater than 0")):
            value = getattr(self, name)
            if not (0 <= value < math.inf) or (name == "deviation" and value == 0):
                self._wrong(name, f"a finite number {least}", value)
        if self.algorithm == "dqn" and not self.options.discrete:
            raise ValueError("TrainConfig: dqn needs options with discrete=True; got discrete=False")
        if self.algorithm in ("sac", "td3") and self.options.discrete:
            raise ValueError(f"TrainConfig: {self.algorithm} needs options with discrete=False; got discrete=True")
        if self.algorithm == "ppo":
            self._at_least("batch", 2)  # advantages are divided by their spread in a batch
            if self.horizon * self.worlds < 2:
                raise ValueError("TrainConfig: ppo needs rollout * worlds of at least 2; got 1")
        QuadraticNetwork(self.pairs, self.singles, atoms=self.atoms)  # says what is wrong with them

    def _one_of(self, name: str, known: tuple[str, ...]) -> None:
        if getattr(self, name) not in known:
            self._wrong(name, "one of " + ", ".join(known), getattr(self, name))

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self._wrong(name, f"a whole number of at least {least}", value)

    def _wrong(self, name: str, expected: str, value: object) -> None:
        raise ValueError(f"TrainConfig: {name} is {expected}; got {value!r}")

    @property
    def every(self) -> int:
        """Steps between evaluations."""
        return self.evaluate_every or max(1, self.steps // 20)

    @property
    def horizon(self) -> int:
        """Steps of each world between two updates of PPO and A2C."""
        return self.rollout or _ROLLOUTS.get(self.algorithm, 1)

    @property
    def rate(self) -> float:
        """The learning rate at the start."""
        return self.learning_rate or _RATES[self.algorithm]

    def changed(self, **changes: Any) -> TrainConfig:
        """These settings with some fields replaced."""
        return dataclasses.replace(self, **changes)

    @classmethod
    def of(cls, data: dict[str, Any]) -> TrainConfig:
        """Settings from plain data, such as what JSON holds; the inverse of ``dataclasses.asdict``.

        Raises:
            ValueError: If a field does not exist or is wrong.

        Example:
            >>> TrainConfig.of({"steps": 10, "options": {"wind": 1.0}}).options.wind
            1.0
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in data:
            if name not in known:
                raise ValueError(f"TrainConfig: expected fields among {', '.join(known)}; got {name!r}")
        options = WaypointOptions().changed(**data.get("options", {}))
        return cls(**{**data, "options": options, "hidden": tuple(data.get("hidden", (64, 64)))})

    @random_states_kept()
    def mlp_of_equal_size(self) -> TrainConfig:
        """The same training of a perceptron with two equal hidden layers and as many parameters as near as can be.

        Example:
            >>> TrainConfig().mlp_of_equal_size().hidden
            (11, 11)
        """
        wanted = parameter_count(make_model(self.changed(buffer=1)).policy)
        width, best = 1, (math.inf, 1)
        while True:
            model = make_model(self.changed(policy="mlp", hidden=(width, width), buffer=1))
            count = parameter_count(model.policy)
            best = min(best, (abs(count - wanted), width))
            if count >= wanted:
                return self.changed(policy="mlp", hidden=(best[1], best[1]))
            width += 1


@dataclasses.dataclass(frozen=True)
class _Falling:
    """A learning rate that falls to 0, as a function of the share of training that remains."""

    rate: float

    def __call__(self, remaining: float) -> float:
        return self.rate * max(remaining, 1e-3)


def make_model(config: TrainConfig, env: VecEnv | None = None, device: str = "cpu") -> BaseAlgorithm:
    """An untrained model of stable-baselines3, which seeds the global random numbers of Python, numpy and torch.

    Args:
        config: The settings.
        env: The worlds; by default as few as the algorithm takes, for a model that is only to fly.
        device: Where it trains; networks this small are fastest on a CPU.

    Example:
        >>> parameter_count(make_model(TrainConfig()).policy)
        494
    """
    c = config
    if env is None:
        # PPO takes no rollout of a single step.
        env = WaypointVecEnv(2 if c.algorithm == "ppo" and c.horizon == 1 else 1, c.options)
    kwargs: dict[str, Any] = {}
    if c.policy == "mlp":
        kwargs["net_arch"] = [*c.hidden]
    elif c.policy == "published":
        kwargs["actor"] = PublishedSpan(rank=c.rank)
    else:
        kwargs["coordinates"] = Coordinates.of_waypoints(c.options)
        kwargs["actor"] = QuadraticNetwork(c.pairs, c.singles, atoms=c.atoms)
    settings: dict[str, Any] = {"gamma": c.gamma}
    if c.algorithm in _ROLLOUTS:
        settings |= {"n_steps": c.horizon, "gae_lambda": c.gae_lambda, "ent_coef": c.entropy}
        if not c.options.discrete:
            kwargs["log_std_init"] = math.log(c.deviation)
        if c.algorithm == "ppo":
            n = c.horizon * env.num_envs
            # stable-baselines3 warns of batches that do not divide the rollout: the last one would be smaller.
            parts = max(1, round(n / c.batch))
            while n % parts:
                parts -= 1
            settings |= {"batch_size": n // parts, "n_epochs": c.epochs}
    else:
        settings |= {"buffer_size": c.buffer, "learning_starts": c.warmup, "batch_size": c.batch}
        settings |= {"train_freq": 1, "gradient_steps": c.updates or -1}
    if c.algorithm == "td3":
        n_actions = int(np.prod(env.action_space.shape or (1,)))
        settings["action_noise"] = NormalActionNoise(np.zeros(n_actions), np.full(n_actions, c.deviation))
    return _ALGORITHMS[c.algorithm](
        "MlpPolicy" if c.policy == "mlp" else "SpanPolicy",
        env,
        learning_rate=_Falling(c.rate) if c.decay else c.rate,
        policy_kwargs=kwargs,
        seed=c.seed,
        device=device,
        **settings,
    )


def train(
    config: TrainConfig,
    run: RunFolder | None = None,
    *,
    progress: bool = True,
    device: str = "cpu",
    each: Callable[[dict[str, Any]], None] | None = None,
) -> BaseAlgorithm:
    """Train a policy; a run that was interrupted goes on from its last evaluation.

    On one machine with one number of threads the resumed run is the run that was not interrupted, to the last bit: the
    checkpoint holds parameters, optimisers, the replay buffer, the worlds and the states of the random numbers.

    Args:
        config: The settings.
        run: The folder that gets measurements, policies and checkpoints; without one only the model is left.
        progress: Whether to show a bar with the time left.
        device: Where to train.
        each: Called with each evaluation: ``step``, ``seconds``, whether it is the ``best``, and the fields of
            `evaluation.Evaluation`.

    Returns:
        The model with the parameters of the best evaluation: greatest success, then greatest return.

    Raises:
        FloatingPointError: The parameters stopped being finite; policies and checkpoint are those from before.
        RuntimeError: Another process trains in this folder.
        ValueError: Torchrun started several processes, and one trains.

    Example:
        >>> model = train(TrainConfig(steps=512, worlds=8, episodes=5), progress=False)
        >>> model.num_timesteps
        512
    """
    if process_count() > 1:
        raise ValueError(f"train: expected one process, which has many worlds, got {process_count()} of a torchrun")
    with contextlib.ExitStack() as held:
        if run is not None:
            held.enter_context(sole_user(run.path))
        return _trained(config, run, progress, device, each)


def _trained(
    config: TrainConfig,
    run: RunFolder | None,
    progress: bool,
    device: str,
    each: Callable[[dict[str, Any]], None] | None,
) -> BaseAlgorithm:
    env = WaypointVecEnv(config.worlds, config.options)
    model = make_model(config, env, device)
    best: dict[str, Any] = {}
    if run is not None and (run.path / "checkpoint.safetensors").exists():
        best = restore(model, run.path / "checkpoint.safetensors")
    done = model.num_timesteps
    watch = _Watch(config, run, best, progress, each)
    if done < config.steps:
        try:
            # A checkpoint holds begun worlds also where no step was made: starting anew would reset them again.
            model.learn(config.steps - done, watch, log_interval=None, reset_num_timesteps=not best)  # type: ignore[arg-type]
        except ValueError as error:  # torch refuses a distribution of NaN before we look
            if _finite(model):
                raise
            raise _diverged(model) from error
        finally:
            watch.bar.close()
        watch.look()
    model.policy.load_state_dict(watch.kept if run is None else read_tensors(run.path / "policy.safetensors"))
    if run is not None:
        _finish(run, model)
    return model


class _Watch(BaseCallback):
    """Between two updates: evaluate, log, keep the best, save."""

    def __init__(
        self,
        config: TrainConfig,
        run: RunFolder | None,
        best: dict[str, Any],
        progress: bool,
        each: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        super().__init__()
        self.config, self.run, self.best, self.each = config, run, best, each
        self.kept: dict[str, torch.Tensor] = {}
        self.next, self.started = 0, time.perf_counter()
        self.bar = tqdm(total=config.steps, disable=not progress, unit="step")

    def _on_training_start(self) -> None:
        done = self.num_timesteps
        self.bar.update(done - self.bar.n)
        self.next = self._after(done) if self.best else 0  # what a checkpoint was taken after is evaluated

    def _after(self, step: int) -> int:
        return (step // self.config.every + 1) * self.config.every

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps >= self.next:
            self.look()

    def _on_step(self) -> bool:
        self.bar.update(min(self.num_timesteps, self.config.steps) - self.bar.n)
        return True

    def look(self) -> None:
        """Evaluate the model as it is."""
        model, config = self.model, self.config
        step = model.num_timesteps
        if not _finite(model):
            raise _diverged(model)
        self.next = self._after(step)
        found = evaluate(model, config.options, config.episodes, _CHOOSING)
        score = [found.success, found.returned]
        tensors = {name: value.detach().clone() for name, value in model.policy.state_dict().items()}
        better = score > self.best.get("score", [])
        if better:
            self.best, self.kept = {"score": score, "step": step}, tensors
        self.bar.set_postfix_str(f"success {found.success:.0%}")
        seconds = round(time.perf_counter() - self.started, 2)
        row = {"step": step, "seconds": seconds, "best": better, **dataclasses.asdict(found)}
        if self.each is not None:
            self.each(row)
        if self.run is None:
            return
        if better:
            write_tensors(self.run.path / "policy.safetensors", tensors)
        write_tensors(self.run.path / "last.safetensors", tensors)
        self.run.log(**row)
        store(model, self.run.path / "checkpoint.safetensors", self.best)


def _finish(run: RunFolder, model: BaseAlgorithm) -> None:
    packed = io.BytesIO()  # a disk that is full would leave stable-baselines3's file half-written and open
    model.save(packed)
    with replacing(run.path / "best.zip") as temporary:
        temporary.write_bytes(packed.getvalue())
    run.figure("learning_curve", draw_learning_curves({run.path.name: learning_curve(run)}))


def _finite(model: BaseAlgorithm) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in model.policy.parameters())


def _diverged(model: BaseAlgorithm) -> FloatingPointError:
    return FloatingPointError(
        f"train: the policy's parameters are no longer finite after {model.num_timesteps} steps; the best policy until "
        "then is kept; try a smaller learning_rate in another folder"
    )

"""Train the expert and record its flights: ``python datasets/waypoint_flights/generate.py [file] [episodes]``.

Without arguments it is `sample.h5`, the first episodes of the whole set: 200 of them, in under two minutes.
"""

import sys
from pathlib import Path

import torch
from stable_baselines3 import PPO

from domains.navigation.evaluation import evaluate
from domains.navigation.flights import record_flights
from domains.navigation.options import WaypointOptions
from domains.navigation.stable_baselines import WaypointVecEnv

SAMPLE = Path(__file__).with_name("sample.h5")
OPTIONS = WaypointOptions()  # unicycle, 4 waypoints, vectors in the body's axes
SAMPLE_EPISODES, EPISODES = 20, 200
SEED, NOISE, NOISY = 2_000_000, 0.3, 0.5
STEPS, RATE = 204_800, 3e-3


def train_expert() -> PPO:
    """A perceptron of 64 x 64, so that nothing of the separable networks is in the data."""
    torch.set_num_threads(1)
    envs = WaypointVecEnv(16, OPTIONS)
    envs.seed(0)
    model = PPO(
        "MlpPolicy",
        envs,
        learning_rate=lambda remaining: RATE * remaining,
        n_steps=64,
        batch_size=128,
        n_epochs=10,
        gamma=0.995,
        policy_kwargs={"net_arch": [64, 64]},
        seed=0,
        device="cpu",
    )
    model.learn(STEPS)
    found = evaluate(model, OPTIONS, 500, seed=1_000_000)
    print(f"expert: {found.row()['success']} in {found.flight_time:.2f} s")
    if found.success < 0.98:
        raise RuntimeError(f"expert: expected a success of 98 % or more; got {found.success:.1%}; change its seed")
    return model


def main(path: Path | str = SAMPLE, episodes: int | str = SAMPLE_EPISODES) -> Path:
    """Make the file; an older one is replaced when the new one is complete."""
    name = "separable/waypoints2d/expert-v0"
    return record_flights(path, train_expert(), OPTIONS, int(episodes), SEED, noise=NOISE, noisy=NOISY, name=name)


if __name__ == "__main__":
    print(main(*sys.argv[1:3]))

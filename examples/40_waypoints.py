"""A policy that reaches waypoints, trained in seconds by PPO; beside it a perceptron of equal size.

Both have the setting that suits the separable policy; RESULTS.md compares them with each tuned on its own.

Usage: python 40_waypoints.py [steps]
"""

import sys

from stable_baselines3 import PPO

from domains.navigation.evaluation import evaluate, fly
from domains.navigation.flight_pictures import draw_flights
from domains.navigation.options import WaypointOptions
from domains.navigation.policies import parameter_count  # importing that file registers "SpanPolicy"
from domains.navigation.stable_baselines import WaypointVecEnv

OPTIONS = WaypointOptions(waypoints=4, wind=0.5)  # a unicycle in the plane; any field of the world is set here
POLICIES = {
    # The observation starts with the vectors to the next two waypoints; lengths and directions become coordinates.
    "SpanPolicy": {"coordinates": {"vectors": [[0, 1], [2, 3]]}, "actor": {"pairs": 5, "singles": 5}},
    "MlpPolicy": {"net_arch": [11, 11]},
}


def main(steps: str = "24000") -> None:
    """Train both, evaluate them on the same unseen courses, draw the flights of ours."""
    for name, kwargs in POLICIES.items():
        env = WaypointVecEnv(16, OPTIONS)
        model = PPO(
            name,
            env,
            learning_rate=lambda left: 1e-2 * left,  # falls to 0 with the share of training that is left
            n_steps=64,
            batch_size=128,
            policy_kwargs=kwargs,
            seed=0,
            device="cpu",
        )
        model.learn(int(steps))
        found = evaluate(model, OPTIONS, episodes=200)
        print(f"{name}: {parameter_count(model.policy)} parameters, {model.num_timesteps} steps")
        for what, value in found.row().items():
            print(f"  {what}: {value}")
        if name == "SpanPolicy":
            draw_flights(fly(model, OPTIONS, 8)).savefig("waypoints.png", dpi=110)
            model.save("waypoints.zip")  # of stable-baselines3, as for any of its policies
    print("picture: waypoints.png")


if __name__ == "__main__":
    main(*sys.argv[1:2])

"""A shipped policy, flown in worlds of your own: other wind, other waypoints, one or many at once; one file of it."""

import gymnasium
import numpy as np

from domains.navigation.evaluation import evaluate
from domains.navigation.export import export_numpy
from domains.navigation.flight_pictures import film
from domains.navigation.numpy_policy import NumpyPolicy
from domains.navigation.saved import baseline_names, load_baseline

WINDS = (0.0, 1.0, 2.0)  # m/s
SQUARE = [[3.0, 3.0], [-3.0, 3.0], [-3.0, -3.0], [3.0, -3.0]]  # m


def main() -> None:
    """Fly one course by hand, many in wind, film some, and export the policy."""
    print("shipped:", ", ".join(baseline_names()))
    model, config = load_baseline("waypoints2d")  # a PPO of stable-baselines3

    env = gymnasium.make("separable/Waypoints2D-v0")  # known since something of domains.navigation was imported
    observation, info = env.reset(seed=0, options={"waypoints": SQUARE, "position": [0.0, 0.0], "heading": 0.0})
    ended = False
    while not ended:
        action, _ = model.predict(observation, deterministic=True)
        observation, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    print(f"square: {info['waypoints_reached']} waypoints in {info['time']:.2f} s")

    for wind in WINDS:
        found = evaluate(model, config.options.changed(wind=wind), episodes=200)
        print(f"wind {wind:g} m/s: success {found.row()['success']}, {found.row()['time']}")

    film(model, config.options.changed(wind=1.0), "flights.gif", episodes=4)
    print("moving picture: flights.gif")

    size = export_numpy(model, "policy.npz")  # export_onnx writes ONNX
    controller = NumpyPolicy.load("policy.npz")  # numpy and the file numpy_policy.py are all that a vehicle needs
    apart = np.abs(controller(observation) - model.predict(observation, deterministic=True)[0]).max()
    print(f"policy.npz: {size} bytes, actions within {apart:.0e} of the model's")


if __name__ == "__main__":
    main()

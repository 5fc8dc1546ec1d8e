"""A surrogate that says how sure it is: few evaluations of an expensive formula, chosen where they teach the most."""

import torch

import separable
from separable.problems import OTL_CIRCUIT


def main() -> None:
    """Start from 60 evaluations of a circuit's voltage, and add 40 where the surrogate is least sure."""
    x, voltage = OTL_CIRCUIT.sample(60, space_filling=True)
    new, truth = OTL_CIRCUIT.sample(4000, seed=1)
    while True:
        posterior = separable.condition(x, voltage, domain=OTL_CIRCUIT.ranges)
        error = float((posterior.predict(new) - truth).square().mean().sqrt())
        spread = posterior.deviation(new)
        print(
            f"{len(x)} evaluations: error {error:.1e} {OTL_CIRCUIT.unit}; "
            f"it says {float(spread.square().mean().sqrt()):.1e} {OTL_CIRCUIT.unit}"
        )
        if len(x) == 100:
            break
        more = posterior.suggest(20)
        x, voltage = torch.cat([x, more]), torch.cat([voltage, OTL_CIRCUIT(more)])
    print("its mean is an ordinary layer:", posterior.layer)


if __name__ == "__main__":
    main()

"""Thermal histories of additively manufactured Inconel 718 walls and the strength they leave: measured or simulated.

`read` takes the measured data set of Xie et al. (2021) from files of the user's own; `simulate` makes one of the same
shape with a heat solver and a stated rule of strength. `khronos` predicts strength from a history, `leave_wall_out`
validates it, `Inverter` finds a history for a wanted strength and `Planner` a way of building it. What KHRONOS is
compared with is in `domains.microstructure.thermal_history.baselines`, which needs scikit-learn.
"""

from domains.microstructure.thermal_history.heat import Plate, Surroundings
from domains.microstructure.thermal_history.histories import EDGES, ThermalHistories
from domains.microstructure.thermal_history.inversion import Inverter
from domains.microstructure.thermal_history.material import INCONEL_718, Material
from domains.microstructure.thermal_history.measured import read
from domains.microstructure.thermal_history.model import fit_khronos, khronos
from domains.microstructure.thermal_history.planner import Built, Planner
from domains.microstructure.thermal_history.simulated import PROCESS, RANGES, places, simulate
from domains.microstructure.thermal_history.strength import StrengthRule, solidification
from domains.microstructure.thermal_history.validation import Model, leave_wall_out, scores
from domains.microstructure.thermal_history.wall import History, Wall, build
from domains.microstructure.thermal_history.windows import Windows

__all__ = [
    "EDGES",
    "ThermalHistories",
    "read",
    "INCONEL_718",
    "Material",
    "Plate",
    "Surroundings",
    "History",
    "Wall",
    "build",
    "StrengthRule",
    "solidification",
    "PROCESS",
    "RANGES",
    "places",
    "simulate",
    "Windows",
    "Model",
    "leave_wall_out",
    "scores",
    "fit_khronos",
    "khronos",
    "Inverter",
    "Built",
    "Planner",
]

"""Navigation: waypoint worlds for reinforcement learning; importing this registers them with gymnasium."""

from typing import Any

from gymnasium.envs.registration import register, registry

_WORLDS: dict[str, dict[str, Any]] = {
    "separable/Waypoints2D-v0": {"dynamics": "unicycle"},
    "separable/Waypoints3D-v0": {"dynamics": "quadrotor", "reach_radius": 0.75},
}
for _name, _options in _WORLDS.items():
    if _name not in registry:
        register(
            _name,
            entry_point="domains.navigation.environment:WaypointEnv",
            vector_entry_point="domains.navigation.vector_environment:WaypointVectorEnv",
            kwargs={"world": _options},
        )

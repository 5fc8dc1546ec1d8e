"""Vehicles: closed forms, conserved quantities, and a slow independent integration."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from domains.navigation.dynamics import GRAVITY, VEHICLES, DoubleIntegrator, Quadrotor, Unicycle, in_body, relaxation

STILL2, STILL3 = np.zeros((2, 1)), np.zeros((3, 1))


def flown(vehicle, state, command, wind, step, steps):
    for _ in range(steps):
        state = vehicle.step(state, command, wind, step)
    return state


@pytest.mark.parametrize("drag", [0.0, 1e-9, 0.7])
def test_a_double_integrator_follows_its_closed_form_for_any_step(drag):
    vehicle = DoubleIntegrator(drag=drag, acceleration=2.0)
    start = np.array([[1.0], [-2.0], [3.0], [0.5]])
    command, wind = np.array([[0.5], [-1.0]]), np.array([[1.0], [2.0]])
    end = flown(vehicle, start, command, wind, 0.05, 40)
    solution = solve_ivp(
        lambda t, y: np.concatenate([y[2:], 2.0 * command[:, 0] - drag * (y[2:] - wind[:, 0])]),
        (0, 2),
        start[:, 0],
        rtol=1e-12,
        atol=1e-12,
    )
    np.testing.assert_allclose(end[:, 0], solution.y[:, -1], rtol=1e-9)
    np.testing.assert_allclose(vehicle.step(start, command, wind, 2.0), end, rtol=1e-10)


def test_a_unicycle_reaches_its_terminal_speed_and_no_other():
    vehicle = Unicycle(drag=0.8, acceleration=4.0)
    start = vehicle.at_rest(STILL2, np.array([0.3]))
    end = flown(vehicle, start, np.array([[1.0], [0.0]]), STILL2, 0.05, 1000)
    assert end[3, 0] == pytest.approx(4.0 / 0.8)
    drifting = flown(vehicle, start, STILL2, np.array([[math.cos(0.3)], [math.sin(0.3)]]), 0.05, 1000)
    assert drifting[3, 0] == pytest.approx(1.0)  # carried along by the wind behind it


def test_a_unicycle_converges_to_an_independent_solution_with_second_order():
    vehicle = Unicycle()
    command, wind = np.array([[0.7], [-0.4]]), np.array([[0.5], [-0.3]])
    start = np.array([[0.0], [0.0], [0.2], [1.0], [0.5]])

    def rate(t, y):
        c, s = math.cos(y[2]), math.sin(y[2])
        push = 4.0 * 0.7 - (y[3] - 0.5 * c + 0.3 * s)
        return [y[3] * c, y[3] * s, y[4], push, (3.0 * -0.4 - y[4]) / 0.1]

    exact = solve_ivp(rate, (0, 2), start[:, 0], rtol=1e-11, atol=1e-11).y[:, -1]
    errors = [np.abs(flown(vehicle, start, command, wind, 2 / n, n)[:, 0] - exact).max() for n in (40, 80)]
    assert errors[0] < 5e-3
    assert errors[0] / errors[1] > 3.5


def test_a_quadrotor_hovers_at_command_zero_and_falls_freely_without_thrust():
    vehicle = Quadrotor(drag=0.0)
    start = vehicle.at_rest(STILL3, np.array([0.7]))
    np.testing.assert_allclose(flown(vehicle, start, np.zeros((4, 1)), STILL3, 0.05, 100), start, atol=1e-12)
    off = np.array([[-1.0], [0], [0], [0]])
    end = flown(vehicle, start, off, STILL3, 0.05, 20)
    assert end[2, 0] == pytest.approx(-0.5 * GRAVITY)
    assert end[5, 0] == pytest.approx(-GRAVITY)


def test_energy_is_kept_in_a_fall_without_drag():
    vehicle = Quadrotor(drag=0.0)
    state = vehicle.at_rest(STILL3, np.zeros(1))
    state[3:6, 0], state[10:, 0] = (1.0, 2.0, 5.0), (3.0, -2.0, 1.0)
    energy = []
    for _ in range(50):
        energy.append(float(GRAVITY * state[2, 0] + 0.5 * (state[3:6] ** 2).sum()))
        state = vehicle.step(state, np.array([[-1.0], [1], [0], [0]]), STILL3, 0.05)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-12)


def test_a_quadrotor_converges_to_an_independent_solution():
    vehicle = Quadrotor()
    command, wind = np.array([[0.2], [0.3], [-0.2], [0.5]]), np.array([[1.0], [0.5], [-0.2]])

    def rate(t, y):
        w, x, y_, z = y[6:10]
        o = y[10:]
        up = np.array([2 * (x * z + w * y_), 2 * (y_ * z - w * x), 1 - 2 * (x * x + y_ * y_)])
        dv = GRAVITY * 1.2 * up - [0, 0, GRAVITY] - 0.3 * (y[3:6] - wind[:, 0])
        product = np.array([[-x, -y_, -z], [w, -z, y_], [z, w, -x], [-y_, x, w]])
        j = np.array([1.0, 1.0, 1.8])
        torque = j * (np.array([4.0, 4.0, 2.0]) * command[1:, 0] - o) / 0.1
        return np.concatenate([y[3:6], dv, 0.5 * product @ o, (torque - np.cross(o, j * o)) / j])

    start = vehicle.at_rest(STILL3, np.array([0.4]))
    exact = solve_ivp(rate, (0, 1), start[:, 0], rtol=1e-10, atol=1e-10).y[:, -1]
    errors = [np.abs(flown(vehicle, start, command, wind, 1 / n, n)[:, 0] - exact).max() for n in (100, 200, 400)]
    assert errors[-1] < 0.02
    assert errors[0] / errors[1] > 1.7
    assert errors[1] / errors[2] > 1.7


def test_the_quaternion_keeps_its_length_and_the_axes_stay_a_rotation():
    vehicle, random = Quadrotor(), np.random.default_rng(0)
    state = vehicle.at_rest(np.zeros((3, 16)), random.uniform(-3, 3, 16))
    for _ in range(500):
        state = vehicle.step(state, random.uniform(-1, 1, (4, 16)), np.zeros((3, 16)), 0.05)
    np.testing.assert_allclose((state[6:10] ** 2).sum(0), 1, rtol=1e-14)
    axes = vehicle.axes(state)
    np.testing.assert_allclose(np.einsum("ijw,ikw->wjk", axes, axes), np.tile(np.eye(3), (16, 1, 1)), atol=1e-13)
    np.testing.assert_allclose(np.linalg.det(np.moveaxis(axes, 2, 0)), 1)
    vector = random.normal(size=(3, 16))
    np.testing.assert_allclose(in_body(axes, vector), np.einsum("ijw,iw->jw", axes, vector))


@pytest.mark.parametrize("vehicle", [DoubleIntegrator, Unicycle])
@pytest.mark.parametrize(("drag", "wind"), [(1.0, 0.0), (0.5, 2.0), (0.1, 1.0), (0.0, 0.0)])
def test_no_flight_inside_the_arena_is_faster_than_the_top_speed(vehicle, drag, wind):
    """Flights from anywhere that hold commands at their bounds, straight ahead, in circles and in turns."""
    moved, n, random = vehicle(drag=drag), 2000, np.random.default_rng(0)
    state = moved.at_rest(random.uniform(-5, 5, (2, n)), random.uniform(-np.pi, np.pi, n))
    command, inside, fastest = random.choice([-1.0, 1.0], (2, n)), np.ones(n, bool), 0.0
    blown = wind * np.array([[np.cos(0.7)], [np.sin(0.7)]])
    for _ in range(160):
        if vehicle is Unicycle:  # held from some time on
            command[1] = np.where(random.random(n) < 0.05, random.choice([-1.0, 0.0, 1.0], n), command[1])
        state = moved.step(state, command, np.repeat(blown, n, 1), 0.05)
        inside &= np.abs(state[:2]).max(0) <= 5.0
        fastest = max(fastest, np.linalg.norm(moved.velocity(state)[:, inside], axis=0).max(initial=0.0))
    assert 0.6 * moved.top_speed(wind, 10.0) < fastest <= moved.top_speed(wind, 10.0) * (1 + 1e-12)
    terminal = (np.sqrt(2) if vehicle is DoubleIntegrator else 1.0) * 4.0 + wind
    assert drag != 1 or moved.top_speed(wind, 10.0) == pytest.approx(terminal)


@pytest.mark.parametrize("name", VEHICLES)
@pytest.mark.parametrize("frame", ["body", "world"])
def test_readings_have_the_stated_sizes(name, frame):
    vehicle = VEHICLES[name]()
    state = vehicle.at_rest(np.zeros((vehicle.dimensions, 2)), np.zeros(2))
    read = vehicle.read(state, vehicle.axes(state), frame)
    assert sum(len(values) for values in read) == sum(reading.size for reading in vehicle.readings(frame))
    assert vehicle.velocity(state).shape == (vehicle.dimensions, 2)


def test_relaxation_is_smooth_where_the_drag_vanishes():
    for drag in (0.9e-3, 1.1e-3):  # on both sides of where the series ends
        integral = [
            math.exp(-drag),
            -math.expm1(-drag) / drag,
            sum((-drag) ** k / math.factorial(k + 2) for k in range(9)),
        ]
        np.testing.assert_allclose(relaxation(drag, 1.0), integral, rtol=1e-12)


@pytest.mark.parametrize("wrong", [{"drag": -1.0}, {"acceleration": 0.0}, {"turn_time": math.nan}])
def test_impossible_vehicles_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Unicycle(**wrong)

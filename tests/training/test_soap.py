"""SOAP against its algorithm written out for one matrix, and what must hold of it whatever it is given."""

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from separable.training import SOAP, RunFolder, ShuffledRows, TrainingConfig, TrainingInterrupted, run_training


def gradients(steps: int, *shape: int, seed: int = 0) -> Tensor:
    """Gradients of a noisy training, more of them along some directions than along others."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(shape[0], shape[0], dtype=torch.float64, generator=generator))[0]
    sizes = torch.logspace(0, -2, shape[0], dtype=torch.float64)
    white = torch.randn(steps, *shape, dtype=torch.float64, generator=generator)
    return torch.einsum("ij,j,sj...->si...", turn, sizes, white)


def after(found: Tensor, start: Tensor, **options: object) -> Tensor:
    """A parameter after steps with these gradients."""
    parameter = nn.Parameter(start.clone())
    optimiser = SOAP([parameter], **options)  # type: ignore[arg-type]
    for gradient in found:
        parameter.grad = gradient.clone()
        optimiser.step()
    return parameter.detach()


def test_the_steps_are_those_of_the_algorithm_written_out() -> None:
    found, start = gradients(23, 5, 4), torch.ones(5, 4, dtype=torch.float64)
    ours = after(found, start, lr=0.1, betas=(0.8, 0.9), basis_beta=0.7, weight_decay=0.5, every=4)
    weight, mean, square = start.numpy().copy(), np.zeros((5, 4)), np.zeros((5, 4))
    left, right = np.zeros((5, 5)), np.zeros((4, 4))
    for step, g in enumerate(found.numpy(), 1):
        left, right = 0.7 * left + 0.3 * g @ g.T, 0.7 * right + 0.3 * g.T @ g
        if step == 1:
            p, q = np.linalg.eigh(left)[1][:, ::-1], np.linalg.eigh(right)[1][:, ::-1]
        elif step % 4 == 0:
            rows = np.argsort(-np.diag(p.T @ left @ p))
            columns = np.argsort(-np.diag(q.T @ right @ q))
            square = square[rows][:, columns]
            p, q = np.linalg.qr(left @ p[:, rows])[0], np.linalg.qr(right @ q[:, columns])[0]
        mean = 0.8 * mean + 0.2 * g
        square = 0.9 * square + 0.1 * (p.T @ g @ q) ** 2
        adam = (p.T @ mean @ q / (1 - 0.8**step)) / (np.sqrt(square / (1 - 0.9**step)) + 1e-8)
        weight = weight - 0.1 * 0.5 * weight - 0.1 * p @ adam @ q.T
    np.testing.assert_allclose(ours.numpy(), weight, rtol=0, atol=1e-7)


def test_steps_turn_with_the_coordinates() -> None:
    """What Adam does not do: a rotation of rows and columns rotates all that follows."""
    found, start = gradients(30, 6, 6), torch.zeros(6, 6, dtype=torch.float64)
    u, v = (torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0] for _ in range(2))
    turned = after(u @ found @ v, u @ start @ v, lr=0.1, every=3)
    torch.testing.assert_close(turned, u @ after(found, start, lr=0.1, every=3) @ v, rtol=0, atol=1e-5)


def test_three_axes_turn_as_well() -> None:
    found, start = gradients(20, 3, 4, 5), torch.zeros(3, 4, 5, dtype=torch.float64)
    turns = [torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in (3, 4, 5)]

    def turned(value: Tensor) -> Tensor:
        return torch.einsum("ia,jb,kc,...abc->...ijk", *turns, value)

    expected = turned(after(found, start, every=3))
    torch.testing.assert_close(after(turned(found), start, every=3), expected, atol=1e-5, rtol=0)


def test_vectors_and_long_axes_are_left_to_adam() -> None:
    for shape in ((7,), (7, 1)):
        found, start = gradients(25, *shape), torch.ones(shape, dtype=torch.float64)
        parameter = nn.Parameter(start.clone())
        adam = torch.optim.AdamW([parameter], lr=0.02, betas=(0.9, 0.95), weight_decay=0.1)
        for gradient in found:
            parameter.grad = gradient.clone()
            adam.step()
        ours = after(found, start, lr=0.02, betas=(0.9, 0.95), weight_decay=0.1, largest=6)
        torch.testing.assert_close(ours, parameter.detach(), rtol=0, atol=1e-12)


def test_parameters_that_are_done_together_are_as_alone() -> None:
    several = [gradients(12, 4, 3, seed=seed) for seed in range(3)]
    parameters = [nn.Parameter(torch.ones(4, 3, dtype=torch.float64)) for _ in several]
    optimiser = SOAP(parameters, lr=0.1, every=2)
    for step in range(12):
        for parameter, found in zip(parameters, several, strict=True):
            parameter.grad = found[step].clone()
        if step in (0, 5):  # the last one has no gradient now and then
            parameters[-1].grad = None
        optimiser.step()
    several[-1] = several[-1][[step for step in range(12) if step not in (0, 5)]]
    for parameter, found in zip(parameters, several, strict=True):
        alone = after(found, torch.ones(4, 3, dtype=torch.float64), lr=0.1, every=2)
        torch.testing.assert_close(parameter.detach(), alone, rtol=0, atol=1e-10)


def test_the_state_stays_in_its_place() -> None:
    """Whatever shapes there are: state that is copied every step costs more than the step."""
    parameters = [nn.Parameter(torch.ones(shape)) for shape in ((4, 3), (3,), (4, 3), (5, 2))]
    optimiser, places = SOAP(parameters), []
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()
        places.append([optimiser.state[parameter]["exp_avg"].data_ptr() for parameter in parameters])
    assert places[0] == places[1] == places[2]


@pytest.mark.parametrize("several", [False, True])
def test_a_state_that_is_cleared_is_begun_again(several: bool) -> None:
    found, start = gradients(20, 4, 3), torch.ones(4, 3, dtype=torch.float64)
    parameters = [nn.Parameter(start.clone()) for _ in range(1 + several)]
    optimiser = SOAP(parameters, lr=0.1, every=3)
    for step, gradient in enumerate(found):
        if step == 10:
            middle = parameters[0].detach().clone()
            optimiser.state.clear()
        for parameter in parameters:
            parameter.grad = gradient.clone()
        optimiser.step()
    torch.testing.assert_close(parameters[0].detach(), after(found[10:], middle, lr=0.1, every=3), rtol=0, atol=1e-12)


def test_complex_parameters_are_pairs_of_real_ones() -> None:
    pairs = gradients(15, 4, 3, 2)
    start = torch.ones(4, 3, 2, dtype=torch.float64)
    ours = after(torch.view_as_complex(pairs), torch.view_as_complex(start), lr=0.1, every=3)
    torch.testing.assert_close(torch.view_as_real(ours), after(pairs, start, lr=0.1, every=3), rtol=0, atol=1e-12)


def test_no_gradient_at_all_changes_nothing() -> None:
    start = torch.ones(3, 3)
    assert torch.equal(after(torch.zeros(12, 3, 3), start, every=2), start)


def bent_valley() -> Callable[[Tensor], Tensor]:
    """A quadratic in 400 numbers with a condition of 1e4, whose axes are not those of the matrix."""
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.linalg.qr(torch.randn(20, 20, generator=generator))[0] for _ in range(2))
    steep = torch.outer(torch.logspace(0, -2, 20), torch.logspace(0, -2, 20))
    return lambda weight: (steep * (left @ weight @ right).square()).sum()


def test_it_descends_where_adam_does_not_know_the_axes() -> None:
    """The mean over the last steps of a noisy descent, the best of four rates for each."""
    valley = bent_valley()

    def reached(kind: type[torch.optim.Optimizer], rate: float) -> float:
        generator = torch.Generator().manual_seed(0)
        weight = nn.Parameter(torch.randn(20, 20, generator=generator))
        optimiser = kind([weight], lr=rate)  # type: ignore[call-arg]
        found = []
        for step in range(400):
            for group in optimiser.param_groups:
                group["lr"] = rate * (1 - step / 400)
            optimiser.zero_grad()
            noise = 0.05 * torch.randn(20, 20, generator=generator)
            loss = valley(weight + noise)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            found.append(float(valley(weight.detach())))
        return sum(found[-20:]) / 20

    rates = (3e-3, 1e-2, 3e-2, 1e-1)
    soap, adam = (min(reached(kind, rate) for rate in rates) for kind in (SOAP, torch.optim.Adam))
    assert soap < adam / 3


def squares(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def test_a_training_that_was_stopped_goes_on_to_the_bit(tmp_path: Path) -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    y = torch.sin(x.sum(1, keepdim=True))
    config = TrainingConfig(steps=30, batch=8, optimiser="soap", rate=0.02, warm_up=5)

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))

    whole, again = network(), network()
    run_training(whole, squares, ShuffledRows(64, lambda rows: (x[rows], y[rows])), config, progress=False)
    run, left = RunFolder(tmp_path, {}, 0), [14]

    def stopping(rows: Tensor) -> tuple[Tensor, Tensor]:
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGTERM)
        return x[rows], y[rows]

    with pytest.raises(TrainingInterrupted):
        run_training(network(), squares, ShuffledRows(64, stopping), config, run=run, progress=False)
    run_training(again, squares, ShuffledRows(64, stopping), config, run=run, progress=False)
    for ours, theirs in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_training_does_not_go_on_with_another_optimiser(tmp_path: Path) -> None:
    """AdamW's state has no bases, so that SOAP would go on as Adam."""
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    run = RunFolder(tmp_path, {}, 0)
    for optimiser, accepted in (("adamw", True), ("adamw", True), ("soap", False)):
        model = nn.Linear(3, 3)
        before = model.weight.detach().clone()
        config = TrainingConfig(steps=2, batch=8, optimiser=optimiser)  # type: ignore[arg-type]
        with contextlib.nullcontext() if accepted else pytest.raises(ValueError, match="AdamW"):
            run_training(
                model, squares, ShuffledRows(8, lambda rows: (x[rows], x[rows])), config, run=run, progress=False
            )
        assert torch.equal(model.weight, before) is not accepted


@pytest.mark.parametrize(
    "options",
    [{"lr": -1.0}, {"betas": (0.9, 1.0)}, {"basis_beta": 1.0}, {"every": 0}, {"largest": -1}, {"eps": 0.0}],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        SOAP([nn.Parameter(torch.ones(2))], **options)  # type: ignore[arg-type]


def test_parameters_without_numbers_are_passed_by() -> None:
    """As of a linear map from no features, which torch's own optimisers take."""
    parameters = [nn.Parameter(torch.ones(shape)) for shape in ((0, 3), (3, 0), (2, 0, 3), (3, 3))]
    optimiser = SOAP(parameters, lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    assert torch.equal(parameters[-1].detach(), after(torch.ones(1, 3, 3), torch.ones(3, 3), lr=0.1))


def test_what_it_cannot_train_is_refused() -> None:
    with pytest.raises(ValueError, match="bfloat16"):
        SOAP([nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))])
    optimiser = SOAP([nn.Parameter(torch.ones(2, 2))])
    with pytest.raises(ValueError, match="bfloat16"):
        optimiser.add_param_group({"params": [nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))]})
    assert len(optimiser.param_groups) == 1
    with pytest.raises(ValueError, match="distribution"):
        TrainingConfig(steps=1, optimiser="soap", distribution="fsdp")
    with pytest.raises(ValueError, match="optimiser"):
        TrainingConfig(steps=1, optimiser="adam")  # type: ignore[arg-type]


def test_what_it_cannot_step_along_is_refused_and_nothing_has_moved():
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimiser = SOAP([weight])
    for wrong in (torch.full((3, 2), torch.nan), torch.full((3, 2), 1e30)):
        weight.grad = wrong
        with pytest.raises(FloatingPointError, match=r"\(3, 2\)"):
            optimiser.step()
    weight.grad = torch.ones(3, 2).to_sparse()
    with pytest.raises(RuntimeError, match="dense"):
        optimiser.step()
    assert torch.equal(weight, torch.ones(3, 2))
    weight.grad = torch.ones(3, 2)
    optimiser.step()
    fresh = torch.nn.Parameter(torch.ones(3, 2))
    fresh.grad = torch.ones(3, 2)
    SOAP([fresh]).step()
    assert torch.equal(weight, fresh)
    with pytest.raises(ValueError, match="floating-point"):
        optimiser.add_param_group(
            {"params": [torch.nn.Parameter(torch.ones(2, dtype=torch.long), requires_grad=False)]}
        )
    assert len(optimiser.param_groups) == 1

"""The stress decoder obeys mechanics whatever it has learned, and training makes it better."""

import pytest
import torch

from domains.microstructure.cells import generate
from domains.microstructure.elasticity import Material, effective_stiffness, elastic_response
from domains.microstructure.janus import Janus, JanusConfig
from domains.microstructure.stress import StressConfig, StressDecoder, relative_error, strain_of, under, von_mises
from domains.microstructure.stress_training import StressTraining, solved_stress, train_stress, turned

PAIR = (Material(0.1, 0.3), Material(1.0, 0.2))
SMALL = {"latent": 4, "young": (0.1, 1.0), "poisson": (0.3, 0.2), "width": 4}


@pytest.fixture(scope="module")
def cells():
    return torch.stack([generate("spinodal", (32, 32), 0.5, seed=s, wavelength=16.0) for s in range(10)])


def random_decoder(**settings):
    torch.manual_seed(0)
    decoder = StressDecoder(StressConfig(**SMALL | settings)).double()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return decoder


def solver(cells):
    effective, fields = elastic_response(cells.double(), PAIR, tolerance=1e-10)
    return effective, fields.stress


def test_many_steps_reach_the_solver_without_learning(cells):
    _, truth = solver(cells[:2])
    errors = []
    for steps in (0, 4, 60):
        decoder = StressDecoder(StressConfig(**SMALL, equilibrium=steps)).double()
        with torch.no_grad():
            decoder.momenta.fill_(0.27)
            found = decoder(torch.rand(2, 4, 4, 4, dtype=torch.float64), cells[:2])
        errors.append(float(relative_error(found, truth).max()))
    assert errors[0] > 2 * errors[1]
    assert errors[2] < 1e-5


def test_strain_is_compatible_and_its_mean_is_the_load(cells):
    decoder = random_decoder()
    latent = torch.rand(3, 4, 4, 4, dtype=torch.float64)
    stress = decoder(latent, cells[:3])
    stiffness = torch.stack([torch.from_numpy(material.stiffness(2)) for material in PAIR])[cells[:3].long()]
    strain = torch.linalg.solve(stiffness[:, None], stress.movedim(2, -1)[..., None])[..., 0]
    assert torch.allclose(strain.mean((2, 3)), torch.eye(3, dtype=torch.float64).expand(3, 3, 3), atol=1e-6)
    # The energy of a compatible field is never below the least energy, which is the effective stiffness of a cell of
    # the same one-point quadrature; the solver's full quadrature lies above that, so only the former is exact.
    least = StressDecoder(StressConfig(**SMALL, equilibrium=0)).double()(latent, cells[:3])
    assert torch.allclose(least, stiffness.permute(0, 4, 3, 1, 2), atol=1e-6)  # nothing learned: uniform strain
    energy = (strain * stress.movedim(2, -1)).sum(-1).mean((2, 3))
    assert bool((energy >= 0.98 * effective_stiffness(cells[:3], PAIR).diagonal(dim1=1, dim2=2)).all())


def test_projection_keeps_compatible_strains(cells):
    fields = elastic_response(cells[:1].double(), PAIR)[1]
    fluctuation = fields.strain - torch.eye(3, dtype=torch.float64)[:, :, None, None]
    found = strain_of(random_decoder()._displacement(fluctuation))
    assert torch.allclose(found, fluctuation, atol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"equilibrium": 0}, {"predicts": "stress"}, {"from_cell": False}])
def test_shifts_by_a_block_commute(cells, settings):
    decoder = random_decoder(**settings)
    latent = torch.rand(2, 4, 4, 4, dtype=torch.float64)
    there = decoder(latent, cells[:2])
    moved = decoder(latent.roll((1, 2), (2, 3)), cells[:2].roll((8, 16), (1, 2)))
    assert torch.allclose(moved, there.roll((8, 16), (3, 4)), rtol=0, atol=1e-12)
    assert not torch.allclose(there, torch.zeros_like(there))


def test_superposition_is_the_solver_under_a_combined_load(cells):
    effective, stress = solver(cells[:2])
    load = (0.01, -0.004, 0.02)
    combined = under(stress, load)
    expected = effective @ torch.tensor(load, dtype=torch.float64)
    assert torch.allclose(combined.mean((2, 3)), expected, rtol=1e-7)
    twice = under(stress, (0.02, -0.008, 0.04))
    assert torch.allclose(twice, 2 * combined)
    parts = under(stress, (0.01, 0, 0)) + under(stress, (0, -0.004, 0)) + under(stress, (0, 0, 0.02))
    assert torch.allclose(parts, combined)


def test_symmetries_of_the_data_are_those_of_the_solver(cells):
    _, stress = solver(cells[:3])
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        there, expected = turned(cells[:3], stress, generator)
        assert torch.allclose(solver(there)[1], expected, atol=1e-7)


@pytest.mark.parametrize(("plane", "along"), [("strain", 0.2), ("stress", 0.0)])
def test_von_mises_is_that_of_the_deviator(plane, along):
    stress = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    cell = torch.ones(1, 4, 4, dtype=torch.float64)
    xx, yy, xy = stress[0, :, 1, 2]
    tensor = torch.diag(torch.stack([xx, yy, along * (xx + yy)]))
    tensor[0, 1] = tensor[1, 0] = xy
    deviator = tensor - tensor.trace() / 3 * torch.eye(3, dtype=torch.float64)
    expected = (1.5 * deviator.square().sum()).sqrt()
    pair = tuple(Material(material.young, material.poisson, plane) for material in PAIR)
    assert torch.allclose(von_mises(stress, cell, pair)[0, 1, 2], expected)


@pytest.mark.parametrize("unit", [2.1e5, 1e-9])
def test_the_unit_of_the_moduli_does_not_change_the_fields(cells, unit):
    there = solved_stress(cells[:1], tuple(Material(unit * material.young, material.poisson) for material in PAIR))
    here = elastic_response(cells[:1].float(), PAIR)[1].stress
    assert torch.allclose(there.float() / unit, here, rtol=0, atol=1e-3 * float(here.abs().max()))


@pytest.mark.parametrize("settings", [{"equilibrium": 0}, {"equilibrium": 1}])
def test_training_lowers_the_error_and_repeats_itself(cells, tmp_path, settings):
    torch.manual_seed(1)
    janus = Janus(JanusConfig((32, 32), ("youngs_x",), latent=4, width=4), torch.zeros(1), torch.ones(1))
    config = StressConfig(**SMALL, **settings)
    truth = solved_stress(cells, PAIR)

    def trained(steps):
        training = StressTraining(steps=steps, batch=4, cells=8, rate=1e-2)
        return train_stress(cells, janus, config, training, stress=truth, progress=False)

    def error(decoder):
        with torch.no_grad():
            return float(relative_error(decoder(janus.encode(cells[8:].float()), cells[8:].float()), truth[8:]).mean())

    one, many = trained(1), trained(60)
    assert error(many) < 0.8 * error(one)
    again = trained(60)
    assert all(torch.equal(a, b) for a, b in zip(many.parameters(), again.parameters(), strict=True))
    many.save(tmp_path)
    assert error(StressDecoder.load(tmp_path)) == error(many)


def test_bad_input_is_refused(cells, tmp_path):
    decoder = StressDecoder(StressConfig(**SMALL))
    with pytest.raises(ValueError):
        decoder(torch.rand(1, 4, 4, 4), torch.ones(1, 32, 24))
    with pytest.raises(ValueError):
        decoder(torch.rand(1, 4, 4, 4), torch.ones(1, 30, 32))
    for settings in ({"width": 0}, {"equilibrium": -1}, {"predicts": "pressure"}, {"young": (0.0, 1.0)}):
        with pytest.raises(ValueError):
            StressConfig(**settings)
    with pytest.raises(ValueError):
        StressTraining(steps=0)
    for strain in ((0, 0, 0), (0.01, 0), (float("nan"), 0, 0)):
        with pytest.raises(ValueError):
            under(torch.ones(1, 3, 3, 2, 2), strain)
    janus = Janus(JanusConfig((32, 32), ("youngs_x",), latent=4, width=4), torch.zeros(1), torch.ones(1))
    with pytest.raises(ValueError):
        train_stress(cells, janus, StressConfig(latent=5), progress=False)
    with pytest.raises(ValueError):
        train_stress(cells[:, :24], janus, progress=False)
    with pytest.raises(ValueError):
        train_stress(cells, janus, stress=torch.ones(10, 3, 3, 8, 8), progress=False)
    with pytest.raises(FileNotFoundError):
        StressDecoder.load(tmp_path)


def test_stress_of_phases_that_keep_their_volume_is_not_told_in_half_precision():
    cells = (torch.rand(2, 12, 12, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    stress = solved_stress(cells, (Material(10.0, 0.4999), Material(100.0, 0.4999)))
    assert stress.dtype == torch.float32
    assert bool(stress.isfinite().all())

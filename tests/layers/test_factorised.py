"""SeparableLinear and SeparableEmbedding against dense weights assembled by numpy, entry formulas written out."""

import itertools
import string

import numpy as np
import pytest
import torch

from separable.layers.embedding import SeparableEmbedding
from separable.layers.factorised import balanced_shape, covering_shape, factorised_matrix
from separable.layers.linear import SeparableLinear

# factorisation, row shape, column shape, rank
CASES = [
    ("canonical_polyadic", (12,), (10,), 4),
    ("canonical_polyadic", (3, 4), (10,), 5),
    ("canonical_polyadic", (2, 3, 2), (5, 2), 6),
    ("tucker", (12,), (10,), (3, 2)),
    ("tucker", (3, 4), (5, 2), (2, 3, 4, 2)),
    ("tucker", (2, 3, 2), (5, 2), 2),
    ("tensor_train", (12,), (10,), 3),
    ("tensor_train", (3, 4), (5, 2), 3),
    ("tensor_train", (2, 3, 2), (5, 1, 2), (3, 2)),
]


def dense_by_einsum(matrix):
    """The whole tensor from its definition, one einsum over named digits."""
    letters = iter(string.ascii_letters)
    rows = [next(letters) for _ in matrix.row_shape]
    columns = [next(letters) for _ in matrix.column_shape]
    values = {name: p.detach().numpy() for name, p in matrix.named_parameters()}
    operands, terms = [], []
    if hasattr(matrix, "cores"):
        links = [next(letters) for _ in range(len(rows) + 1)]
        for k, (a, b) in enumerate(zip(rows, columns, strict=True)):
            terms.append(links[k] + a + b + links[k + 1])
            operands.append(values[f"cores.{k}"])
    else:
        shared = next(letters)
        core = ""
        for side, names in (("row", rows), ("column", columns)):
            for k, a in enumerate(names):
                own = next(letters) if "core" in values else shared
                core += own
                terms.append(a + own)
                operands.append(values[f"{side}_factors.{k}"])
        if "core" in values:
            terms.append(core)
            operands.append(values["core"])
    tensor = np.einsum(",".join(terms) + "->" + "".join(rows + columns), *operands)
    return tensor.reshape(matrix.n_rows, matrix.n_columns)


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{len(case[1])}x{len(case[2])}")
def case(request):
    kind, rows, columns, rank = request.param
    return {"factorisation": kind, "rank": rank, "out_shape": rows, "in_shape": columns}


@pytest.fixture
def layer(case):
    return SeparableLinear(10, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0), **case)


def test_both_ways_equal_the_dense_product(layer):
    dense = dense_by_einsum(layer.matrix)
    assert np.abs(dense).max() > 1e-3
    np.testing.assert_allclose(layer.dense().detach().numpy(), dense, rtol=1e-11, atol=1e-13)
    x = np.random.default_rng(1).standard_normal((2, 3, 10))
    expected = x @ dense.T + layer.bias.detach().numpy()
    for dense_first in (True, False):
        layer.matrix.prefers_dense = lambda n, answer=dense_first: answer
        np.testing.assert_allclose(layer(torch.from_numpy(x)).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dense_first", [True, False])
def test_gradients(layer, dense_first):
    layer.matrix.prefers_dense = lambda n: dense_first
    x = torch.randn(4, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def evaluate(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(evaluate, (x, *(p.detach().requires_grad_() for p in layer.parameters())))


def test_rows_of_every_token(case):
    shapes = {"token_shape": case["out_shape"], "feature_shape": case["in_shape"]}
    embedding = SeparableEmbedding(
        11, 10, factorisation=case["factorisation"], rank=case["rank"], dtype=torch.float64, **shapes
    )
    dense = dense_by_einsum(embedding.matrix)
    several = torch.tensor([[10, 0, 3, 3], [7, 1, 9, 2], [4, 5, 6, 8]])
    for dense_first in (True, False):
        embedding.matrix.prefers_dense_rows = lambda n, answer=dense_first: answer
        for index in (
            several,
            several[0, :1].int(),
            several[:0],
        ):  # more and fewer rows than values of a digit, and none
            vectors = embedding(index).detach().numpy()
            np.testing.assert_allclose(vectors, dense[index.numpy()], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(embedding.to_embedding().weight.detach().numpy(), dense[:11], rtol=1e-11, atol=1e-13)


def test_fit_recovers_a_weight_of_its_own_form(layer, case):
    dense = torch.nn.Linear(10, 12, dtype=torch.float64)
    with torch.no_grad():
        dense.weight.copy_(layer.dense())
    found = SeparableLinear.from_linear(dense, **case)
    # Alternating least squares converges linearly, or to a nearby local minimum; the others are direct.
    iterative = case["factorisation"] == "canonical_polyadic" and len(case["out_shape"] + case["in_shape"]) > 2
    assert found.relative_error < (0.05 if iterative else 1e-7)
    x = torch.randn(5, 10, dtype=torch.float64)
    difference = (found(x) - dense(x)).detach().norm() / dense(x).detach().norm()
    assert difference < 20 * found.relative_error + 1e-12


def test_a_weight_of_zeros_is_fitted(case):
    dense = torch.nn.Linear(10, 12, dtype=torch.float64)
    torch.nn.init.zeros_(dense.weight)
    found = SeparableLinear.from_linear(dense, **case)
    assert found.relative_error == 0
    assert torch.equal(found.dense(), dense.weight)
    optimiser = torch.optim.SGD(found.matrix.parameters(), lr=0.1)  # as layers that start at zero must be able to
    x = torch.randn(20, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, last = (one_step(found, optimiser, x) for _ in range(2))
    assert last < first


def one_step(layer, optimiser, x):
    loss = (layer(x) - x.sum(1, keepdim=True)).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def test_reported_error_is_the_error(case):
    dense = torch.nn.Linear(10, 12, dtype=torch.float64)
    found = SeparableLinear.from_linear(dense, **case)
    weight = dense.weight.detach().numpy()
    error = np.linalg.norm(dense_by_einsum(found.matrix) - weight) / np.linalg.norm(weight)
    assert found.relative_error == pytest.approx(error, rel=1e-6, abs=1e-12)
    assert torch.equal(found.bias, dense.bias)
    if found.factorisation != "tensor_train" or len(found.matrix.row_shape) > 1:
        assert error > 0.01  # a random weight is not of low rank


def test_singular_values_give_the_best_low_rank_weight():
    dense = torch.nn.Linear(20, 15, dtype=torch.float64)
    values = np.linalg.svd(dense.weight.detach().numpy(), compute_uv=False)
    for rank in (1, 4, 15):
        found = SeparableLinear.from_linear(dense, rank=rank)
        best = np.sqrt((values[rank:] ** 2).sum() / (values**2).sum())
        assert found.relative_error == pytest.approx(best, rel=1e-6, abs=1e-7)


def test_two_core_train_is_the_best_of_its_rank():
    dense = torch.nn.Linear(12, 20, dtype=torch.float64)
    paired = dense.weight.detach().numpy().reshape(4, 5, 3, 4).transpose(0, 2, 1, 3).reshape(12, 20)
    values = np.linalg.svd(paired, compute_uv=False)
    found = SeparableLinear.from_linear(dense, rank=3, factorisation="tensor_train", out_shape=(4, 5), in_shape=(3, 4))
    assert found.relative_error == pytest.approx(np.sqrt((values[3:] ** 2).sum() / (values**2).sum()), rel=1e-6)


def test_orthogonal_iteration_is_no_worse_than_the_higher_order_svd():
    weight = torch.randn(24, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    matrix = factorised_matrix((4, 6), (5, 6), "tucker", 2, dtype=torch.float64)
    matrix.fit(weight)
    tensor = weight.numpy().reshape(4, 6, 5, 6)
    projected = tensor
    for mode in range(4):
        unfolding = np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)
        u = np.linalg.svd(unfolding, full_matrices=False)[0][:, :2]
        projected = np.moveaxis(np.tensordot(u @ u.T, projected, axes=(1, mode)), 0, mode)
    hosvd = np.linalg.norm(projected - tensor) / np.linalg.norm(tensor)
    assert matrix.relative_error(weight) < hosvd - 1e-6


def test_alternating_least_squares_never_does_worse_with_more_terms_and_ends_at_a_stationary_point():
    weight = torch.randn(12, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    errors = []
    for rank in (1, 4, 16):
        matrix = factorised_matrix((3, 4), (5, 2), "canonical_polyadic", rank, dtype=torch.float64)
        matrix.fit(weight)
        errors.append(matrix.relative_error(weight))
        loss = (matrix.dense() - weight).square().sum() / weight.square().sum()
        gradients = torch.autograd.grad(loss, list(matrix.parameters()))
        assert max(float(g.abs().max()) for g in gradients) < 2e-2
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize(("kind", "rank"), [("canonical_polyadic", 40), ("tucker", 5), ("tensor_train", 20)])
@pytest.mark.parametrize("digits", [1, 2])
def test_start_has_the_variance_of_the_dense_layer(kind, rank, digits):
    shapes = {1: ((60,), (60,)), 2: ((6, 10), (10, 6))}[digits]
    generator = torch.Generator().manual_seed(5)
    variances = []
    for _ in range(40):
        layer = SeparableLinear(
            60, 60, rank=rank, factorisation=kind, out_shape=shapes[0], in_shape=shapes[1], generator=generator
        )
        variances.append(float(layer.dense().detach().square().mean()))
    mean, error = np.mean(variances), np.std(variances) / len(variances) ** 0.5
    assert abs(mean * 3 * 60 - 1) < 5 * error * 3 * 60
    assert error * 3 * 60 < 0.1  # else the line above could not fail
    assert layer.bias.abs().max() <= 60**-0.5


def test_embedding_start_has_unit_variance():
    table = SeparableEmbedding(500, 64, rank=32, generator=torch.Generator().manual_seed(6)).dense()
    assert abs(float(table.detach().square().mean()) - 1) < 0.1


def test_padding_index_is_zero_and_learns_nothing():
    embedding = SeparableEmbedding(9, 4, padding_idx=-2, rank=3, dtype=torch.float64)
    index = torch.tensor([7, 1])
    vectors = embedding(index)
    assert (vectors[0] == 0).all()
    assert (vectors[1] != 0).all()
    vectors.sum().backward()
    gradient = embedding.matrix.row_factors[0].grad
    assert (gradient[7] == 0).all()
    assert (gradient[1] != 0).all()
    assert (embedding.dense()[7] == 0).all()
    assert embedding.to_embedding().padding_idx == 7


def test_from_embedding_with_a_shape_that_covers_more_tokens():
    dense = torch.nn.Embedding(11, 6, dtype=torch.float64)
    found = SeparableEmbedding.from_embedding(dense, rank=100, factorisation="tensor_train")
    assert found.matrix.row_shape == (4, 3)
    assert found.relative_error < 1e-12
    torch.testing.assert_close(found(torch.arange(11)), dense.weight, rtol=1e-10, atol=1e-12)
    renormalising = torch.nn.Embedding(11, 6, max_norm=1.0)
    with pytest.raises(ValueError):
        SeparableEmbedding.from_embedding(renormalising, rank=2)


def test_from_embedding_counts_the_vector_that_padding_loses():
    dense = torch.nn.Embedding(11, 6, padding_idx=3, dtype=torch.float64)
    with torch.no_grad():
        dense.weight[3] = 10.0  # as in a table read from a file
    found = SeparableEmbedding.from_embedding(dense, rank=2)
    weight = dense.weight.detach().numpy()
    error = np.linalg.norm(found(torch.arange(11)).detach().numpy() - weight) / np.linalg.norm(weight)
    assert found.relative_error == pytest.approx(error)
    others = np.delete(weight, 3, 0)
    lost = np.linalg.norm(np.delete(found.dense().detach().numpy(), 3, 0) - others)
    assert lost == pytest.approx(np.linalg.norm(np.linalg.svd(others)[1][2:]))  # as near as rank 2 comes to them


def test_to_linear_is_the_same_map(layer):
    x = torch.randn(3, 10, dtype=torch.float64)
    torch.testing.assert_close(layer.to_linear()(x), layer(x), rtol=1e-10, atol=1e-12)


def test_the_choice_follows_the_batch():
    layer = SeparableLinear(1024, 1024, rank=16, factorisation="tensor_train")
    assert layer.matrix.prefers_dense(4096)
    assert not SeparableLinear(1024, 1024, rank=16).matrix.prefers_dense(4096)
    assert SeparableLinear(64, 64, rank=64).matrix.prefers_dense(100_000)


def test_ranks_are_lowered_to_what_the_shapes_can_use():
    assert SeparableLinear(10, 12, rank=99).matrix.rank == 10
    assert SeparableLinear(10, 12, rank=99, factorisation="tucker").matrix.rank == (3, 4, 2, 5)
    assert SeparableLinear(10, 12, rank=99, factorisation="tensor_train").matrix.rank == (6,)


@pytest.mark.parametrize("factorisation", ["canonical_polyadic", "tucker", "tensor_train"])
def test_numpy_integers_are_ranks(factorisation):
    for rank, plain in ((np.int64(2), 2), (np.array([2]), (2,)), (np.array([2, 1, 2, 1]), (2, 1, 2, 1))):
        try:
            expected = SeparableLinear(10, 12, rank=plain, factorisation=factorisation).matrix.rank
        except ValueError:
            with pytest.raises(ValueError):
                SeparableLinear(10, 12, rank=rank, factorisation=factorisation)
        else:
            assert SeparableLinear(10, 12, rank=rank, factorisation=factorisation).matrix.rank == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"rank": 0},
        {"rank": None},
        {"rank": (2, 2)},
        {"rank": 2, "factorisation": "svd"},
        {"rank": 2, "in_shape": (3, 3)},
        {"rank": 2, "out_shape": ()},
        {"rank": (2, 2), "factorisation": "tucker"},
        {"rank": (2, 2), "factorisation": "tensor_train"},
        {"rank": 2, "factorisation": "tensor_train", "in_shape": (10,), "out_shape": (3, 4)},
    ],
)
def test_constructor_refuses(wrong):
    with pytest.raises(ValueError):
        SeparableLinear(10, 12, **wrong)


def test_inputs_are_checked(layer):
    with pytest.raises(ValueError):
        layer(torch.zeros(3, 9, dtype=torch.float64))
    embedding = SeparableEmbedding(9, 4, rank=3)
    for wrong in (-1, 9):
        with pytest.raises(IndexError):
            embedding(torch.tensor([wrong]))
    with pytest.raises(TypeError):
        embedding(torch.tensor([1.0]))
    broken = torch.nn.Linear(4, 4)
    with torch.no_grad():
        broken.weight[0, 0] = float("nan")
    with pytest.raises(ValueError):
        SeparableLinear.from_linear(broken, rank=2)
    assert layer(torch.zeros(0, 10, dtype=torch.float64)).shape == (0, 12)


def test_balanced_and_covering_shapes_against_every_possibility():
    for size, parts in itertools.product((1, 7, 12, 48, 100), (1, 2, 3)):
        shape = balanced_shape(size, parts)
        assert np.prod(shape) == size
        choices = (
            [c for c in itertools.product(range(1, size + 1), repeat=parts) if np.prod(c) == size] if size < 50 else []
        )
        if choices:
            assert max(shape) / min(shape) == min(max(c) / min(c) for c in choices)
        cover = covering_shape(size, parts)
        assert size <= np.prod(cover) <= (size ** (1 / parts) + 1) ** parts
        assert max(cover) == int(np.ceil(round(size ** (1 / parts), 9)))

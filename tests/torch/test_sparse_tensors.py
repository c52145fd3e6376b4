"""Sparse tensors as values: the dense call's numbers, gradients as torch's sparse operations."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from cvxlpgd.errors import InvalidInput
from cvxlpgd.torch import CvxpyLayer

N = 4
ROWS, COLS = np.array([3, 1, 2, 0, 0]), np.array([3, 2, 0, 1, 3])  # in no order
S = cp.Parameter((N, N), sparsity=(ROWS, COLS), name="S")
F, c = cp.Parameter((N, N), name="F"), cp.Parameter(N, name="c")
x = cp.Variable(N)
PROBLEM = cp.Problem(
    cp.Minimize(cp.sum_squares(S @ x - c) + cp.sum_squares(F @ x) + cp.sum_squares(x)),
    [x >= -1, S @ x <= 3],
)

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CS[RC] tensor support is in beta")
SEES_SPARSE = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 13)


def draw(*axes):
    """Values of S, F and c; one entry of the pattern of S is 0, so that nothing stores it."""
    rng = np.random.default_rng(0)
    of_S = np.zeros((*axes, N, N))
    of_S[..., ROWS, COLS] = rng.uniform(0.5, 1.5, size=(*axes, len(ROWS)))
    of_S[..., 0, 1] = 0.0
    of_F = np.eye(N) + np.triu(rng.normal(size=(N, N)), 2)
    return [torch.tensor(v) for v in (of_S, of_F, rng.normal(size=N))]


@pytest.fixture(scope="module")
def layer():
    return CvxpyLayer(PROBLEM, [S, F, c], [x])


def differentiate(layer, values):
    """The solution, and the gradients of a loss of it."""
    leaves = [value.detach().requires_grad_() for value in values]
    (solution,) = layer(*leaves)
    (solution.sin() * torch.arange(1.0, N + 1)).sum().backward()
    return solution.detach(), [leaf.grad for leaf in leaves]


FORMS = {  # of a batch of matrices: how many samples, and what becomes of them
    "coordinates": ((), lambda v: v.to_sparse()),
    "rows": ((), lambda v: v.to_sparse_csr()),
    "rows stored dense": ((), lambda v: v.to_sparse(1)),
    "a batch of coordinates": ((3,), lambda v: v.to_sparse()),
    "two batch axes": ((2, 3), lambda v: v.to_sparse()),
    "samples stored dense": ((3,), lambda v: v.to_sparse(1)),
    "rows of samples stored dense": ((3,), lambda v: v.to_sparse(2)),
    "a batch of rows": ((3,), lambda v: v.to_sparse_csr()),
    "an empty batch": ((0,), lambda v: v.to_sparse()),
}


@pytest.mark.parametrize("which", [0, 1], ids=["pattern", "no pattern"])
@pytest.mark.parametrize(("axes", "form"), FORMS.values(), ids=FORMS.keys())
def test_a_sparse_tensor_is_the_dense_one(layer, axes, form, which):
    """Its gradient has its layout, and is the dense one's at its stored entries."""
    dense = draw(*axes)
    dense[which] = dense[which].expand(*axes, N, N).contiguous()
    sparse = list(dense)
    sparse[which] = form(dense[which])
    expected, wanted = differentiate(layer, dense)
    solution, gradients = differentiate(layer, sparse)
    assert torch.equal(solution, expected)
    assert gradients[which].layout == sparse[which].layout
    ones = sparse[which].clone()
    ones.values().fill_(1.0) if ones.layout == torch.sparse_csr else ones._values().fill_(1.0)
    stored = ones.to_dense() != 0
    assert torch.equal(gradients[which].to_dense(), torch.where(stored, wanted[which], 0.0))
    assert all(torch.equal(gradients[k], wanted[k]) for k in range(3) if k != which)


@pytest.mark.parametrize("form", ["coo", "csr"])
def test_gradients_reach_what_a_sparse_tensor_is_made_of(layer, form):
    dense = draw()
    _, wanted = differentiate(layer, dense)
    order = np.lexsort((COLS, ROWS))
    rows, cols = torch.tensor(ROWS[order]), torch.tensor(COLS[order])
    values = dense[0][rows, cols].requires_grad_()  # with the entry that is 0
    if form == "coo":
        made = torch.sparse_coo_tensor(
            torch.stack([rows, cols]), values, (N, N), check_invariants=True
        )
    else:
        ends = torch.tensor([0, *np.cumsum(np.bincount(rows, minlength=N))])
        made = torch.sparse_csr_tensor(ends, cols, values, (N, N), check_invariants=True)
    (solution,) = layer(made, *dense[1:])
    (solution.sin() * torch.arange(1.0, N + 1)).sum().backward()
    assert torch.equal(values.grad, wanted[0][rows, cols])


def test_gradcheck(layer):
    value, *rest = draw()

    def solve(sparse):
        return layer(sparse, *rest)[0]

    leaf = value.to_sparse().requires_grad_()
    options = {"masked": True, "check_undefined_grad": False}  # the latter is not for sparse ones
    assert torch.autograd.gradcheck(solve, (leaf,), atol=1e-6, eps=1e-6, **options)


def test_coordinates_that_stand_twice(layer):
    dense = draw()
    half, places = dense[0][ROWS, COLS] / 2, torch.tensor(np.stack([ROWS, COLS]))
    leaf = torch.cat([half, half]).requires_grad_()
    twice = torch.sparse_coo_tensor(
        torch.cat([places, places], dim=1), leaf, (N, N), check_invariants=True
    )
    _, wanted = differentiate(layer, dense)
    (solution,) = layer(twice, *dense[1:])
    (solution.sin() * torch.arange(1.0, N + 1)).sum().backward()
    np.testing.assert_allclose(leaf.grad[: len(ROWS)], wanted[0][ROWS, COLS], rtol=1e-9)
    assert torch.equal(leaf.grad[: len(ROWS)], leaf.grad[len(ROWS) :])


@pytest.mark.skipif(not SEES_SPARSE, reason="torch 2.6 cannot coalesce inside of torch.func")
def test_transforms_around_a_sparse_value(layer):
    """A sparse value that is not mapped, beside one that is."""
    of_S, of_F, _ = draw()
    batch = torch.tensor(np.random.default_rng(1).normal(size=(3, N)))

    def loss(sparse, target):
        return layer(sparse, of_F, target)[0].square().sum()

    sparse = of_S.to_sparse()
    rows = torch.func.vmap(torch.func.grad(lambda target: loss(sparse, target)))(batch)
    wanted = torch.func.vmap(torch.func.grad(lambda target: loss(of_S, target)))(batch)
    np.testing.assert_allclose(rows, wanted, rtol=1e-12, atol=1e-14)
    gradient = torch.func.grad(lambda value: loss(value, batch[0]))(sparse)
    dense = torch.func.grad(lambda value: loss(value, batch[0]))(of_S)
    assert torch.equal(gradient.to_dense(), torch.where(of_S != 0, dense, 0.0))


def test_optimal_values(layer):
    dense = draw()
    leaf, sparse = dense[0].clone().requires_grad_(), dense[0].to_sparse().requires_grad_()
    layer.optimal_value(leaf, *dense[1:]).backward()
    value = layer.optimal_value(sparse, *dense[1:])
    value.backward()
    assert torch.equal(value, layer.optimal_value(*dense))
    assert torch.equal(sparse.grad.to_dense(), torch.where(dense[0] != 0, leaf.grad, 0.0))


def test_sparse_arrays_of_scipy(layer):
    dense = draw()
    (expected,) = layer(*dense)
    for value in (sp.csr_array(dense[0]), sp.dia_matrix(dense[0].numpy())):
        (solution,) = layer(value, *dense[1:])
        assert torch.equal(solution, expected)
    (solution,) = layer(dense[0], sp.csc_array(dense[1]), dense[2])
    assert torch.equal(solution, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_dtypes(layer, dtype):
    dense = [value.to(dtype) for value in draw()]
    expected, wanted = differentiate(layer, dense)
    solution, gradients = differentiate(layer, [dense[0].to_sparse(), *dense[1:]])
    assert solution.dtype == gradients[0].dtype == dtype
    assert torch.equal(solution, expected)
    assert torch.equal(gradients[0].to_dense(), torch.where(dense[0] != 0, wanted[0], 0.0))


def test_in_a_compiled_function(layer):
    """The graph breaks there."""
    dense = draw()
    leaf = dense[0].to_sparse().requires_grad_()
    compiled = torch.compile(lambda value, target: layer(value, dense[1], 2 * target)[0].sum(),
                             backend="aot_eager")  # fmt: skip
    compiled(leaf, dense[2]).backward()
    twin = dense[0].to_sparse().requires_grad_()
    layer(twin, dense[1], 2 * dense[2])[0].sum().backward()
    assert torch.equal(leaf.grad.to_dense(), twin.grad.to_dense())


def test_errors(layer):
    of_S, *rest = draw(2)
    of_S[1, 1, 1] = 1.0
    for form in (of_S.to_sparse(), of_S.to_sparse(1)):
        with pytest.raises(InvalidInput, match="sample 1: parameter S has entries outside"):
            layer(form, *rest)
    with pytest.raises(InvalidInput, match=r"parameter 0 \(S\)\. Expected \(4, 4\)"):
        layer(of_S[0, :3].to_sparse(), *rest)
    with pytest.raises(InvalidInput, match=r"value 1 \(F\) is complex"):
        layer(of_S[0], (rest[0] * 1j).to_sparse(), rest[1])
    with pytest.raises(InvalidInput, match=r"value 1 \(F\) is a torch.sparse_csc .* COO or CSR"):
        layer(of_S[0], rest[0].to_sparse_csc(), rest[1])

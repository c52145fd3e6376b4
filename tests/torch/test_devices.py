"""Tensors of another device: what a solver that works on tensors never sends over the CPU."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

from cvxlpgd import LPGD, Exact, Implicit
from cvxlpgd.errors import InvalidInput
from cvxlpgd.layer.inputs import Domain
from cvxlpgd.layer.packed import pack
from cvxlpgd.schedules import Relative
from cvxlpgd.solvers import DAQP
from cvxlpgd.torch import CvxpyLayer
from tests.helpers.device import DEVICE, OnDevice, SimulatedDevice, Splitting

BATCH, N, ROWS = 3, 4, 3
ON_CPU = Splitting("cpu")


def quadratic() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """A program whose parameters reach P, q, A and b, and have domains."""
    x, S, q = cp.Variable(N), cp.Parameter((N, N), PSD=True), cp.Parameter(N)
    G, h = cp.Parameter((ROWS, N)), cp.Parameter(ROWS, nonneg=True)
    budget = cp.sum(x) == 1
    problem = cp.Problem(cp.Minimize(cp.quad_form(x, S) / 2 + q @ x), [budget, G @ x <= h])
    return problem, [S, q, G, h], [x, budget.dual_variables[0]]


def linear() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """A program that ends at vertices."""
    x, q, h = cp.Variable(N), cp.Parameter(N), cp.Parameter(N)
    return cp.Problem(cp.Minimize(q @ x), [cp.sum(x) == 1, x >= 0, x <= h]), [q, h], [x]


def quadratic_values(dtype: torch.dtype = torch.double) -> list[torch.Tensor]:
    """S and q for each sample, G for all, h for all with a batch axis of one."""
    random = torch.Generator().manual_seed(4)
    root = torch.randn(BATCH, N, N, generator=random, dtype=torch.double)
    values = [
        root @ root.mT + torch.eye(N), torch.randn(BATCH, N, generator=random),
        torch.randn(ROWS, N, generator=random), torch.rand(1, ROWS, generator=random) / 2,
    ]  # fmt: skip
    return [v.to(dtype) for v in values]


def linear_values() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    costs = torch.randn(BATCH, N, generator=random, dtype=torch.double)
    return [costs, torch.full((N,), 0.4, dtype=torch.double)]


def run(layer: CvxpyLayer, values: list[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs, and the gradients of the values."""
    outputs = layer(*values)
    sum((v**3).sum() for v in outputs).backward()
    return [*(v.detach() for v in outputs), *(v.grad for v in values)]


def leaves(values: list[torch.Tensor]) -> list[torch.Tensor]:
    return [v.clone().requires_grad_() for v in values]


def is_fact(shape: tuple[int, ...]) -> bool:
    """Whether that much is known of samples: a number of each, or of all."""
    return shape == () or shape in ((1,), (BATCH,), (2 * BATCH,))


DIFFERENCES = [
    LPGD(tau=1e-2), LPGD(tau=1e-2, side="lower"), LPGD(tau=1e-2, rho=0.1),
    LPGD(tau=np.array([1e-2, 2e-2, 3e-2])), LPGD(tau=Relative(1e-2)), LPGD(tau=lambda: 1e-2),
]  # fmt: skip


TAUS = ["number", "lower", "rho", "array", "relative", "callable"]


@pytest.mark.parametrize("derivative", DIFFERENCES, ids=TAUS)
@pytest.mark.parametrize("program", ["quadratic", "linear"])
def test_nothing_but_facts_of_samples_comes_to_the_cpu(program: str, derivative: LPGD) -> None:
    problem = quadratic() if program == "quadratic" else linear()
    values = quadratic_values() if program == "quadratic" else linear_values()
    if program == "linear":
        derivative = replace(derivative, tau=0.5)
    reference = run(CvxpyLayer(*problem, solver=ON_CPU, derivative=derivative), leaves(values))
    layer = CvxpyLayer(*problem, solver=Splitting(), derivative=derivative)
    with SimulatedDevice() as device:
        run(layer, [device.put(v) for v in values])  # the first call asks CVXPY for one sample
        device.fetched.clear()
        results = run(layer, [device.put(v) for v in values])
        assert all(is_fact(shape) for shape in device.fetched), device.fetched
    assert all(isinstance(v, OnDevice) and v.device == DEVICE for v in results)
    for result, wanted in zip(results, reference, strict=True):
        assert torch.equal(result.held, wanted)
    assert layer.info.ok.all()
    assert all(isinstance(v, np.ndarray) for v in (layer.info.objective, layer.info.gap))


@pytest.mark.parametrize("derivative", [LPGD(tau=1e-3), LPGD()], ids=repr)
def test_results_are_those_of_a_solver_on_the_cpu(derivative: LPGD) -> None:
    problem, values = quadratic(), quadratic_values()
    reference = run(CvxpyLayer(*problem, solver=DAQP(), derivative=derivative), leaves(values))
    with SimulatedDevice() as device:
        layer = CvxpyLayer(*problem, solver=Splitting(), derivative=derivative)
        results = run(layer, [device.put(v) for v in values])
    for result, wanted in zip(results, reference, strict=True):
        torch.testing.assert_close(result.held, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("derivative", [LPGD(), Exact(), Implicit()], ids=repr)
def test_a_derivative_of_numpy_is_brought_everything_once(derivative: object) -> None:
    problem, values = quadratic(), quadratic_values()
    reference = run(CvxpyLayer(*problem, solver=ON_CPU, derivative=derivative), leaves(values))
    layer = CvxpyLayer(*problem, solver=Splitting(), derivative=derivative)
    matrices = {(BATCH, N * N), (BATCH, ROWS * N), (1, ROWS * N)}  # of S and G
    with SimulatedDevice() as device:
        inputs = [device.put(v) for v in values]
        outputs = layer(*inputs)
        device.fetched.clear()
        loss = sum((v**3).sum() for v in outputs)
        loss.backward(retain_graph=True)
        assert matrices & set(device.fetched)
        device.fetched.clear()
        first = [v.grad.held.clone() for v in inputs]
        loss.backward()
        assert set(device.fetched) <= {(BATCH, N), (BATCH, 1)}  # the outputs' cotangents
    assert all(v.grad.device == DEVICE for v in inputs)
    for gradient, wanted in zip(first, reference[2:], strict=True):
        assert torch.equal(gradient, wanted)
    for v, gradient in zip(inputs, first, strict=True):
        assert torch.equal(v.grad.held, 2 * gradient)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, once
def test_forward_mode_stays_there() -> None:
    problem, values = quadratic(), quadratic_values()
    dots = [torch.ones_like(v) for v in values]

    def push(solver: Splitting, points: list[torch.Tensor], along: list[torch.Tensor]):
        layer = CvxpyLayer(*problem, solver=solver, derivative=LPGD(tau=1e-3))
        with torch.autograd.forward_ad.dual_level():
            duals = map(torch.autograd.forward_ad.make_dual, points, along)
            outputs = layer(*duals)
            return [torch.autograd.forward_ad.unpack_dual(v).tangent for v in outputs]

    wanted = push(ON_CPU, values, dots)
    with SimulatedDevice() as device:
        there = [[OnDevice(v) for v in tensors] for tensors in (values, dots)]
        push(Splitting(), *there)
        device.fetched.clear()
        tangents = push(Splitting(), *there)
        large = [shape for shape in device.fetched if not is_fact(shape)]
        assert not large or len(large) <= len(values) + 2  # one sample, of a new layer's first call
    for tangent, own in zip(tangents, wanted, strict=True):
        assert torch.equal(tangent.held, own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_solver_works_on_doubles_and_the_outputs_have_the_inputs_dtype(
    dtype: torch.dtype,
) -> None:
    layer = CvxpyLayer(*quadratic(), solver=Splitting(), derivative=LPGD(tau=1e-2))
    with SimulatedDevice() as device:
        results = run(layer, [device.put(v) for v in quadratic_values(dtype)])
    assert {(v.dtype, v.device) for v in results} == {(dtype, DEVICE)}


def test_everything_goes_to_the_first_parameters_device() -> None:
    problem, values = quadratic(), quadratic_values()
    layer = CvxpyLayer(*problem, solver=Splitting(), derivative=LPGD(tau=1e-2))
    with SimulatedDevice() as device:
        mixed = [device.put(values[0]), *leaves(values[1:])]
        results = run(layer, mixed)
    assert [v.device.type for v in results] == ["lazy", "lazy", "lazy", "cpu", "cpu", "cpu"]
    on_cpu = CvxpyLayer(*problem, solver=ON_CPU, derivative=LPGD(tau=1e-2))
    with SimulatedDevice() as device:
        mixed = [*leaves(values[:1]), *(device.put(v) for v in values[1:])]
        results = run(on_cpu, mixed)
    assert [v.device.type for v in results] == ["cpu", "cpu", "cpu", "lazy", "lazy", "lazy"]


def test_a_solver_of_the_cpu_is_handed_copies_and_its_results_go_back() -> None:
    problem, values = quadratic(), quadratic_values()
    layer = CvxpyLayer(*problem, solver=DAQP())
    reference = run(layer, leaves(values))
    with SimulatedDevice() as device:
        results = run(layer, [device.put(v) for v in values])
    for result, wanted in zip(results, reference, strict=True):
        assert torch.equal(result.held, wanted)


def spoiled(i: int, sample: int, value: float) -> list[torch.Tensor]:
    values = quadratic_values()
    values[i] = values[i].expand(BATCH, *values[i].shape[-1:]).clone() if i == 3 else values[i]
    values[i][sample].view(-1)[1] = value
    return values


DOMAINS = [
    {"nonneg": True}, {"nonpos": True}, {"pos": True}, {"neg": True}, {"integer": True},
    {"boolean": True}, {"symmetric": True}, {"PSD": True}, {"NSD": True}, {"diag": True},
    {"bounds": [-1.0, 2.0]}, {"sparsity": (np.array([0, 1]), np.array([1, 1]))},
]  # fmt: skip


def violations(domain: Domain, values: Any) -> list[str]:
    return domain.violations(*pack(domain.pattern, values, 2))


@pytest.mark.parametrize("attributes", DOMAINS, ids=str)
@pytest.mark.parametrize("logarithm", [False, True])
def test_domains_are_checked_there_as_on_the_cpu(attributes: dict, logarithm: bool) -> None:
    domain = Domain.of(cp.Parameter((2, 2), **attributes), logarithm)
    kinds = [
        [[1, 0], [0, 1]], [[-1, 0], [0, -1]], [[1.5, 0], [0, 0]], [[0, 1], [0, 1]],
        [[1, 2], [2, 1]], [[1, np.nan], [0, 1]], [[2, 1], [1, 3]], [[0, 0], [0, 0]],
    ]  # fmt: skip
    values = np.array(kinds, dtype=float)
    faults = violations(domain, values)
    assert any(faults)
    with SimulatedDevice() as device:
        there = device.put(torch.from_numpy(values)).detach()
        assert violations(domain, there) == faults
        assert all(len(shape) <= 1 for shape in device.fetched)
        assert torch.equal(
            domain.symmetrize(there).held.nan_to_num(),
            torch.from_numpy(domain.symmetrize(values)).nan_to_num(),
        )


SPOILED = [
    (spoiled(0, 1, float("nan")), "has NaN or infinite"), (spoiled(0, 1, 5.0), "must be symmetric"),
    (spoiled(3, 1, -1.0), "is below what nonneg=True allows"),
    (quadratic_values()[:1] + quadratic_values()[1:], ""),
]  # fmt: skip
INDEFINITE = quadratic_values()
INDEFINITE[0][1] -= 20 * torch.eye(N)
SPOILED[3] = (INDEFINITE, "must be positive semidefinite")


@pytest.mark.parametrize(("values", "words"), SPOILED, ids=[words for _, words in SPOILED])
def test_values_outside_of_their_domains_are_failed_samples(
    values: list[torch.Tensor], words: str
) -> None:
    layer = CvxpyLayer(*quadratic(), solver=Splitting(), derivative=LPGD(tau=1e-2))
    lenient = CvxpyLayer(
        *quadratic(), solver=Splitting(), derivative=LPGD(tau=1e-2), on_failure="nan"
    )
    with SimulatedDevice() as device:
        with pytest.raises(InvalidInput, match=rf"sample 1.*{words}"):
            layer(*(device.put(v) for v in values))
        with pytest.warns(UserWarning, match=words):
            results = run(lenient, [device.put(v) for v in values])
    assert list(lenient.info.ok) == [True, False, True]
    x, _, S_grad, q_grad, *_ = (v.held for v in results)
    assert torch.isnan(x[1]).all()
    assert not torch.isnan(x[[0, 2]]).any()
    assert (S_grad[1] == 0).all()
    assert (q_grad[[0, 2]] != 0).all()


@dataclass(frozen=True)
class Faulty(Splitting):
    """Goes wrong, in one way, at samples whose first cost is above 10."""

    fault: str = "raises"

    def solve(self, program, start=None):
        wrong = (program.data.q[:, 0] > 10).cpu().tolist()
        if self.fault == "raises" and any(wrong):
            raise RuntimeError("out of memory on the device")
        solution = super_solve(self, program, start)
        if not any(wrong):
            return solution
        point = solution.point
        if self.fault == "NaN":
            rows = torch.asarray(wrong, device="cpu")
            x = point.x.clone()
            x[rows] = float("nan")
            return solution.change(point=replace(point, x=x))
        if self.fault == "shape":
            return solution.change(point=replace(point, y=point.y[:, 1:]))
        elsewhere = {"cpu": DEVICE, DEVICE.type: "cpu"}[self.device]
        return solution.change(point=replace(point, x=point.x.to(elsewhere)))


super_solve = Splitting.solve
FAULTS = {
    "raises": "out of memory on the device", "NaN": "NaN or infinite values",
    "shape": r"y of shape \(\d, 3\), not \(\d, 4\)", "device": "x on cpu, not on lazy",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_solver_is_a_failed_sample(fault: str) -> None:
    problem = quadratic()
    values = quadratic_values()
    values[1][1, 0] = 11.0
    layer = CvxpyLayer(
        *problem, solver=Faulty(fault=fault), derivative=LPGD(tau=1e-2), on_failure="nan"
    )
    with SimulatedDevice() as device, pytest.warns(UserWarning, match=FAULTS[fault]):
        results = run(layer, [device.put(v) for v in values])
    assert list(layer.info.ok) == [True, False, True]
    x, _, _, q_grad, *_ = (v.held for v in results)
    assert torch.isnan(x[1]).all()
    assert (q_grad[1] == 0).all()
    assert torch.isfinite(x[[0, 2]]).all()
    assert (q_grad[[0, 2]] != 0).all()


def test_another_solver_may_come_to_its_help() -> None:
    values = quadratic_values()
    values[1][1, 0] = 11.0
    layer = CvxpyLayer(
        *quadratic(), solver=Faulty(fault="NaN"), fallback=DAQP(), derivative=LPGD(tau=1e-2)
    )
    reference = run(CvxpyLayer(*quadratic(), solver=DAQP(), derivative=LPGD(tau=1e-2)),
                    leaves(values))  # fmt: skip
    with SimulatedDevice() as device:
        results = run(layer, [device.put(v) for v in values])
    for result, wanted in zip(results, reference, strict=True):
        torch.testing.assert_close(result.held, wanted, rtol=1e-4, atol=1e-5)


def test_warm_starts_stay_there() -> None:
    layer = CvxpyLayer(*quadratic(), solver=Splitting(), derivative=LPGD(tau=1e-2))
    with SimulatedDevice() as device:
        values = [device.put(v) for v in quadratic_values()]
        cold = layer(*values, warm_start=True)[0]
        earlier = layer.info.solution
        assert earlier.point.x.device == DEVICE
        device.fetched.clear()
        warm = layer(*values, warm_start=True)[0]
        also = layer(*values, warm_start=earlier)[0]
        assert all(is_fact(shape) for shape in device.fetched)
    torch.testing.assert_close(warm.held, cold.held)
    assert torch.equal(also.held, warm.held)
    copied = pickle.loads(pickle.dumps(CvxpyLayer(*quadratic(), solver=ON_CPU)))
    copied(*quadratic_values())
    assert pickle.loads(pickle.dumps(copied.info.solution)).ok.all()


def test_a_solution_of_numpy_starts_a_solve_on_tensors() -> None:
    layer = CvxpyLayer(*quadratic(), solver=DAQP())
    layer(*quadratic_values())
    start = layer.info.solution
    there = CvxpyLayer(*quadratic(), solver=Splitting())
    with SimulatedDevice() as device:
        there(*(device.put(v) for v in quadratic_values()), warm_start=start)
    assert there.info.ok.all()


def test_weakly_active_constraints_are_found() -> None:
    x, p = cp.Variable(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x >= 0])
    layer = CvxpyLayer(problem, [p], [x], solver=Splitting())
    with SimulatedDevice() as device:
        layer(device.put(torch.tensor([[1.0, 0.0]], dtype=torch.double)))
        (weak,) = layer.weakly_active()
    assert weak.where.tolist() == [[False, True]]


def test_an_executor_is_handed_tensors() -> None:
    with ThreadPoolExecutor(2) as pool:
        layer = CvxpyLayer(*quadratic(), solver=ON_CPU, executor=pool, derivative=LPGD(tau=1e-2))
        results = run(layer, leaves(quadratic_values()))
    alone = CvxpyLayer(*quadratic(), solver=ON_CPU, derivative=LPGD(tau=1e-2))
    for result, wanted in zip(results, run(alone, leaves(quadratic_values())), strict=True):
        torch.testing.assert_close(result, wanted)


def test_transforms_go_through_a_solver_of_tensors() -> None:
    layer = CvxpyLayer(*quadratic(), solver=ON_CPU, derivative=LPGD(tau=1e-3))
    S, q, G, h = quadratic_values()

    def solve(costs: torch.Tensor) -> torch.Tensor:
        return layer(S[0], costs, G, h)[0].reshape(-1)

    rows = torch.func.vmap(torch.func.grad(lambda v: (solve(v) ** 3).sum()))(q)
    for row, costs in zip(rows, q, strict=True):
        leaf = costs.clone().requires_grad_()
        (solve(leaf) ** 3).sum().backward()
        torch.testing.assert_close(row, leaf.grad, rtol=1e-6, atol=1e-8)
    reverse = torch.func.jacrev(solve)(q[0])
    torch.testing.assert_close(reverse, torch.func.jacfwd(solve)(q[0]), rtol=1e-4, atol=1e-6)


def test_compiled_graphs_hold_a_solver_of_tensors() -> None:
    layer = CvxpyLayer(*quadratic(), solver=ON_CPU, derivative=LPGD(tau=1e-2))

    @torch.compile(fullgraph=True, backend="aot_eager")
    def cubed(*values: torch.Tensor) -> torch.Tensor:
        return sum((v**3).sum() for v in layer(*values))

    values = leaves(quadratic_values())
    cubed(*values).backward()
    wanted = run(layer, leaves(quadratic_values()))[2:]
    for value, own in zip(values, wanted, strict=True):
        torch.testing.assert_close(value.grad, own)


def test_options_of_a_call_choose_the_arrays_too() -> None:
    layer = CvxpyLayer(*quadratic(), solver=Splitting(), derivative=LPGD(tau=1e-2))
    with SimulatedDevice() as device:
        values = [device.put(v) for v in quadratic_values()]
        layer(*values, solver_args={"iterations": 500})
    assert list(layer.info.iterations) == [500.0] * BATCH


def test_copies_of_a_layer_keep_the_solver() -> None:
    layer = pickle.loads(pickle.dumps(CvxpyLayer(*quadratic(), solver=ON_CPU)))
    twin = CvxpyLayer(*quadratic(), solver=ON_CPU)
    assert torch.equal(layer(*quadratic_values())[0], twin(*quadratic_values())[0])


def test_the_solvers_own_results_are_not_the_callers() -> None:
    """Writing to an output changes no later gradient."""
    layer = CvxpyLayer(*quadratic(), solver=ON_CPU, derivative=LPGD(tau=1e-2))
    values = leaves(quadratic_values())
    x, _ = layer(*values)
    kept = x.detach().clone()
    x.data.zero_()
    x.backward(3 * kept**2)
    again = leaves(quadratic_values())
    y, _ = layer(*again)
    y.backward(3 * kept**2)
    assert torch.equal(values[1].grad, again[1].grad)

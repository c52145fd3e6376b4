"""Impedance data of the unit disk: from conductivities to voltages between electrodes.

    div(σ∇u) = 0 in the disk,   σ ∂u/∂n = j on its edge

with σ constant on each triangle and u piecewise linear. Sixteen electrodes take turns: electrodes d
and d+1 drive a unit current, and the voltage is read between m and m+1, for all pairs that have no
electrode in common with the driving one: 16 x 13 = 208 data.

Electrodes follow the gap model: the current density is constant under an electrode and zero between
electrodes, and a voltage is the mean under an electrode. With p_l the load of electrode l (of total
current 1), P_d = p_(d+1) - p_d, and K_t the stiffness of triangle t,

    K(σ) = Σ_t σ_t K_t,   u_d = K(σ)⁺ P_d,   V_dm = P_m' u_d.

The model needs no contact impedances, which act mainly under electrodes that carry current; data of
those are left out. It is symmetric (V_dm = V_md), homogeneous (V(cσ) = V(σ)/c), and has a closed
form on the homogeneous disk. All models of electrodes: Cheng, Isaacson, Newell and Gisser,
"Electrode models for electric current computed tomography", IEEE Transactions on Biomedical
Engineering 36 (1989). What small electrodes with contact impedances differ from it by: Hanke,
Harrach and Hyvönen, "Justification of point electrode models in electrical impedance tomography",
Mathematical Models and Methods in Applied Sciences 21 (2011).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from skfem import Basis, BilinearForm, ElementTriP1, FacetBasis, LinearForm, MeshTri
from skfem.helpers import dot, grad

from examples.unrolled.mesh import ELECTRODES, areas, check_disk, electrode_edges

# of the 208 data: for each driving pair the others, counterclockwise
DRIVES = np.repeat(np.arange(ELECTRODES), ELECTRODES - 3)
MEASURES = (DRIVES + np.tile(np.arange(2, ELECTRODES - 1), ELECTRODES)) % ELECTRODES


class Impedance:
    """V(σ): conductivities (..., triangles) to voltages (..., 208), differentiable to any order.

    K is eliminated layer by layer, from the inside to the boundary, which alone carries currents.
    A layer's nodes are all as many edges away from the boundary, so that K is block tridiagonal.
    With K_k the block of layer k, C_k the one that couples it to the next and n the last layer,

        S_1 = K_1,   H_k = S_k⁻¹ C_k,   S_(k+1) = K_(k+1) - C_k' H_k,
        u_n = (S_n + 11')⁻¹ P,   u_k = -H_k u_(k+1).

    The 11' grounds the mean of the boundary: P has sums of zero, so that it changes no voltage.
    The derivative needs no other solve, as V is symmetric: ∂V_dm/∂σ_t = -u_m' K_t u_d.

    Parameters
    ----------
    mesh : skfem.MeshTri
        A triangulation of the unit disk, with nodes where the electrodes begin and end.
    dtype : torch.dtype
        That of conductivities and voltages.

    Raises
    ------
    ValueError
        By the constructor, where the mesh is not a disk's. By a call, where conductivities have
        another shape or dtype than they should or are not positive. What is NaN gives NaN.
    """

    def __init__(self, mesh: MeshTri, dtype: torch.dtype = torch.float64) -> None:
        check_disk(mesh)
        basis = Basis(mesh, ElementTriP1(), intorder=0)
        layers = _layers(mesh)
        place = np.argsort(np.concatenate(layers))  # of a node, in the order of the layers
        self.sizes = [len(layer) for layer in layers]
        self.triangles = torch.as_tensor(place[mesh.t.T])
        self.dtype = dtype
        loads = np.stack([_load(mesh, edges) for edges in electrode_edges(mesh)], axis=1)
        drives = np.roll(loads, -1, axis=1) - loads
        self.drives = torch.as_tensor(drives[layers[-1]], dtype=dtype)
        self.stiffness = torch.as_tensor(_laplace.elemental(basis).tolocal(), dtype=dtype)
        self.fields = self._field_map(basis)
        self._lay_out()

    def __call__(self, conductivity: torch.Tensor) -> torch.Tensor:
        """The voltages."""
        count = len(self.triangles)
        if conductivity.ndim < 1 or conductivity.shape[-1] != count:
            raise ValueError(
                f"conductivities must have the shape (..., {count}), one for each triangle of the "
                f"mesh, not {tuple(conductivity.shape)}"
            )
        if conductivity.dtype != self.dtype:
            raise ValueError(f"conductivities must be {self.dtype}, not {conductivity.dtype}")
        if (conductivity <= 0).any():
            raise ValueError(f"conductivities must be positive; one is {conductivity.min():.3g}")
        voltages, _ = _Voltages.apply(conductivity.reshape(-1, count), self)
        return voltages.reshape(*conductivity.shape[:-1], len(DRIVES))

    def ones(self) -> torch.Tensor:
        """The conductivities of the homogeneous disk."""
        return torch.ones(len(self.triangles), dtype=self.dtype)

    def jacobian(self, conductivity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Voltages (batch, 208) and their derivatives (batch, 208, triangles)."""
        voltages, fields = self.solve(conductivity)
        x, y = fields.unflatten(1, (2, -1)).permute(1, 0, 3, 2).contiguous()  # (batch, 16, count)
        return voltages, -(x[:, DRIVES] * x[:, MEASURES] + y[:, DRIVES] * y[:, MEASURES])

    def solve(self, conductivity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Voltages (batch, 208), and the fields B_t u_d: (batch, 2 x triangles, 16)."""
        diagonal, coupling = self._blocks(conductivity)
        extensions, schur = [], diagonal[0]
        for couple, block in zip(coupling, diagonal[1:], strict=True):
            extensions.append(_solve(schur, couple))
            schur = block - couple.mT @ extensions[-1]
        potentials = [_solve(schur + 1, self.drives.expand(len(schur), -1, -1))]
        voltages = (self.drives.T @ potentials[0])[:, MEASURES, DRIVES]
        for extension in reversed(extensions):
            potentials.append(-extension @ potentials[-1])
        at_nodes = torch.cat(potentials[::-1], dim=1).transpose(0, 1)  # (nodes, batch, 16)
        fields = torch.sparse.mm(self.fields, at_nodes.flatten(1))
        return voltages, fields.unflatten(1, (-1, ELECTRODES)).transpose(0, 1)

    def pull_back(self, cotangent: torch.Tensor, fields: torch.Tensor) -> torch.Tensor:
        """-Σ_dm cotangent_dm u_m' K_t u_d, for each triangle t."""
        pairs = cotangent.new_zeros(len(cotangent), ELECTRODES, ELECTRODES)
        pairs[:, MEASURES, DRIVES] = cotangent
        return -((fields @ pairs) * fields).sum(2).unflatten(1, (2, -1)).sum(1)

    def _field_map(self, basis: Basis) -> torch.Tensor:
        """B: potentials of the nodes to √area ∇u on the triangles, x before y; K_t = B_t' B_t."""
        gradients = np.stack([field.grad[:, :, 0] for (field,) in basis.basis], axis=-1)
        entries = gradients * np.sqrt(areas(basis.mesh))[:, None]  # (2, triangles, 3)
        rows = torch.arange(2 * len(self.triangles)).repeat_interleave(3)
        columns = self.triangles.flatten().repeat(2)
        shape = (2 * len(self.triangles), basis.N)
        values = torch.as_tensor(entries, dtype=self.dtype).flatten()
        places = torch.stack([rows, columns])
        return torch.sparse_coo_tensor(places, values, shape, check_invariants=True).coalesce()

    def _lay_out(self) -> None:
        """Where entries of the element matrices go in the blocks, which lie one after another."""
        starts = np.cumsum([0, *self.sizes])
        nodes = self.triangles.numpy()
        rows, columns = nodes[:, :, None].repeat(3, axis=2), nodes[:, None, :].repeat(3, axis=1)
        layer_of = np.repeat(np.arange(len(self.sizes)), self.sizes)
        of_row, of_column = layer_of[rows], layer_of[columns]
        self.shapes = [(m, m) for m in self.sizes] + list(pairwise(self.sizes))
        begins = np.cumsum([0, *(m * n for m, n in self.shapes)])
        block = np.where(of_row == of_column, of_row, len(self.sizes) + of_row)
        kept = of_row <= of_column  # blocks below the diagonal are the transposes of those above
        width = np.array(self.sizes)[of_column]
        target = begins[:-1][np.where(kept, block, 0)]
        target += (rows - starts[of_row]) * width + columns - starts[of_column]
        self.kept = tuple(torch.as_tensor(axis) for axis in np.nonzero(kept))
        self.target = torch.as_tensor(target[kept])
        self.total = int(begins[-1])

    def _blocks(self, conductivity: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The blocks K_k and C_k of the stiffness."""
        entries = conductivity[:, self.kept[0]] * self.stiffness[self.kept]
        flat = conductivity.new_zeros(len(conductivity), self.total)
        flat.index_add_(1, self.target, entries)
        blocks = flat.split([m * n for m, n in self.shapes], dim=1)
        blocks = [b.unflatten(1, shape) for b, shape in zip(blocks, self.shapes, strict=True)]
        return blocks[: len(self.sizes)], blocks[len(self.sizes) :]


class _Voltages(torch.autograd.Function):
    """Impedance.solve, with the derivative that needs no solve."""

    @staticmethod
    def forward(conductivity: torch.Tensor, impedance: Impedance) -> tuple[torch.Tensor, ...]:
        return impedance.solve(conductivity)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        conductivity, ctx.impedance = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(conductivity, output[1])

    @staticmethod
    def backward(ctx: Any, cotangent: torch.Tensor | None, _: Any) -> tuple[Any, None]:
        if cotangent is None:
            return None, None
        conductivity, fields = ctx.saved_tensors
        if torch.is_grad_enabled():  # the derivative is to be differentiated: its fields, too
            fields = ctx.impedance.solve(conductivity)[1]
        return ctx.impedance.pull_back(cotangent, fields), None


@BilinearForm
def _laplace(u: Any, v: Any, _: Any) -> Any:
    return dot(grad(u), grad(v))


@LinearForm
def _one(v: Any, _: Any) -> Any:
    return v


def _solve(matrix: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """matrix⁻¹ right, the matrix positive definite; NaN, not an error, where it is not finite."""
    factor, _ = torch.linalg.cholesky_ex(matrix)
    return torch.cholesky_solve(right, factor)


def _load(mesh: MeshTri, edges: np.ndarray) -> np.ndarray:
    """A current of 1 through boundary edges, of constant density."""
    load = _one.assemble(FacetBasis(mesh, ElementTriP1(), facets=edges, intorder=1))
    return load / load.sum()


def _layers(mesh: MeshTri) -> list[np.ndarray]:
    """Nodes that are equally many edges away from the boundary, the innermost layer first."""
    ends, count = mesh.facets, mesh.nvertices
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(count, count))
    away = dijkstra(graph, directed=False, unweighted=True, indices=mesh.boundary_nodes(),
                    min_only=True)  # fmt: skip
    return [np.flatnonzero(away == distance) for distance in range(int(away.max()), -1, -1)]

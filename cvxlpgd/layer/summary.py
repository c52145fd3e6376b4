"""A layer in one line, and as a table for notebooks."""

from __future__ import annotations

from collections import Counter

from cvxlpgd.layer.description import SHOWN, cone_name, kind_of, named_shapes, spelling
from cvxlpgd.layer.html import facts_html
from cvxlpgd.layer.layer import Layer


def summarize(layer: Layer) -> str:
    """What goes in, what comes out, and how."""
    return (
        f"{_inputs(layer)} -> {_outputs(layer)}; {kind_of(layer.structure)}, "
        f"solver={layer.solver.name}, {spelling(layer.derivative)}"
    )


def summary_html(layer: Layer, title: str) -> str:
    """The same for notebooks, with the sizes of the cone program."""
    structure, settings = layer.structure, layer.settings
    rows: Counter[str] = Counter()
    for cone, _, count in structure.blocks:
        rows[cone_name(type(cone))] += cone.rows * count
    by_cone = ", ".join(f"{count} {name}" for name, count in rows.items())
    entries = f"{structure.A.size} entries in A, {structure.P.size} in P"
    first, *others = layer.solvers
    chosen = "chosen for this structure and size" if settings.solver is None else "as asked"
    facts = {
        "problem": kind_of(structure),
        "parameters": _inputs(layer, len(layer.domains)),
        "variables": _outputs(layer, len(layer.shapes)),
        "cone program": f"{structure.n} variables, {structure.m} rows ({by_cone}), {entries}",
        "solver": f"{first}, {chosen}" + (f"; then {', '.join(others)}" if others else ""),
        "derivative": spelling(layer.derivative),
        "a failed sample": {"raise": "raises SolveFailed"}.get(settings.on_failure, "is NaN"),
    }
    return facts_html(title, facts)


def _inputs(layer: Layer, most: int = SHOWN) -> str:
    return named_shapes(((d.name, d.shape) for d in layer.domains), most)


def _outputs(layer: Layer, most: int = SHOWN) -> str:
    outputs = layer.canonical.variables.outputs
    return named_shapes(((o.name, o.shape) for o in outputs), most)

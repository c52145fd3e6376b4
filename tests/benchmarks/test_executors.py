"""The benchmark of executors, on those that start no process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks import executors

pytestmark = pytest.mark.filterwarnings("ignore::cvxlpgd.errors.CvxlpgdWarning")


def test_rows_become_the_tables_of_the_page(monkeypatch):
    small = [executors.Program(p.name, p.solver, (4,), p.problem) for p in executors.PROGRAMS]
    monkeypatch.setattr(executors, "PROGRAMS", small)
    with ThreadPoolExecutor(2) as threads:
        pools = {executors.NONE: None, "threads": threads, "pool": threads}
        costs = executors.overheads(pools, 1, 0.0)
        rows = list(executors.compare(pools, 1, 0.0))
    assert [row["executor"] for row in costs] == ["threads", "pool"]
    assert len(rows) == len(small) * len(pools)
    assert all(row["forward"] > 0 < row["backward"] for row in rows)
    text = executors.markdown({"overheads": costs, "rows": rows})
    assert text.count("| executor ") == 2
    for program in small:
        assert f"{program.name}, n = 4" in text


def test_ratios_are_times_without_over_times_with():
    def row(executor, forward, backward):
        return {"program": "LP", "n": 3, "executor": executor} | {
            "forward": forward,
            "backward": backward,
        }

    rows = [row("none", 4.0, 12.0), row("threads", 2.0, 6.0), row("pool", 16.0, 16.0)]
    text = executors.markdown({"overheads": [], "rows": rows})
    assert "| LP, n = 3 | 1             | 2.00        | 0.50          |" in text


@pytest.mark.parametrize("name", [program.name for program in executors.PROGRAMS])
def test_programs_have_solutions(name):
    program = next(program for program in executors.PROGRAMS if program.name == name)
    layer = program.layer(12)
    layer(executors.costs_of(12, 4))
    assert layer.info.ok.all()

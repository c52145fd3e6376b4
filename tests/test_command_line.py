"""The command line: as a program, and as main([...])."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import cvxpy as cp
import pytest

import cvxlpgd
from cvxlpgd.__main__ import main

GOOD = """
import cvxpy as cp
import numpy as np

x, q, total = cp.Variable(3), cp.Parameter(3), cp.Parameter()
problem = cp.Problem(cp.Minimize(cp.sum_squares(x) + q @ x), [cp.sum(x) == total, x >= -1])
parameters, variables = [q, total], [x]
values = [np.array([[0.0, 1.0, 2.0], [0.5, 0.0, 0.3]]), 1.0]
"""


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "cvxlpgd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)


@pytest.fixture
def file(tmp_path):
    def written(text: str):
        path = tmp_path / "given.py"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_compare(file, tmp_path):
    picture = tmp_path / "out.png"
    plot = ["--plot", picture] if find_spec("matplotlib") else []
    done = run("compare", file(GOOD), "--tau", "1e-3", "1e-1", *plot)
    assert done.returncode == 0, done.stderr
    title, _, head, _, *body = done.stdout.splitlines()
    assert "2 samples, 4 parameter entries" in title
    assert head.startswith("| derivative")
    assert len(body) == 3 + 3 * 2
    assert ["tau=1e-3" in line for line in body[3:]] == [True, False] * 3
    if plot:
        assert done.stderr.strip() == f"picture: {picture}"
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_json(file, capsys):
    assert main(["compare", str(file(GOOD)), "--tau", "0.01", "--json", "--solver", "SCS"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found["solver"] == "SCS"
    assert [row["tau"] for row in found["rows"][3:]] == [0.01] * 3


@pytest.mark.parametrize(
    "more",
    [
        "loss = lambda x: (x**2).sum()",
        "cotangents = [np.ones(3)]",
        "values[0] = values[0][0]",
        "problem = cp.Problem(cp.Minimize(1 / x[0]), [x[0] <= q[0]])\n"
        "q = cp.Parameter(pos=True); x = cp.Variable(pos=True); gp = True\n"
        "problem = cp.Problem(cp.Minimize(1 / x), [x <= q])\n"
        "parameters, variables, values = [q], [x], [np.array([1.0, 2.0])]",
    ],
)
def test_what_a_file_may_define(file, capsys, more):
    assert main(["compare", str(file(GOOD + more)), "--tau", "0.01"]) == 0
    out, err = capsys.readouterr()
    assert "Implicit" in out
    assert err == ""


def test_warnings_are_one_line(file):
    more = (
        "problem = cp.Problem(problem.objective, [x >= 0, cp.sum(x) <= total])\n"
        "values = [np.ones(3), np.array([1.0, -1.0])]"
    )
    done = run("compare", file(GOOD + more), "--tau", "0.01")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("cvxlpgd: warning: 1 of 2 samples failed: sample 1")


BAD = {
    "nothing defined": ("x = 1", ["does not define problem, parameters, variables, values"]),
    "no problem": (GOOD + "del problem", ["does not define problem"]),
    "failing": ("1 / 0", ["fails: ZeroDivisionError"]),
    "not Python": ("def f(:", ["fails: SyntaxError"]),
    "exiting": ("import sys; sys.exit(0)", ["fails: SystemExit"]),
    "importing": ("import no_such_module", ["fails: ModuleNotFoundError", "no_such_module"]),
    "not a problem": (GOOD + "problem = 3", ["cvxpy.Problem", "int"]),
    "unlisted": (GOOD + "parameters, values = [q], values[:1]", ["not listed", "no value"]),
    "shape": (GOOD + "values[0] = 1.0", ["parameter 0", "(3,)"]),
    "value": (GOOD + "values[1] = None", ["value 1"]),
    "values": (GOOD + "values = 1.0", ["values", "list"]),
    "not DPP": (GOOD + "problem = cp.Problem(cp.Minimize(cp.multiply(q, q) @ x), [x >= total])",
                ["DPP"]),
    "cotangents": (GOOD + "cotangents = [np.ones(4)]", ["cotangent 0", "(4,)"]),
    "failing loss": (GOOD + "loss = lambda x: 1 / 0", ["the loss of", "ZeroDivisionError"]),
    "constant loss": (GOOD + "loss = lambda x: 1.0", ["loss", "tensor"]),
    "NaN": (GOOD + "values[1] = float('nan')", ["no sample has a solution"]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::cvxlpgd.errors.FailedSampleWarning")
@pytest.mark.parametrize(("text", "parts"), BAD.values(), ids=BAD.keys())
def test_bad_files(file, capsys, text, parts):
    assert main(["compare", str(file(text))]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("cvxlpgd: ")
    assert all(part in line for part in parts), line


def test_errors_as_a_program(file, tmp_path):
    for arguments in (["compare", tmp_path / "none.py"], ["compare", tmp_path],
                      ["compare", file("1 / 0")]):  # fmt: skip
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert str(arguments[1]) in done.stderr


def test_options_that_do_not_serve(file, tmp_path, capsys):
    path = str(file(GOOD))
    assert main(["compare", path, "--solver", "MOZEK"]) == 1
    assert "MOZEK" in capsys.readouterr().err
    if find_spec("matplotlib"):
        for wrong in (tmp_path / "no" / "such.png", tmp_path / "picture.xyz"):
            assert main(["compare", path, "--tau", "0.1", "--plot", str(wrong)]) == 1
            assert f"cannot draw to {wrong}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["compare"],
        ["compair", "x.py"],
        ["compare", "x.py", "--tau", "0"],
        ["compare", "x.py", "--tau", "-1"],
        ["compare", "x.py", "--tau", "nan"],
        ["compare", "x.py", "--tau", "small"],
        ["solvers", "--tune"],
        ["solvers", "x", "y"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: cvxlpgd" in capsys.readouterr().err


def test_solvers(capsys):
    assert main(["solvers"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    table = {cells[1]: cells for cells in ([c.strip() for c in line.split("|")] for line in lines)}
    assert table["CLARABEL"][2:4] == ["yes", "own file"]
    assert "PSD" in table["SCS"][4]
    assert set(cp.installed_solvers()) <= table.keys()
    assert all(table[name][2] == "yes" for name in cp.installed_solvers())
    assert "no" in {cells[2] for cells in table.values()}


def test_version():
    done = run("--version")
    assert done.stdout == f"cvxlpgd {cvxlpgd.__version__}\n"
    assert done.returncode == 0

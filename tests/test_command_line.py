"""The command line: as a program, and as main([...])."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from textwrap import dedent

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
    title, verdict, table, legend = done.stdout.split("\n\n")
    assert "2 samples, 4 parameter entries" in title
    assert verdict.startswith("- ")
    head, _, *body = table.splitlines()
    assert head.startswith("derivative")
    assert legend.startswith("error")
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
    "not a problem": (GOOD + "problem = 3", ["cvxpy.Problem", "int"]),
    "unlisted": (GOOD + "parameters, values = [q], values[:1]", ["not listed", "no value"]),
    "shape": (GOOD + "values[0] = 1.0", ["parameter 0", "(3,)"]),
    "value": (GOOD + "values[1] = None", ["value 1"]),
    "values": (GOOD + "values = 1.0", ["values", "list"]),
    "not DPP": (GOOD + "problem = cp.Problem(cp.Minimize(cp.multiply(q, q) @ x), [x >= total])",
                ["DPP"]),
    "cotangents": (GOOD + "cotangents = [np.ones(4)]", ["cotangent 0", "(4,)"]),
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


# a file's text -> the line that is named, its text, and the error
FAILING = {
    "in the file": ("import math\n\nmath.sqrt(-1)  # no", 3, "math.sqrt(-1)  # no",
                    "ValueError: math domain error"),
    "in a function": ("def f():\n    raise RuntimeError('boom')\n\nf()", 2,
                      "raise RuntimeError('boom')", "RuntimeError: boom"),
    "deep in a library": ("import cvxpy as cp\nx = cp.Variable(3)\ny = x + cp.Variable(2)", 3,
                          "y = x + cp.Variable(2)", "ValueError: "),
    "of this library": ("import cvxpy as cp\nfrom cvxlpgd.numpy import CvxpyLayer\n"
                        "layer = CvxpyLayer(cp.Minimize(1), [], [])", 3, "layer = CvxpyLayer(",
                        "InvalidProblem: problem must be"),
    "not Python": ("x = 1\ndef f(:", 2, "def f(:", "SyntaxError: "),
    "without a text": ("assert 1 == 2", 1, "assert 1 == 2", "AssertionError\n"),
    "exiting": ("import sys\nsys.exit(0)", 2, "sys.exit(0)", "SystemExit: 0"),
    "importing": ("import no_such_module", 1, "import no_such_module", "ModuleNotFoundError: "),
    "loss": (GOOD + "def loss(x):\n    return x / [1]\n", 10, "return x / [1]",
             "the loss fails: "),
}  # fmt: skip


@pytest.mark.parametrize(("text", "number", "line", "error"), FAILING.values(), ids=FAILING.keys())
def test_an_error_in_the_file_is_named_with_its_line(file, capsys, text, number, line, error):
    path = file(text)
    assert main(["compare", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{path}, line {number}: " in err
    assert f"\n    {line}" in err
    assert error in err
    assert "Traceback" not in err


def test_an_error_in_another_file_is_found_there(file, tmp_path, capsys):
    """The file's folder is where it imports from, as under `python FILE`."""
    (tmp_path / "beside_it.py").write_text("limit = 1\nlimit +")
    assert main(["compare", str(file("import beside_it"))]) == 1
    assert f"{tmp_path / 'beside_it.py'}, line 2: SyntaxError" in capsys.readouterr().err
    (tmp_path / "beside_it.py").write_text("def limit():\n    return 1 / 0")
    assert main(["compare", str(file("import beside_it\nbeside_it.limit()"))]) == 1
    assert "given.py, line 2: ZeroDivisionError" in capsys.readouterr().err
    assert str(tmp_path) not in sys.path


def test_what_is_missing_is_asked_for_by_the_names_in_the_file(file, capsys):
    text = """
    import cvxpy as cp
    from cvxlpgd.numpy import CvxpyLayer
    x, cost, total = cp.Variable(3), cp.Parameter(3), cp.Parameter()
    programme = cp.Problem(cp.Minimize(cp.sum_squares(x) + cost @ x), [cp.sum(x) == total])
    layer = CvxpyLayer(programme, [cost, total], [x])
    """
    assert main(["compare", str(file(dedent(text)))]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    first, *lines = err.splitlines()
    assert "does not define problem, parameters, variables, values. Add to it" in first
    added = [line.split("#")[0].strip() for line in lines[:4]]
    assert added == ["problem = programme", "parameters = [cost, total]", "variables = [x]",
                     "values = [...]"]  # fmt: skip
    assert "what layer was made of" in lines[4]
    assert main(["solvers", str(file("\n".join([dedent(text), *added[:3]])))]) == 0
    assert "rule: quadratic, small" in capsys.readouterr().out
    assert main(["compare", str(file(GOOD + "del problem"))]) == 1
    assert "does not define problem. Add" in capsys.readouterr().err


def test_what_a_file_prints_is_not_part_of_the_result(file, capsys):
    path = file(GOOD + "print('epoch 1')\nif __name__ == '__main__':\n    raise SystemExit(3)")
    assert main(["compare", str(path), "--tau", "0.01", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["samples"] == 2
    assert err == "epoch 1\n"


def test_errors_as_a_program(file, tmp_path):
    for arguments in (["compare", tmp_path / "none.py"], ["compare", tmp_path],
                      ["compare", file("1 / 0")]):  # fmt: skip
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) <= 3
        assert str(arguments[1]) in done.stderr


def test_options_that_do_not_serve(file, capsys):
    assert main(["compare", str(file(GOOD)), "--solver", "MOZEK"]) == 1
    assert "MOZEK" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_refused_before_the_work(file, tmp_path, capsys):
    if not find_spec("matplotlib"):
        pytest.skip("pictures need matplotlib")
    path = str(file("raise SystemExit('executed')"))
    (tmp_path / "folder.png").mkdir()
    for wrong, reason in (
        (tmp_path / "no" / "such.png", f"there is no folder {tmp_path / 'no'}"),
        (tmp_path / "given.py" / "such.png", "there is no folder"),
        (tmp_path / "folder.png", "it is a folder"),
        (tmp_path / "picture.xyz", "its name must end in one of ."),
        (tmp_path / "picture", ".pdf, "),
    ):
        assert main(["compare", path, "--plot", str(wrong)]) == 1
        err = capsys.readouterr().err
        assert f"cannot draw to {wrong}: " in err
        assert reason in err
        assert "executed" not in err


def test_a_picture_without_matplotlib(file, monkeypatch, capsys):
    monkeypatch.setattr("cvxlpgd.analysis.plots.find_spec", lambda name: None)
    assert main(["compare", str(file("raise SystemExit('executed')")), "--plot", "out.png"]) == 1
    assert 'pip install "cvxlpgd[plot]"' in capsys.readouterr().err


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


def test_a_wrong_tau_is_told_from_a_file(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--tau", "0.1", "banana"])
    err = capsys.readouterr().err
    assert "tau must be a number > 0, not 'banana'; FILE stands before --tau" in err
    assert "_positive" not in err


def test_a_reader_that_leaves_early_is_no_error():
    command = [sys.executable, "-m", "cvxlpgd", "solvers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        program.stdout.close()
        assert program.stderr.read() == b""
        assert program.wait(timeout=120) == 0


def cells(text: str) -> dict[str, list[str]]:
    """The rows of a table in a text, by their first column."""
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_solvers(capsys):
    assert main(["solvers"]) == 0
    out = capsys.readouterr().out
    table = cells(out)
    assert table["CLARABEL"] == ["own", "all", "native", ""]
    assert table["ECOS"] == ["own", "linear SOC Exp", "lifted", ""]
    assert table["HIGHS"] == ["own", "linear", "native", "linear"]
    assert set(cp.installed_solvers()) <= table.keys()
    words = " ".join(out.split())
    for part in ("quadratic: what becomes of an objective x'Px; native: the solver takes P",
                 "SCS: acceleration_interval, ", "not installed: "):  # fmt: skip
        assert part in words
    assert max(map(len, out.splitlines())) <= 80


def test_solvers_as_json(capsys):
    assert main(["solvers", "--json"]) == 0
    rows = {row["solver"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(cp.installed_solvers()) == {name for name, r in rows.items() if r["installed"]} & {
        *cp.installed_solvers()
    }
    assert "eps_abs" in rows["SCS"]["options"]
    assert rows["SCS"]["cones"] == ["Exp", "NonNeg", "PSD", "Pow", "SOC", "Zero"]
    assert rows["MOREAU"]["install"] == 'pip install "cvxlpgd[moreau]"'


def test_the_solver_of_a_file(file, capsys):
    path = str(file(GOOD.replace("values =", "others =")))
    assert main(["solvers", path]) == 0
    _, rule, order = capsys.readouterr().out.replace("\n    ", " ").splitlines()
    assert rule.startswith("rule: quadratic, small")
    assert rule.endswith(
        ": DAQP, an active-set method, is exact and several times faster than the others"
    )
    assert order.startswith("tried in this order: DAQP, PIQP, ")
    assert main(["solvers", path, "--json"]) == 0
    choice = json.loads(capsys.readouterr().out)
    assert choice["rule"].startswith("quadratic, small")
    assert choice["cones"] == ["NonNeg", "Zero"]
    assert choice["solvers"]
    assert main(["solvers", path, "--tune"]) == 1
    assert "does not define values. Add" in capsys.readouterr().err


def test_tuning_says_what_its_errors_are_measured_against(file, capsys):
    path = str(file(GOOD.replace("cp.sum_squares(x)", "cp.sum_squares(x[:2]) + cp.pos(x[2])")))
    assert main(["solvers", path, "--tune"]) == 0
    out = capsys.readouterr().out
    (best,) = re.findall(r"relative to the gradient by (\w+), whose KKT", " ".join(out.split()))
    assert cells(out)[best][3] == "0e+00"
    assert "DAQP failed: " in out
    assert "DAQP" not in cells(out)
    assert max(map(len, out.splitlines())) <= 80
    assert main(["solvers", path, "--tune", "--json"]) == 0
    timings = {row["solver"]: row for row in json.loads(capsys.readouterr().out)["timings"]}
    assert timings["DAQP"]["forward"] is None
    assert timings["SCS"]["forward"] > 0


@pytest.mark.parametrize("command", ["compare", "solvers"])
def test_help_names_defaults(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("(default: ") == {"compare": 4, "solvers": 2}[command]
    assert "run only files that you trust" in text


def test_version():
    done = run("--version")
    assert done.stdout == f"cvxlpgd {cvxlpgd.__version__}\n"
    assert done.returncode == 0

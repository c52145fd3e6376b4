"""The benchmark of devices runs, with tensors on the CPU."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import devices


@pytest.mark.skipif(find_spec("qpth") is None, reason="not installed: pip install --no-deps qpth")
@pytest.mark.filterwarnings("ignore")
def test_every_way_solves_every_sample(tmp_path: Path) -> None:
    path = tmp_path / "devices.json"
    given = ["--batches", "2", "--rounds", "1", "--scale", "0.1", "--json", str(path)]
    assert devices.main(given) == 0
    rows = json.loads(path.read_text())
    assert [(row["family"], row["way"]) for row in rows] == [
        (name, way) for name in devices.NAMES for way in devices.WAYS
    ]
    assert all(row["solved"] == 2 and row["forward"] > 0 and row["backward"] > 0 for row in rows)


def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "is_installed", lambda solver: False)
    with pytest.raises(SystemExit):
        devices.main(["--batches", "2"])
    assert "pip install --no-deps qpth" in capsys.readouterr().err
    monkeypatch.setattr(devices, "is_installed", lambda solver: True)
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        devices.main(["--device", "cuda"])
    assert "torch sees no GPU" in capsys.readouterr().err

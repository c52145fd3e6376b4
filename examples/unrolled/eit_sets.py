"""The sets that all methods train on, are chosen by and are tested on, with a cache on disk."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from examples.unrolled import eit_data, gauss_newton, impedance, mesh
from examples.unrolled.samples import Samples, Sets

CHOICE = 50  # training samples that choose the regularization: all that the smallest set has
COUNTS = {"train": 400, "validation": 50, "test": 100}


def sets(inclusions: int, counts: Mapping[str, int] = COUNTS, folder: Path | None = None) -> Sets:
    """The samples of disks with 2 or 4 inclusions, in single precision.

    Fewer samples are the first ones of more. With a folder they are computed once and read then;
    about half a minute for 550 of them.
    """
    if inclusions not in eit_data.KINDS:
        raise ValueError(f"there are disks with 2 and with 4 inclusions, not with {inclusions}")
    arrays = _computed(inclusions, counts) if folder is None else _kept(inclusions, counts, folder)
    parts = {
        part: Samples(*(
            torch.as_tensor(arrays[f"{part}_{name}"], dtype=torch.float32)
            for name in ("truth", "data", "start")
        ))
        for part in eit_data.SETS
    }  # fmt: skip
    return Sets(**parts)


def _computed(inclusions: int, counts: Mapping[str, int]) -> dict[str, np.ndarray]:
    pairs = {part: eit_data.measured(counts[part], inclusions, part) for part in eit_data.SETS}
    truth, data = pairs["train"]
    start = gauss_newton.choose(truth[:CHOICE], data[:CHOICE])
    arrays = {"alpha": np.array(start.alpha)}
    for part, (truth, data) in pairs.items():
        values = {"truth": truth, "data": data, "start": start(data)}
        arrays |= {f"{part}_{name}": value.numpy() for name, value in values.items()}
    return arrays


def _kept(inclusions: int, counts: Mapping[str, int], folder: Path) -> dict[str, np.ndarray]:
    """Read from the folder, or computed and written there.

    A file's name has a digest of the code that makes the samples, so that changed code makes new
    ones.
    """
    code = (Path(module.__file__).read_bytes() for module in (
        eit_data, gauss_newton, impedance, mesh
    ))  # fmt: skip
    digest = hashlib.sha256(b"".join(code)).hexdigest()[:12]
    sizes = "-".join(str(counts[part]) for part in eit_data.SETS)
    file = folder / f"eit-{inclusions}-{sizes}-{digest}.npz"
    if file.is_file():
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
                return dict(kept)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{file} cannot be read ({error}): delete it") from error
    arrays = _computed(inclusions, counts)
    folder.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.npz")  # whoever reads meanwhile sees whole files
    np.savez(part, **arrays)
    part.replace(file)
    return arrays

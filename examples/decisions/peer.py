"""The child process that runs PyEPO's methods: one for all runs, as its imports take seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parent.parent.parent
MODULE = "examples.decisions.theirs"


class Peer:
    """`with Peer(python) as peer: peer.answers(job)`.

    Parameters
    ----------
    python : str
        A Python that has PyEPO, torch and a back end.
    """

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, "-m", MODULE], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:  # it may be in the middle of a training
            self._process.terminate()
        self._process.communicate()

    def answers(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The lines that answer a job, all but the last {"done": true}.

        Raises
        ------
        ChildProcessError
            If the process ends before.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended: the reader below says so
        for line in self._process.stdout:
            row = json.loads(line)
            if "done" in row:
                return
            yield row
        code = self._process.wait()
        raise ChildProcessError(f"PyEPO's process ended with {code}; what it said is above")

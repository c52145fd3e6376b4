"""python -m campaigns.fuzz.malformed: hand in all malformed inputs, and count."""

from __future__ import annotations

import sys
from collections import Counter

from tabulate import tabulate
from tqdm import tqdm

from .judge import complaint, everything


def main() -> int:
    """The status is 1 if anything was not an error of ours that names the argument."""
    counts: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for case in tqdm(everything(), desc="malformed inputs"):
        place = case.name.split(":")[0]
        counts[place] += 1
        text = complaint(case)
        if text:
            wrong[place] += 1
            tqdm.write(f"{case.name}: {text}", file=sys.stdout)
    rows = [[place, count, wrong[place]] for place, count in counts.items()]
    rows.append(["all", counts.total(), wrong.total()])
    print(tabulate(rows, headers=["place", "malformed inputs", "wrong"], tablefmt="github"))
    return int(wrong.total() > 0)


if __name__ == "__main__":
    sys.exit(main())

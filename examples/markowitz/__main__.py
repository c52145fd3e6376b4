"""Tune a Markowitz policy by the utility of its rollouts.

Twelve stocks, 24 months, log-normal returns, costs of trades and of short positions; the policy
maximizes mu'h+ - gamma |S h+|², and mu, S and gamma are learned by gradient descent on rollouts
(Agrawal, Barratt, Boyd, Stellato, "Learning convex optimization control policies", L4DC 2020).

    lpgd    LPGD at a finite tau, one-sided: one re-solve for each gradient
    exact   the exact derivative, by diffcp's differentiation at the same solutions

Both have the same solver, the same batches, and the same search for a learning rate, decided by
validation rollouts; seconds are those of training alone. An epoch is one batch of rollouts. With
--exact-by cvxpylayers, which must be installed, `exact` is that package's layer on diffcp.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from tqdm import tqdm

from cvxlpgd import LPGD, Implicit
from cvxlpgd.errors import CvxlpgdWarning
from cvxlpgd.schedules import Relative
from cvxlpgd.torch import CvxpyLayer as OurLayer
from examples import _experiment
from examples.markowitz.market import Market, from_files, real_prices
from examples.markowitz.policy import Policy, problem, utility

KAPPA = 1e-2
QUICK = {"epochs": 6, "search": 2, "rates": [3e-3, 1e-2], "rollouts": 20}
METHODS = {
    "lpgd": LPGD(tau=Relative(KAPPA), side="lower"),
    "exact": Implicit("lsqr"),
}
MONTHS, BATCH, HALVED = 24, 10, 100
VALIDATION, TEST = 10_001, 10_002  # seeds of rollouts that no training sees
EVERY = 10


def run(method: str, seed: int, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Search the learning rate, then train with it."""
    market = _market(options.data)
    # kinks are met now and then, and told once for each layer: here they are the subject
    warnings.simplefilter("ignore", CvxlpgdWarning)
    valid, test = (
        torch.tensor(market.returns(options.rollouts, MONTHS, s)) for s in (VALIDATION, TEST)
    )
    if options.search:
        with tqdm(total=len(options.rates) * options.search, leave=False, delay=2) as bar:
            bar.set_description(f"{method}, seed {seed}, learning rates")
            tried = {
                rate: _searched(market, method, seed, rate, valid, options, bar)
                for rate in options.rates
            }
        rate = max(tried, key=lambda r: tried[r])
    else:
        rate = options.rates[0]
    policy = _policy(market, method, options.exact_by)
    for epoch, seconds, loss in _trained(policy, market, seed, rate, options.epochs):
        if epoch % EVERY == 0 or epoch == options.epochs:
            yield {
                "epoch": epoch, "seconds": seconds, "train_loss": loss,
                "test_utility": _mean(policy, test), "valid_utility": _mean(policy, valid),
                "learning_rate": rate,
            }  # fmt: skip


def _policy(market: Market, method: str, exact_by: str) -> Policy:
    if method == "exact" and exact_by == "cvxpylayers":
        if find_spec("cvxpylayers") is None:
            raise ValueError("cvxpylayers is not installed")
        from cvxpylayers.torch import CvxpyLayer

        return Policy(market, CvxpyLayer(*problem(), solver_args={"solve_method": "Clarabel"}))
    # PIQP is fast here and stalls once in a thousand solves: the forward pass then takes Clarabel,
    # and a rollout whose re-solve failed has no gradient
    options = {"solver": "PIQP", "fallback": "CLARABEL", "on_failure": "nan"}
    return Policy(market, OurLayer(*problem(), derivative=METHODS[method], **options))


def _searched(
    market: Market, method: str, seed: int, rate: float, valid: torch.Tensor,
    options: argparse.Namespace, bar: tqdm,
) -> float:  # fmt: skip
    """Validation utility after a few epochs; worst where training fails."""
    policy = _policy(market, method, options.exact_by)
    for epoch, _, loss in _trained(policy, market, seed, rate, options.search):
        bar.update(epoch > 0)
        if not abs(loss) < 1.0:  # the wealth is lost: no need to go on
            return -float("inf")
    return _mean(policy, valid)


def _trained(
    policy: Policy, market: Market, seed: int, rate: float, epochs: int
) -> Iterator[tuple[int, float, float]]:
    """(epoch, seconds, training loss), at first before any step."""
    optimizer = torch.optim.SGD(policy.parameters(), lr=rate)
    halving = torch.optim.lr_scheduler.StepLR(optimizer, HALVED, 0.5)
    seconds, first = 0.0, _mean(policy, _batch(market, seed, 0))
    yield 0, seconds, -first
    for epoch in range(1, epochs + 1):
        returns = _batch(market, seed, epoch)
        begin = perf_counter()
        loss = -utility(policy, returns).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        halving.step()
        seconds += perf_counter() - begin
        yield epoch, seconds, loss.item()


def _batch(market: Market, seed: int, epoch: int) -> torch.Tensor:
    """The rollouts of an epoch, the same for all methods and rates."""
    return torch.tensor(market.returns(BATCH, MONTHS, 1_000_000 * (seed + 1) + epoch))


def _mean(policy: Policy, returns: torch.Tensor) -> float:
    with torch.no_grad():
        return utility(policy, returns).mean().item()


@cache
def _market(folder: Path | None) -> Market:
    return real_prices() if folder is None else from_files(folder)


def summary(runs: Sequence[_experiment.Row]) -> str:
    """For each seed the best utilities, and when LPGD's is the exact derivative's last one."""
    found: dict[int, dict[str, list[_experiment.Row]]] = {}
    for run in runs:
        found.setdefault(run["seed"], {})[run["method"]] = _experiment.rows_of(run)
    lines = []
    for seed, by in found.items():
        best = ", ".join(f"{k} {max(r['test_utility'] for r in v):.6f}" for k, v in by.items() if v)
        lines.append(f"seed {seed}: best utility {best}")
        if by.get("lpgd") and by.get("exact"):
            last = by["exact"][-1]
            there = [r for r in by["lpgd"] if r["test_utility"] >= last["test_utility"]]
            when = f"{there[0]['seconds']:.1f} s" if there else "never"
            lines[-1] += f"; exact's last after {last['seconds']:.1f} s, lpgd there: {when}"
    return "\n".join(lines)


def main() -> int:
    """The command line."""
    parser = _experiment.arguments(__doc__ or "", "markowitz", list(METHODS), 100, QUICK)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with mu.npy and cov.npy of log returns (default: prices that skfolio brings)",
    )
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[3e-3, 1e-2, 3e-2],
        help="learning rates tried (default: 0.003 0.01 0.03)",
    )  # fmt: skip
    parser.add_argument(
        "--search", type=int, default=20, help="epochs of each; 0 takes the first (default: 20)"
    )
    parser.add_argument(
        "--rollouts", type=int, default=200, help="for validation and for test (default: 200)"
    )
    parser.add_argument(
        "--exact-by", choices=("implicit", "cvxpylayers"), default="implicit",
        help="what computes the exact derivative (default: implicit)",
    )  # fmt: skip
    title = "Markowitz policy on twelve stocks"
    return _experiment.main(parser, run, list(METHODS), "test_utility", title, summary)


if __name__ == "__main__":
    sys.exit(main())

"""The methods by name: what each is in this package and in PyEPO, and where it does not apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from examples.decisions.tasks import INTEGER

SIDES = ("ours", "theirs")
SIGMA, LAMBDA, PG_SIGMA, SOLVE_RATIO = 1.0, 10.0, 0.1, 0.05


@dataclass(frozen=True)
class Method:
    """Its names, empty where a package has none; of each side the tasks it is left out of."""

    ours: str
    theirs: str
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    why: str = ""

    def on(self, side: str) -> str:
        """Its name in a package."""
        return self.ours if side == "ours" else self.theirs

    def absent(self, side: str, task: str) -> str:
        """Why there is no run of it, empty if there is."""
        if not self.on(side):
            return f"{'this package' if side == 'ours' else 'PyEPO'} has none"
        return self.why if task in self.without.get(side, ()) else ""


_CURVED = (*INTEGER, "portfolio")
_SMOOTH = {"ours": INTEGER, "theirs": _CURVED}

METHODS = {
    "two_stage": Method("squared error of the costs", "squared error of the costs"),
    "spo_plus": Method("SPOPlus", "SPOPlus"),
    "fenchel_young": Method(
        "FenchelYoung, |x|²/2 in the objective", "RFY", _SMOOTH,
        "a quadratic term: not in integer programs, and Frank-Wolfe needs corners",
    ),
    "frank_wolfe": Method(
        "Regularized, |x - x*|²", "RFWO, |x - x*|²", {"ours": _CURVED, "theirs": _CURVED},
        "hundreds of solves for each sample; Frank-Wolfe needs corners",
    ),
    "perturbed_fy": Method("FenchelYoung(Perturbed)", "PFY"),
    "perturbed": Method("Perturbed, |x - x*|²", "DPO, |x - x*|²"),
    "imle": Method("ImplicitMLE of the regret", "IMLE of the regret"),
    "aimle": Method("AdaptiveImplicitMLE of the regret", "AIMLE of the regret"),
    "dbb": Method('LPGD(tau=10, side="lower") of the regret', "DBB of the regret"),
    "nid": Method("NegativeIdentity of the regret", "NID of the regret"),
    "lpgd": Method("LPGD() of the regret", ""),
    "lpgd_squared": Method("LPGD() of |x - x*|²", ""),
    "envelope": Method("upper envelope of the cost, tau = 0.1", "PG, sigma = 0.1"),
    "nce": Method("NoiseContrastive", "NCE"),
    "map": Method("ContrastiveMAP", "CMAP"),
    "listwise": Method("ListwiseRanking", "lsLTR"),
    "pairwise": Method("PairwiseRanking", "prLTR"),
    "pointwise": Method("PointwiseRanking", "ptLTR"),
    "cave": Method(
        "ConeAligned", "CaVE", dict.fromkeys(SIDES, ("tsp", "portfolio")),
        "decisions must be of zeros and ones, and each cost that of one variable",
    ),
}  # fmt: skip

# With other constants than the default ones; run if named: kappa of LPGD() for linear programs, and
# the weight that moves ConeAligned's point into its cone
KAPPAS = {f"lpgd_kappa_{kappa:g}": kappa for kappa in (0.3, 0.5, 2.0, 4.0)}
INWARDS = {f"cave_inward_{inward:g}": inward for inward in (0.0, 1e-4, 1e-3, 3e-3)}
EXTRA = {
    name: Method(
        f"LPGD() of the regret, kappa = {kappa:g}", "", {"ours": ("portfolio",)},
        "its derivative is exact: there is no kappa",
    )
    for name, kappa in KAPPAS.items()
} | {
    name: Method(
        f"ConeAligned, inward = {inward:g}", "", METHODS["cave"].without, METHODS["cave"].why
    )
    for name, inward in INWARDS.items()
}  # fmt: skip

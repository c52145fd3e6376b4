r"""
Prices in a power network
=========================

Which line should be reinforced, and who gains from it? DC optimal dispatch chooses the cheapest
generation that serves every demand, where flows follow the voltage angles and each line has its
limit. The price at a node is the dual variable of its power balance. A layer returns dual variables
like any other solution, and they have gradients too.

**What to see.** Two lines are full (vermilion), so power is cheap at the wind farm and dear in the
city. More room on either line makes the whole system cheaper. For the city they are opposites: the
line from the coal plant lowers its price, and the line from the wind farm raises it at first. The
tangents in the second picture are the layer's gradients. They are exact, since a smooth problem
needs no perturbation, and they hold until another line or plant reaches its limit.
"""

# %%
# Cost rises with the power that a plant generates: euros for the first MW, and for each MW more.
import cvxpy as cp
import matplotlib.pyplot as plt
import networkx as nx
import torch

from cvxlpgd.torch import CvxpyLayer

plants = {  # place, first price, rise of the price, demand
    "wind": ((0.0, 2.0), 5, 0.02, 20),
    "hydro": ((2.1, 2.0), 18, 0.08, 30),
    "town": ((-0.3, 1.0), 80, 1.0, 110),
    "coal": ((1.9, 1.0), 35, 0.1, 60),
    "gas": ((0.3, 0.0), 55, 0.1, 70),
    "city": ((2.3, 0.0), 80, 1.0, 260),
}
limits = {
    ("wind", "hydro"): 100.0, ("wind", "town"): 120.0, ("hydro", "coal"): 110.0,
    ("town", "coal"): 60.0, ("town", "gas"): 70.0, ("gas", "coal"): 60.0,
    ("coal", "city"): 130.0, ("gas", "city"): 110.0, ("wind", "coal"): 90.0,
}  # fmt: skip
network = nx.DiGraph(limits.keys())
incidence = nx.incidence_matrix(network, list(plants), list(limits), oriented=True)
places, first, rise, demands = (list(column) for column in zip(*plants.values(), strict=True))

# %%
# The dispatch, as a layer from demands and limits to generation, flows and prices.
generation, flow, angle = cp.Variable(6, nonneg=True), cp.Variable(9), cp.Variable(6)
demand, limit = cp.Parameter(6), cp.Parameter(9, nonneg=True)
balance = demand - generation - incidence @ flow == 0
physics = [flow == -100 * incidence.T @ angle, angle[0] == 0]
cost = first @ generation + cp.sum(cp.multiply(rise, cp.square(generation))) / 2
problem = cp.Problem(cp.Minimize(cost), [balance, *physics, cp.abs(flow) <= limit])
outputs = [generation, flow, balance.dual_variables[0]]
dispatch = CvxpyLayer(problem, [demand, limit], outputs)

demands = torch.tensor(demands, dtype=torch.float64)
limits_now = torch.tensor(list(limits.values()), dtype=torch.float64, requires_grad=True)
generated, flows, prices = dispatch(demands, limits_now)
total = (torch.tensor(first) * generated + torch.tensor(rise) * generated**2 / 2).sum()
(total_gradient,) = torch.autograd.grad(total, limits_now, retain_graph=True)
(city_gradient,) = torch.autograd.grad(prices[-1], limits_now)
for line in (6, 8):
    changes = f"cost {total_gradient[line]:+.0f}, the city's price {city_gradient[line]:+.2f}"
    print(f"one MW more from {' to '.join(list(limits)[line])}: {changes} euros")

# %%
# The network: arrows are flows in MW, circles have the price at their node.
figure, axis = plt.subplots(figsize=(6.4, 4.6))
where = dict(zip(plants, places, strict=True))
circles = {"s": 2600, "cmap": "YlOrBr", "vmin": -20, "vmax": 240, "edgecolor": "0.3"}
axis.scatter(*zip(*places, strict=True), c=prices.detach(), zorder=3, **circles)
for (name, place), price in zip(where.items(), prices, strict=True):
    axis.annotate(f"{name}\n{price:.0f} €", place, ha="center", va="center", zorder=4)
for line, f, most in zip(limits, flows.tolist(), limits.values(), strict=True):
    ends = [where[node] for node in (line if f > 0 else line[::-1])]
    style = {"width": abs(f) / 18 + 0.5, "node_size": 2600, "arrowsize": 20, "ax": axis}
    color = "C1" if abs(f) > most - 1e-6 else "0.7"
    nx.draw_networkx_edges(nx.DiGraph([(0, 1)]), ends, edge_color=color, **style)
    middle = [sum(values) / 2 for values in zip(*ends, strict=True)]
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axis.annotate(f"{abs(f):.0f}", middle, ha="center", va="center", bbox=box)
axis.set(xlim=(-0.8, 2.8), ylim=(-0.4, 2.4))
axis.set_axis_off()

# %%
# The city's price for other limits, all in one call, and the tangents by the gradient.
extra = torch.linspace(-30, 60, 91, dtype=torch.float64)
figure, axis = plt.subplots()
for line, color in ((6, "C0"), (8, "C4")):
    changed = limits_now.detach().repeat(len(extra), 1)
    changed[:, line] += extra
    city_price = dispatch(demands, changed)[2][:, -1]
    axis.plot(extra, city_price, color=color, label="from " + " to ".join(list(limits)[line]))
    axis.plot(extra, prices[-1].detach() + city_gradient[line] * extra, "--", color="0.4", lw=1.2)
axis.set(xlabel="MW added to a line's limit", ylabel="price in the city, €")
axis.legend()
plt.show()

# %%
# **Try it:** which demand raises the city's price the most? Ask ``torch.autograd.grad`` for the
# gradient with respect to ``demands``, after ``demands.requires_grad_()``.

r"""
Steer a maximum cut
===================

Which alliances decide who is on whose side? A maximum cut splits a graph in two, such that as much
weight as possible lies on edges between the sides. Its semidefinite relaxation gives each node a
unit vector, and the entry :math:`X_{ij}` of its solution is the cosine between two of them: 1 on
the same side, -1 on opposite ones. A layer turns weights into X, and X has gradients.

**What to see.** The graph shows marriages between families of Florence in the 15th century. Colours
are cosines with the Medici: red is their side, blue the other one, and pale is undecided. With
equal weights the Strozzi lean to the Medici. Seven gradient steps on the weights (the widths of the
edges) bring them to the other side. The layer finds a lever two steps away: with a weaker tie
between Medici and Ridolfi, the Ridolfi change sides, and so do the Strozzi.
"""

# %%
# The relaxation, and a layer from the 20 weights to the matrix of cosines.
import cvxpy as cp
import matplotlib.pyplot as plt
import networkx as nx
import torch

from cvxlpgd.torch import CvxpyLayer

graph = nx.florentine_families_graph()
families = list(graph)
edges = [(families.index(a), families.index(b)) for a, b in graph.edges]
medici, strozzi = families.index("Medici"), families.index("Strozzi")

X, weight = cp.Variable((15, 15), PSD=True), cp.Parameter(20)
cut = sum(weight[k] * (1 - X[edge]) / 2 for k, edge in enumerate(edges))
problem = cp.Problem(cp.Maximize(cut), [cp.diag(X) == 1])
relaxed_cut = CvxpyLayer(problem, [weight], [X])

# %%
# Lower the cosine between Medici and Strozzi, at a price for weights that leave 1.
weights, history = torch.ones(20, dtype=torch.float64, requires_grad=True), []
optimizer = torch.optim.SGD([weights], lr=0.05)
for step in range(8):
    (cosines,) = relaxed_cut(weights)
    history.append((weights.tolist(), cosines.detach()))
    print(f"step {step}: cosine {cosines[medici, strozzi]:+.2f}")
    loss = cosines[medici, strozzi] + 0.5 * ((weights - 1) ** 2).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def draw(weights, cosines):
    _, axis = plt.subplots(figsize=(6.4, 5))
    place = nx.kamada_kawai_layout(graph)
    widths = [5 * max(weight, 0) ** 2 for weight in weights]
    shades = ["0.45" if cosines[edge] < 0 else "0.8" for edge in edges]  # dark: in the cut
    nx.draw_networkx_edges(graph, place, width=widths, edge_color=shades, ax=axis)
    colors = {"cmap": "RdBu_r", "vmin": -1.1, "vmax": 1.1, "edgecolors": "0.3"}
    nodes = {"node_size": 500, "node_color": cosines[medici].tolist()}
    nx.draw_networkx_nodes(graph, place, **nodes, **colors, ax=axis)
    for name, (x, y) in place.items():
        box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5}
        axis.text(x, y + 0.09, name, ha="center", bbox=box)
    axis.margins(0.12)
    axis.set_axis_off()


# %%
# After seven steps (dark edges are cut):
draw(*history[-1])

# %%
# And before them, with all weights 1:
draw(*history[0])
plt.show()

# %%
# **Try it:** ``LPGD()`` and ``Exact()`` agree, for the relaxation is smooth here. Where its
# solution is a cut, no small change moves it and the gradient is zero: ``LPGD(tau="informative")``
# looks further. Which ties would bring the Bischeri to the Medici's side?

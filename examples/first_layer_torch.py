"""A first layer in torch: learn the capacities of a plant from its decisions.

What one learns: a CVXPY problem becomes a torch layer in one line; a batch of inputs and a
parameter without a batch axis go in side by side; the gradient of the shared one is the sum over
the batch.

Each day 5 products are requested, and the plant makes what is nearest to that within its three
machines' capacities. The usage is known, the capacities are not: they are fitted to what was made.
"""

import cvxpy as cp
import torch

from cvxlpgd.torch import CvxpyLayer

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
# hours of each machine for one unit of each product
usage = torch.tensor([[1, 1, 0, 0, 0.5], [0, 1, 1, 0, 0.5], [0, 0, 1, 1, 0.5]])

made = cp.Variable(5, name="made")
request = cp.Parameter(5, name="request")
capacity = cp.Parameter(3, name="capacity")
problem = cp.Problem(
    cp.Minimize(cp.sum_squares(made - request)), [usage.numpy() @ made <= capacity, made >= 0]
)
layer = CvxpyLayer(problem, parameters=[request, capacity], variables=[made])

true_capacity = torch.tensor([3.0, 4.0, 2.0])
requests = 4 * torch.rand(32, 5)
(observed,) = layer(requests, true_capacity)

guess = torch.full((3,), 1.0, requires_grad=True)
optimizer = torch.optim.Adam([guess], lr=0.05)
for step in range(301):
    (fitted,) = layer(requests, guess)
    loss = ((fitted - observed) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    if step % 60 == 0:
        hours = " ".join(f"{hour:.3f}" for hour in guess.tolist())
        print(f"step {step:3d}   loss {loss.item():.2e}   capacities {hours}")
    optimizer.step()

print("statuses:", set(layer.info.status.tolist()), " largest gap:", layer.info.gap.max())
assert guess.grad.shape == true_capacity.shape
assert torch.allclose(guess, true_capacity, atol=1e-2)

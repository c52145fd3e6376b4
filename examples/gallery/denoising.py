"""
A denoiser that learns the note of a Morse key
==============================================

Total variation cleans a signal by looking for one that seldom changes: it penalizes differences of
neighbours. A Morse signal is a note, switched on and off. It changes all the time, and nobody has
told us its pitch. Can the difference operator be learned from examples instead?

**What to see.** SOS in noise; shaded where the key is down. Total variation, at its best strength,
cannot tell the note from the noise. The learned operator has three numbers that are silent for one
pitch. It gives back the note where the key is down, and little where it is not.
"""

import cvxpy as cp
import matplotlib.pyplot as plt
import numpy as np
import torch

from cvxlpgd.torch import CvxpyLayer

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
rng = np.random.default_rng(0)
UNIT, PITCH, NOISE = 20, 0.9, 0.5  # samples in a dot, radians in a sample, standard deviation

# %%
# The denoiser: a clean signal near the noisy one, for which few combinations of three neighbours
# are other than zero. Total variation is ``taps = (-strength, strength, 0)``.


def denoiser(length):
    clean, noisy, taps = cp.Variable(length), cp.Parameter(length), cp.Parameter(3)
    differences = sum(taps[j] * clean[j : length - 2 + j] for j in range(3))
    objective = cp.sum_squares(clean - noisy) / 2 + cp.norm1(differences)
    return CvxpyLayer(cp.Problem(cp.Minimize(objective)), [noisy, taps], [clean])


# %%
# Examples to learn from: dots and dashes at random, with their noise.


def morse(code):
    """A note where the code has marks, one unit for each character."""
    key = np.repeat([mark == "=" for mark in code], UNIT)
    phase = rng.uniform(0, 2 * np.pi)
    return torch.tensor(key * np.sin(PITCH * np.arange(len(key)) + phase))


def add_noise(signals):
    return signals + NOISE * torch.randn(signals.shape)


codes = ["".join(rng.choice(["= ", "=== ", "  "], size=8))[:8] for _ in range(64)]
clean = torch.stack([morse(code) for code in codes])
noisy = add_noise(clean)
denoise = denoiser(8 * UNIT)


def error(taps, batch=slice(None)):
    (estimate,) = denoise(noisy[batch], taps)
    return (estimate - clean[batch]).square().mean()


# %%
# Total variation with the strength that serves the examples best, and from there Adam.

variation = torch.tensor([-1.0, 1.0, 0.0])
with torch.no_grad():
    strength = min(np.linspace(0.05, 1, 20), key=lambda strength: error(strength * variation))

taps = (strength * variation).requires_grad_()
optimizer = torch.optim.Adam([taps], lr=0.08)
for _ in range(80):
    optimizer.zero_grad()
    error(taps, torch.randperm(64)[:8]).backward()
    optimizer.step()

learned = taps.detach()
pitch = torch.arccos(-learned[1] / (learned[0] + learned[2]))
print(f"learned taps {learned.numpy().round(2)}: silent for a note of {pitch:.2f}, it is {PITCH}")

# %%
# A new message, of another length: the same taps serve it.

sos = " = = =   === === ===   = = = "
message = morse(sos)
received = add_noise(message)
restore = denoiser(len(message))
guesses = {
    "received": received,
    "total variation": restore(received, strength * variation)[0],
    "learned": restore(received, learned)[0],
}

figure, axes = plt.subplots(3, 1, figsize=(6.4, 5), sharex=True, sharey=True)
for ax, (name, guess), color in zip(axes, guesses.items(), ["0.6", "C1", "C0"], strict=True):
    root_mean_square = (guess - message).square().mean().sqrt()
    key_is_down = np.repeat([mark == "=" for mark in sos], UNIT)
    ax.fill_between(np.arange(len(message)), -2, 2, where=key_is_down, color="C4", alpha=0.25, lw=0)
    ax.plot(guess, color=color, lw=1.3)
    ax.set(title=f"{name}: error {root_mean_square:.2f}", yticks=[-1, 0, 1], ylim=(-1.8, 1.8))
    ax.grid(False)
axes[-1].set_xlabel("sample")
plt.show()

# %%
# **Try:** other pitches, two notes at once with five taps, or drums that fade instead of notes.

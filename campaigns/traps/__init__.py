"""The traps that other layers fell into, sprung again: ours beside them."""

"""Malformed inputs, place by place: each must be an error of ours that names the argument."""

"""Fuzzing: random problems judged by CVXPY and finite differences, and malformed inputs."""

"""Cone programs in the forms that solvers of linear and quadratic programs read."""

"""Decisions from predictions: the methods of this package and of PyEPO on five tasks."""

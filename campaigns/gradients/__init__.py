"""Gradients of small problems of every cone beside closed forms."""

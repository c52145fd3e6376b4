"""Structures that travel once to each worker, and from then on are known there by a token."""

from __future__ import annotations

import secrets
import weakref
from collections import deque

from cvxlpgd.program import Structure

STRUCTURES = 16  # that a worker keeps: a layer has one, or two with a proximal term

_tokens: weakref.WeakKeyDictionary[Structure, str] = weakref.WeakKeyDictionary()
_structures: weakref.WeakValueDictionary[str, Structure] = weakref.WeakValueDictionary()
_gone: deque[str] = deque(maxlen=STRUCTURES)  # a worker keeps no more


def token_of(structure: Structure) -> str:
    """The name of a structure of this process: nobody else's, and not to be guessed."""
    token = _tokens.get(structure)
    return _name(structure, secrets.token_hex(16)) if token is None else token


def structure_of(token: str) -> Structure | None:
    """The structure of this name, None where it is not here."""
    return _structures.get(token)


def introduce(structure: Structure, token: str) -> Structure:
    """Another process' structure, which has this name here too."""
    _name(structure, token)
    return structure


def gone() -> tuple[str, ...]:
    """The names of structures of this process that no longer exist, the newest few."""
    return tuple(_gone)


def _name(structure: Structure, token: str) -> str:
    """The name that the structure has from now on; with threads, the first one given."""
    token = _tokens.setdefault(structure, token)
    _structures[token] = structure
    weakref.finalize(structure, _gone.append, token).atexit = False
    return token

"""Says of a new account whether its owner was suspended before: how probably, and for which reasons. A person decides.

The way: a `Profile` is encoded; a `SuspensionIndex` brings up the suspended accounts that share most with it; a `Scorer`
makes `Tie`s of them, each with its bits for and against. Ties are sought from new accounts to suspended ones, and no others.
"""

from redshank.evasion.evidence import Encoded, encode
from redshank.evasion.fitting import default_model, fit
from redshank.evasion.index import Pairs, SuspensionIndex
from redshank.evasion.model import Card, Model, Reason, Scorer, Tie, load_model, save_model
from redshank.evasion.profiles import PURPOSES, KeyedToken, Profile

__all__ = [
    "PURPOSES",
    "Card",
    "Encoded",
    "KeyedToken",
    "Model",
    "Pairs",
    "Profile",
    "Reason",
    "Scorer",
    "SuspensionIndex",
    "Tie",
    "default_model",
    "encode",
    "fit",
    "load_model",
    "save_model",
]

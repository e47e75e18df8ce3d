"""Sources that speak their protocols on the loopback, as the exchanges' tests have them."""

from tests.exchanges.conftest import clock, limits, serve

__all__ = ["clock", "limits", "serve"]

"""Redshank: finds violent extremism on a platform, puts it before people who decide, acts reversibly, accounts for all of it."""

__version__ = "0.1.0"

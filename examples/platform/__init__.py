"""Marsh: a small made-up platform that is connected to Redshank. See README.md beside this file."""

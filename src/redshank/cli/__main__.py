"""`python -m redshank.cli`, for those who have no `redshank` on their path."""

from redshank.cli import main

main()

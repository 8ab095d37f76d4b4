"""`python -m remoteweb` is the command `remoteweb`."""

from remoteweb.cli import main

main()

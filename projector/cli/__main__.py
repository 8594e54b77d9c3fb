"""`python -m projector.cli`: the command line where `prejoin` is not on the path."""

from projector.cli import main

main()

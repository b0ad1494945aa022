"""``python -m liverouter``: the command line, where no script is on the PATH."""

from liverouter.cli import main

main()

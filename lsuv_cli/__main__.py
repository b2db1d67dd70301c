"""`python -m lsuv_cli`."""

from lsuv_cli.cli import main

if __name__ == "__main__":
    main()

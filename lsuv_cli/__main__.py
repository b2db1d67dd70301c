"""The `lsuv` command, and `python -m lsuv_cli`."""

import signal


def main() -> None:
    """Run the command.

    Until it begins, Ctrl-C ends it as other signals do: at once, and without a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from lsuv_cli.cli import app as cli

    cli.main()


if __name__ == "__main__":
    main()

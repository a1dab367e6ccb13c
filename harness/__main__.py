"""`python -m harness`."""

import sys

if __name__ == "__main__":
    try:
        from harness.cli.main import main

        main()
    except KeyboardInterrupt:  # before the command line could catch it
        sys.exit(130)

"""`python -m identiface_audit` is the command `identiface-audit`."""

import sys

from identiface_audit.cli import main

if __name__ == "__main__":
    sys.exit(main())

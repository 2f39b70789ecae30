"""`python -m eapc.cli` is `eapc`."""

import sys

from eapc.cli.app import main

sys.exit(main())

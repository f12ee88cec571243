"""Run the command line as ``python -m refnorm.cli``."""

import sys

from refnorm.cli import main

sys.exit(main())

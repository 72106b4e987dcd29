"""``python -m portlb_app.cli`` is ``portlb``."""

import sys

from portlb_app.cli import main

sys.exit(main())

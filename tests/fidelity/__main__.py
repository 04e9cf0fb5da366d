"""python -m tests.fidelity: the campaign (see campaign.py)."""

import sys

from tests.fidelity.campaign import main

sys.exit(main(sys.argv[1:]))

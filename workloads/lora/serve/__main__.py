"""`python -m workloads.lora.serve`."""

import sys

from . import main

sys.exit(main())

import sys

from suites.online.load.command import main

sys.exit(main())

"""`python -m ilora`."""

import sys

from ilora.lab.cli import main

sys.exit(main())

"""`python -m ilora`."""

import sys

from ilora.cli import main

sys.exit(main())

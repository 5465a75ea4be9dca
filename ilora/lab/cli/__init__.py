"""The command line: `python -m ilora run|compare|methods|presets|runs|resume|step|pause|stop|export|adapter|import|delete|app`.

Wrong values end with one sentence on stderr and exit code 2, a run that fails with 1, Ctrl-C with 130. Any other exception is
a mistake in the program, and keeps its traceback.
"""

import os
import sys
import traceback
from collections.abc import Sequence

from ilora.checks import FieldError
from ilora.lab.cli.parser import make_parser
from ilora.tensor_files import StoreError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    if chosen.verb is None:
        parser.print_help()
        return 0
    try:
        code: int = chosen.command(chosen)
        return code
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (FieldError, StoreError) as error:
        if chosen.debug:
            traceback.print_exc()
        print(f"python -m ilora {chosen.verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130

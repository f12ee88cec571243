"""The command line called in this process: what a test of its words needs, without the seconds of a new interpreter."""

import contextlib
import io
import subprocess

from refnorm.cli import main


def called(*arguments, cwd="."):
    """Run the command line; return its exit status and what it wrote, as `subprocess.run` would."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse
            status = ended.code
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

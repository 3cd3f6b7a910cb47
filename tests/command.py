"""The command line in this process, as a script meets it: exit status, standard output, standard error."""

import io
import subprocess
import sys
from unittest import mock

from rollwise.cli import main


def rollwise(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `rollwise ARGUMENTS` as a process would, without the start of one: models that are loaded stay loaded."""
    given, out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(3))
    given.write(stdin)
    given.seek(0)
    status: object = None
    with (
        mock.patch.object(sys, "argv", ["rollwise", *arguments]),
        mock.patch.object(sys, "stdin", given),
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    said = [_read(stream) for stream in (out, err)]
    return subprocess.CompletedProcess(["rollwise", *arguments], status if isinstance(status, int) else 0, *said)


def _read(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()

"""A real vLLM for heavy tests, started with the model in a folder and stopped afterwards."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath

GIVEN = os.environ.get("ROLLWISE_VLLM", "")
"""The vllm executable of a separate environment, or the URL of a server that holds the numbers game's policy."""
WITHIN = float(os.environ.get("ROLLWISE_VLLM_SECONDS", "900"))
"""Seconds that a server may take to start."""


@contextmanager
def vllm(folder: FilePath, log: FilePath, *options: str) -> Iterator[str]:
    """The URL of vLLM on a free port with the model in a folder, in float32."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [GIVEN, "serve", str(folder), "--dtype", "float32", "--enforce-eager", "--port", str(port), *options]
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "0"),
        "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "3000",
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            deadline = time.monotonic() + WITHIN
            while True:
                with socket.socket() as knock:
                    if knock.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, log.read_text()[-4000:]
                assert time.monotonic() < deadline, f"vLLM did not start within {WITHIN:g} s: {log.read_text()[-2000:]}"
                time.sleep(1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()

"""Run the real `orders-dask`, and write down its arguments, the signals it got and its exit code.

It stands on PATH as `orders-dask` while the orchestrators are tested.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys


def main() -> None:
    """Run the command, and pass on what asks it to end."""
    signals: list[str] = []
    process = subprocess.Popen([os.environ["REAL_ORDERS_DASK"], *sys.argv[1:]], process_group=0)

    def pass_on(number: int, frame: object) -> None:
        signals.append(signal.Signals(number).name)
        process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    code = process.wait()
    record = {"arguments": sys.argv[1:], "signals": signals, "exit_code": code}
    with open(os.environ["RECORDED_COMMANDS"], "a") as file:
        file.write(json.dumps(record) + "\n")
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()

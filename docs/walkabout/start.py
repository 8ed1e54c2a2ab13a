"""Starts all of Walkabout: donetd, the UberDOG process, the AI process, bots, and a window where there is a display.
A process that ends is started again; Ctrl-C ends everything. `make walkabout` runs this."""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
# Long enough for a machine under load; only a start that hangs gets there.
PATIENCE_S = 120.0


class Process:
    """One of the processes; its lines appear with its name before them."""

    def __init__(self, name, command):
        self.name, self.command = name, command
        self.is_ready = threading.Event()
        self.start()

    def start(self):
        self.is_ready.clear()
        self.child = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
            # Ctrl-C reaches only this process, which then ends the others in their order.
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self.show, args=(self.child.stdout,), daemon=True).start()

    def show(self, lines):
        for line in lines:
            if line.split()[:1] == ["ready"]:
                self.is_ready.set()
            print(f"{self.name:>8} | {line.rstrip()}", flush=True)

    def wait_until_ready(self):
        until = time.monotonic() + PATIENCE_S
        while not self.is_ready.wait(0.2):
            if self.child.poll() is not None:
                raise SystemExit(f"{self.name} has ended with {self.child.returncode} before it was ready")
            if time.monotonic() > until:
                raise SystemExit(f"{self.name} is not ready after {PATIENCE_S:.0f} s")
        return self

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(15)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--donetd", required=True, help="the daemon's binary")
    parser.add_argument("--config", default=os.path.join(FOLDER, "walkabout.toml"))
    parser.add_argument("--md", default="127.0.0.1:7199")
    parser.add_argument("--ca", default="127.0.0.1:7198")
    parser.add_argument("--bots", type=int, default=5)
    parser.add_argument("--name", default="", help="who you are in the window; asked for if not given")
    options = parser.parse_args()

    def python(script, *args):
        return [sys.executable, os.path.join(FOLDER, script), *args]

    processes, again = [], {}

    def stop(*_):
        raise KeyboardInterrupt

    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, stop)
    try:
        processes.append(Process("donetd", [options.donetd, options.config]).wait_until_ready())
        processes.append(Process("uberdog", python("uberdog.py", "--md", options.md)).wait_until_ready())
        processes.append(Process("ai", python("ai.py", "--md", options.md)).wait_until_ready())
        for number in range(1, options.bots + 1):
            bot = python("client.py", "--headless", "--bot", "--ca", options.ca, "--name", f"Bot {number}")
            processes.append(Process(f"bot{number}", bot))
        if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            named = ["--name", options.name] if options.name else []
            processes.append(Process("you", python("client.py", "--ca", options.ca, *named)))
        else:
            print("No display: the bots walk alone. With one, a window opens. Ctrl-C ends all.", flush=True)
        while True:
            time.sleep(0.5)
            for process in processes:
                if process.child.poll() is None:
                    continue
                if process.name == "you":
                    # The window was closed.
                    raise KeyboardInterrupt
                if process.name not in again:
                    print(f"{process.name} has ended with {process.child.returncode}; starts again", flush=True)
                    again[process.name] = time.monotonic() + 2
                elif time.monotonic() >= again[process.name]:
                    del again[process.name]
                    process.start()
    except KeyboardInterrupt:
        print("ending", flush=True)
    finally:
        for process in reversed(processes):
            process.stop()


if __name__ == "__main__":
    main()

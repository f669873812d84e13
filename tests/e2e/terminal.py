# SPDX-License-Identifier: MIT
"""Runs a program on a pseudo-terminal and checks that it leaves the terminal as it found it.

usage: terminal.py STEPS PROGRAM ARGS...     STEPS, separated by ";":
  wait REGEX   until the output since the last wait matches (30 s)
  send BYTES   with Python's escapes
  signal NAME  to the program
  alive        it must still run         alive?  go on, whether it runs or not
  end STATUS   wait for its end (20 s); STATUS may be "any"
"""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

steps, command = sys.argv[1].split(";"), sys.argv[2:]
master, slave = pty.openpty()
before = termios.tcgetattr(slave)
# A session of its own with the pty as its terminal, as a shell would have it.
child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
output = b""


def die(reason):
    child.kill()
    sys.exit(f"{reason}\n--- output: {output[-600:]!r}")


def pump(seconds):
    """Takes in output for at most that long; the pty must never fill up."""
    global output
    if select.select([master], [], [], seconds)[0]:
        output += os.read(master, 65536)


for step in steps:
    verb, _, value = step.partition(" ")
    limit = time.monotonic() + 30
    if verb == "wait":
        while not (found := re.search(value.encode(), output)):
            if child.poll() is not None:
                die(f"ended with {child.returncode} before '{value}'")
            if time.monotonic() > limit:
                die(f"no '{value}' within 30 s")
            pump(0.1)
        output = output[found.end():]
    elif verb == "send":
        os.write(master, value.encode().decode("unicode_escape").encode("latin-1"))
    elif verb == "signal":
        child.send_signal(getattr(signal, "SIG" + value))
    elif verb == "alive":
        pump(0.3)
        if child.poll() is not None:
            die(f"ended with {child.returncode}")
    elif verb == "alive?":
        pump(0.3)
    elif verb == "end":
        while child.poll() is None:
            if time.monotonic() > limit - 10:
                die("still running after 20 s")
            pump(0.1)
        if value != "any" and child.returncode != int(value):
            die(f"ended with {child.returncode}, not {value}")
    else:
        sys.exit(f"unknown step {step}")

after = termios.tcgetattr(slave)
if after != before:
    die(f"the terminal is not as before: {before} {after}")

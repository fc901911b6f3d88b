#!/usr/bin/env python3
"""Counts the instructions of the proxy's decisions and codecs, and compares them with accepted.json.

Ends with 1 where one takes over 3 % more than was accepted, is new, or is gone. Under another compiler, C library or valgrind
than those that they were accepted with, figures cannot be compared: then it ends with 0, and says so. The last line tells whether
anything was compared. docs/performance.md has the reasons.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ACCEPTED = Path(__file__).with_name("accepted.json")
ROOT = Path(__file__).resolve().parents[2]
# The programs that count; each is a `[[bench]]`.
PROGRAMS = ["decisions", "codecs"]
# A change is one of over so many percent. Less comes and goes with where the strings that are compared lie in memory.
TOLERANCE = 3
# These take so little that it would be more there: glibc's memcmp takes eight instructions more where a string reaches over a page's end.
SHORT, OF_A_PAGE = "::sniff_", 8 * 2000
HOW_TO_ACCEPT = "make instructions ARGS=--accept"
RULE = "!" * 100


def main():
    parser = argparse.ArgumentParser(prog="make instructions ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="what is counted now is what is accepted from now on")
    parser.add_argument("--only", choices=PROGRAMS, help="only these; the codecs want all of weft-proxy to be compiled")
    arguments = parser.parse_args()

    programs = [arguments.only] if arguments.only else PROGRAMS
    accepted = json.loads(ACCEPTED.read_text()) if ACCEPTED.exists() else {"made_with": {}, "instructions": {}}
    before = {name: figure for name, figure in accepted["instructions"].items() if name.split("::")[0] in programs}
    others = {name: figure for name, figure in accepted["instructions"].items() if name not in before}
    differences = [f"{tool}: {accepted['made_with'].get(tool)} then, {version} here" for tool, version in made_with().items()
                   if version != accepted["made_with"].get(tool)]
    if arguments.accept and others and differences:
        parser.error("with other tools all of the figures are to be accepted at once: " + "; ".join(differences))
    now = count(programs)
    complaints, gains = compare(before, now)

    if arguments.accept:
        figures = dict(sorted((others | now).items()))
        ACCEPTED.write_text(json.dumps({"made_with": made_with(), "instructions": figures}, indent=2) + "\n")
        print(f"ACCEPTED: {len(now)} figures, in {ACCEPTED.relative_to(ROOT)}. Commit it, and say in the message why.")
        return 0
    if differences:
        print(RULE, "NOT COMPARABLE, so nothing is refused: the figures were accepted with other tools.", *differences,
              f"To compare with these, first, on a commit that is known to be good: {HOW_TO_ACCEPT}", RULE, sep="\n")
        print(f"NOTHING WAS COMPARED: {len(now)} figures were counted, with other tools than the accepted ones.")
        return 0
    if gains:
        print(f"Over {TOLERANCE} % fewer, please accept it so that it is not lost ({HOW_TO_ACCEPT}):", *gains, sep="\n  ")
    if complaints:
        print("REFUSED:", *complaints, sep="\n  ")
        print(f"If it is worth it: {HOW_TO_ACCEPT}")
    compared = len(before.keys() & now.keys())
    what = f"COMPARED: {compared}" if compared else "NOTHING WAS COMPARED: accepted are none"
    print(f"{what} of {len(now)} figures; {len(complaints)} refused")
    return 1 if complaints else 0


def count(programs):
    """The instructions of each benchmark, by its name."""
    benches = [word for program in programs for word in ("--bench", program)]
    command = [os.environ.get("CARGO", "cargo"), "bench", "--quiet", "--workspace", *benches, "--",
               "--output-format=json", "--callgrind-args=--cache-sim=no"]
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if ran.returncode != 0:
        sys.exit(ran.returncode)
    figures = {}
    for benchmark in map(json.loads, ran.stdout.splitlines()):
        program = benchmark["module_path"].split("::")[0]
        [profile] = benchmark["profiles"]
        figures[f"{program}::{benchmark['function_name']}::{benchmark['id']}"] = \
            profile["data"]["total"]["metrics"]["Ir"]["values"]["new"]
    return figures


def compare(before, now):
    """Prints a table, and returns what is refused and what is better than accepted."""
    complaints, gains = [], []
    width = max(map(len, before | now))
    print(f"{'':{width}}  {'accepted':>10}  {'now':>10}  change")
    for name in sorted(before | now):
        was, is_now = before.get(name), now.get(name)
        if was is None or is_now is None:
            change = "new" if was is None else "gone"
            complaints.append(f"{name} is {change}")
        else:
            percent = 100 * (is_now - was) / was
            change = f"{percent:+.1f} %" if is_now != was else "="
            if abs(percent) <= TOLERANCE or (SHORT in name and abs(is_now - was) <= OF_A_PAGE):
                pass
            elif is_now > was:
                complaints.append(f"{name} takes {percent:.1f} % more: {was} before, {is_now} now")
            else:
                gains.append(f"{name} takes {-percent:.1f} % less")
        print(f"{name:{width}}  {was or '-':>10}  {is_now or '-':>10}  {change}")
    return complaints, gains


def made_with():
    """What the figures depend on besides the code."""
    def told(*command):
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    return {
        "rustc": told("rustc", "--version"),
        "host": told("rustc", "--print", "host-tuple"),
        "libc": " ".join(platform.libc_ver()),
        "valgrind": told("valgrind", "--version"),
    }


if __name__ == "__main__":
    sys.exit(main())

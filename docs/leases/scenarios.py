"""Runs the scenarios of client.txt with the State of interlock_leases.py."""
import pathlib, sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from interlock_leases import State

failed = 0
text = (pathlib.Path(__file__).parent / "client.txt").read_text()
scenarios = text.split("\n== ")[1:]
for scenario in scenarios:
    name, _, lines = scenario.partition("\n")
    state = None
    for line in filter(None, map(str.strip, lines.splitlines())):
        does, _, want = (part.strip() for part in line.partition("->"))
        at, *words = does.split()
        at, event = float(at), words[0] if words else "check"
        value = {k: float(v) for k, v in (w.split("=") for w in words[1:])}
        got = ""
        if event == "granted":
            state = State(value["sent"], value["ttl"])
        elif event == "renewed":
            state.check(at)
            state.renewed(value["sent"])
        elif event == "in-grace":
            state.check(at)
            state.renewed_in_grace(value["sent"], at, value["grace"])
        elif event == "revoked":
            state.revoke(at, value["grace"])
        elif event in ("ended", "released"):
            state.end(event)
        elif event == "renews":
            got = "yes" if state.check(at) == "held" else "no"
        else:
            got = state.check(at)
        if got != want:
            failed += 1
            print(f"{name}: {line}: got {got!r}")
print(len(scenarios), "scenarios,", failed, "failures")
sys.exit(failed > 0)

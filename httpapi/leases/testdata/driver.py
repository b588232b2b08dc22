"""Drives docs/leases/interlock_leases.py for the tests.

    driver.py FOLDER URL CA CERT KEY TTL

FOLDER has the client. The driver reads commands, one a line, and answers each with a line:

    acquire NAME ACTION TYPE ID [PROPERTIES]  acquired NAME ID, denied NAME, or failed NAME ERROR
    check NAME                                held NAME, or check NAME CAUSE
    release NAME                              released NAME

It also says "lost NAME CAUSE", once, when the client says so by itself. PROPERTIES are JSON.
"""
import json, sys, threading

sys.path.insert(0, sys.argv[1])
from interlock_leases import DENIED, Leases, Lost, Refused

leases, held, writing = Leases(*sys.argv[2:6], ttl=float(sys.argv[6])), {}, threading.Lock()


def say(*words):
    with writing:
        print(*words, flush=True)


def watch(name, lease):
    lease.lost.wait()
    if lease.state.cause != "released":
        say("lost", name, lease.state.cause or "revoked")


for line in sys.stdin:
    does, name, *rest = line.split(maxsplit=5)
    if does == "acquire":
        try:
            lease = held[name] = leases.acquire(rest[0], (rest[1], rest[2]), properties=json.loads(rest[3]) if rest[3:] else None)
        except Refused as e:
            say(*(("denied", name) if e.problem.get("type") == DENIED else ("failed", name, e)))
            continue
        except OSError as e:
            say("failed", name, e)
            continue
        say("acquired", name, lease.id)
        threading.Thread(target=watch, args=(name, lease), daemon=True).start()
    elif does == "check":
        try:
            held[name].check()
            say("held", name)
        except Lost as e:
            say("check", name, e)
    elif does == "release":
        held.pop(name).release()
        say("released", name)

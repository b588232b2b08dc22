"""Works on an order of `make run` under a remote lease, as alice, for ten seconds or until the lease is lost."""
from interlock_leases import Leases, Lost

leases = Leases("https://localhost:8443", ca=".interlock/ca.crt", cert=".interlock/alice.crt", key=".interlock/alice.key")
with leases.acquire("orders:write", ("orders", "42"), properties={"amount": 12}) as lease:
    print("acquired", lease.id, flush=True)
    try:
        for _ in range(100):
            lease.check()  # right before each step that has an effect
            print("step", flush=True)
            lease.lost.wait(0.1)
    except Lost as why:
        print("lost:", why, flush=True)
print("released", flush=True)
leases.close()

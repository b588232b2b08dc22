"""A client of interlock's remote leases, with nothing but the standard library.

    leases = Leases("https://localhost:8443", ca="ca.crt", cert="alice.crt", key="alice.key")
    with leases.acquire("orders:write", ("orders", "42"), properties={"amount": 12}) as lease:
        for step in work:
            lease.check()   # raises Lost when the operation has to end
            step()

Three threads of a Leases object renew the leases, read the events and watch the clock. lease.lost is
a threading.Event that is set when the lease is lost. The protocol is in docs/leases.md.
"""
import http.client, json, secrets, ssl, threading, time, urllib.parse

MARGIN = 0.1  # the part of a TTL by which the client stops before the server ends the lease
DENIED = "urn:interlock:problem:denied"
HEARTBEAT = 5.0  # the longest silence of the event stream, in seconds


def now():
    """The time in seconds on a clock that counts the time in which the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lost(Exception):
    """The operation has to end: the lease was revoked, has expired, or has ended."""


class Refused(Exception):
    """The server refused a request. status and problem are its answer (RFC 9457)."""

    def __init__(self, status, problem):
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")
        self.status, self.problem = status, problem


class State:
    """What a client knows of a lease: client.txt has the scenarios. cause is why it is lost."""

    def __init__(self, sent, ttl):
        self.ttl, self.deadline = ttl, sent + ttl * (1 - MARGIN)
        self.revoked, self.limit, self.cause = False, None, None

    def renewed(self, sent):
        if self.cause is None and not self.revoked:
            self.deadline = max(self.deadline, sent + self.ttl * (1 - MARGIN))

    def renewed_in_grace(self, sent, at, grace):
        self.revoke(at, grace)
        if self.cause is None:
            self.deadline = max(self.deadline, sent + min(self.ttl, grace) - self.ttl * MARGIN)

    def revoke(self, at, grace):
        self.revoked, self.limit = True, at + grace
        self.check(at)

    def end(self, cause):
        self.cause = self.cause or cause

    def check(self, at):
        if self.cause is None and self.revoked and at >= min(self.limit, self.deadline):
            self.cause = "revoked"
        elif self.cause is None and at >= self.deadline:
            self.cause = "expired"
        return self.cause or "held"


class Lease:
    def __init__(self, leases, id, sent, answer):
        self.leases, self.id, self.principal, self.revision = leases, id, answer["principal"], answer["revision"]
        self.sent, self.state, self.lost = sent, State(sent, answer["ttl"]), threading.Event()

    def check(self):
        """Raises Lost if the operation has to end. Call it right before a side effect."""
        with self.leases.lock:
            state = self.state.check(now())
        if state != "held":
            self.lost.set()
            raise Lost(state)

    def change(self, change):
        with self.leases.lock:
            change(self.state)
            lost = self.state.check(now()) != "held"
        if lost:
            self.lost.set()

    def release(self):
        """Says that the operation has ended. If the server cannot be reached, the lease expires."""
        self.change(lambda s: s.end("released"))
        with self.leases.lock:
            self.leases.held.pop(self.id, None)
        self.leases.give_back(self.id)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


class Leases:
    def __init__(self, url, ca, cert, key, ttl=10.0):
        self.where, self.ttl, self.session = urllib.parse.urlsplit(url), ttl, secrets.token_hex(16)
        self.tls = ssl.create_default_context(cafile=ca)
        self.tls.load_cert_chain(cert, key)
        self.lock, self.held, self.closed, self.threads = threading.Lock(), {}, threading.Event(), []
        self.local = threading.local()  # a connection for each thread

    def connect(self, timeout):
        return http.client.HTTPSConnection(self.where.hostname, self.where.port or 443, context=self.tls, timeout=timeout)

    def call(self, method, path, body=None):
        """Sends a request and returns its JSON. A connection that the server closed is replaced."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        text = json.dumps(body) if body is not None else None
        for attempt in range(2):
            fresh = getattr(self.local, "conn", None) is None
            conn = self.local.conn = self.connect(self.ttl / 6) if fresh else self.local.conn
            try:
                conn.request(method, path, text, headers)
                response = conn.getresponse()
                data = response.read()
                break
            except (OSError, http.client.HTTPException):
                conn.close()
                self.local.conn = None
                if fresh or attempt:
                    raise
        if response.status >= 400:
            raise Refused(response.status, json.loads(data or "{}"))
        return json.loads(data) if data else None

    def acquire(self, action, resource, properties=None, subject=None, context=None):
        """Acquires a lease. The resource is a pair of type and ID. Raises Refused if it is denied."""
        body = {"action": {"name": action}, "ttl": self.ttl, "session": self.session,
                "resource": {"type": resource[0], "id": resource[1], "properties": properties or {}}}
        if subject is not None:
            body["subject"] = {"type": "principal", "id": subject}
        if context is not None:
            body["context"] = context
        id, sent = secrets.token_hex(16), now()
        try:
            answer = self.call("PUT", "/v1/leases/" + id, body)
        except (OSError, http.client.HTTPException, Refused) as e:
            if not (isinstance(e, Refused) and e.problem.get("type") == DENIED):
                self.give_back(id)  # an attempt may have acquired it
            raise
        lease = Lease(self, id, sent, answer)
        with self.lock:
            self.held[id] = lease
            if not self.threads:
                self.threads = [threading.Thread(target=f, daemon=True) for f in (self.renew, self.follow, self.expire)]
                for thread in self.threads:
                    thread.start()
        return lease

    def give_back(self, id):
        try:
            self.call("DELETE", "/v1/leases/" + id)
        except (OSError, http.client.HTTPException, ValueError, Refused):
            pass  # the lease expires

    def close(self):
        """Ends the threads. Leases that are not released are lost, and the server lets them expire."""
        self.closed.set()
        for lease in self.all():
            lease.change(lambda s: s.end("closed"))

    def all(self):
        with self.lock:
            return list(self.held.values())

    def expire(self):
        """Sets lost in time, also while the other threads wait for the server."""
        while not self.closed.wait(self.ttl / 100):
            for lease in self.all():
                lease.change(lambda s: None)

    def renew(self):
        while not self.closed.wait(self.ttl / 12):
            with self.lock:
                due = [l for l in self.held.values() if l.state.check(now()) == "held" and now() - l.sent >= self.ttl / 2]
            for i in range(0, len(due), 1000):
                self.renew_batch(due[i:i + 1000])

    def renew_batch(self, batch):
        sent = now()
        try:
            answer = self.call("POST", "/v1/leases/renew", {"session": self.session, "leases": [l.id for l in batch]})
        except (OSError, http.client.HTTPException, ValueError, Refused):
            return  # the next turn tries again
        graces = answer.get("graces", {})
        for lease, state in zip(batch, answer["states"]):
            if state != "ended":
                lease.sent = sent
            if state == "renewed":
                lease.change(lambda s: s.renewed(sent))
            elif state == "revoked":
                lease.change(lambda s: s.renewed_in_grace(sent, now(), graces.get(lease.id, 0)))
            else:
                lease.change(lambda s: s.end("ended"))

    def follow(self):
        """Reads the events. A lease that is revoked before its PUT is answered is told by a renewal."""
        while not self.closed.is_set():
            conn = self.connect(3 * HEARTBEAT)
            try:
                conn.request("GET", "/v1/leases/events?session=" + self.session)
                response, event = conn.getresponse(), ""
                while response.status == 200 and not self.closed.is_set():
                    line = response.readline().decode()
                    if not line:
                        break
                    name, _, value = line.rstrip("\n").partition(": ")
                    if name == "event":
                        event = value
                    elif name == "data":
                        self.handle(event, json.loads(value))
            except (OSError, http.client.HTTPException, ValueError):
                pass  # it opens another stream
            finally:
                conn.close()
            self.closed.wait(self.ttl / 30)

    def handle(self, event, data):
        for e in data["leases"] if event == "snapshot" else [data]:
            with self.lock:
                lease = self.held.get(e.get("lease"))
            if lease and e["state"] == "revoked":
                lease.change(lambda s: s.revoke(now(), e.get("grace", 0)))
            elif lease and e["state"] == "ended":
                lease.change(lambda s: s.end("ended"))

/*
 * The cluster protocol: nodes check locally, etcd orders the policy, and an update returns when every member has
 * confirmed it. README.md says what is modeled and what is assumed. R1 to R12 are the rules of the protocol.
 * Each flag NO_... breaks one rule; `check` verifies that spin then finds a violation.
 *
 * One step of a process (one d_step) is one request that etcd serves, or one turn of a node. Any time may pass
 * between two steps of a process, so a slow network and SIGSTOP need no steps of their own.
 */

#ifndef NODES
#define NODES	2	/* processes that can be members */
#endif
#ifndef JOINS
#define JOINS	3	/* incarnations of all nodes together: bounds restarts and rejoins */
#endif
#ifndef UPDATES
#define UPDATES	2	/* administrators, with one update each */
#endif

/* Time in ticks. T is the term of a keepalive, TTL the longest term of a remote lease. All clocks tick together, so no
 * margin is needed. */
#ifndef T
#define T	2
#endif
#define TTL	2

/* R7: how long the evictor waits after it has seen that the liveness key is gone. */
#ifdef NO_R7_WAIT
#define WAIT	0
#else
#ifndef REMOTE
#define WAIT	T
#else
#ifdef NO_R7_SUM
#define WAIT	(T > TTL -> T : TTL)
#else
#define WAIT	(T + TTL)
#endif
#endif
#endif

/* What a run of the verifier has reached is printed once. It is not a part of the state. */
c_decl { static int visits[16]; }
#define REACHED(number, text)	c_code { if (!visits[number]++) printf("reached: %s\n", text); }

/* ---- etcd: linearizable ---- */

byte head;			/* the newest revision */
bit  allowed[UPDATES+1];	/* the policy of each revision: may the principal run the operation? */
byte author[UPDATES+1];		/* the proposal ID in the entry of each revision */
#ifdef BOUND
byte old[UPDATES+1];		/* ghost: ticks since the revision was committed */
#endif
bit  member[JOINS];		/* member keys, by incarnation: without a lease */
bit  live[JOINS];		/* liveness keys, by incarnation: leased, can be lost at any time */
byte confirmed[JOINS];		/* confirmation keys, by incarnation: applied ... */
byte pending[JOINS];		/* ... and the set of unquiesced revisions, one bit each */
byte joins;			/* R1: incarnation IDs are not reused */

/* ---- nodes ---- */

#define DOWN	0	/* no process */
#define READ	1	/* NO_R2: has read the policy and has no keys */
#define CREATED	2	/* NO_JOIN_TXN: has a member key and no liveness key */
#define IDLE	3	/* member, admits nothing, runs nothing; its kill timer is disarmed */
#define UP	4	/* admits; its kill timer is armed */
#define FENCED	5	/* admits nothing, waits for its operations; its kill timer is armed */

byte state[NODES];
byte self[NODES];	/* incarnation */
byte applied[NODES];	/* the newest revision that the watch has delivered */
byte age[NODES];	/* ticks since the last good keepalive was sent */
bit  asked[NODES];	/* a keepalive is on its way */
byte sent[NODES];	/* ticks since that keepalive was sent */
byte seen[NODES];	/* head revision in its answer */

bit  runs[NODES];	/* an operation runs in the process */
byte since[NODES];	/* the revision at which it was admitted */
byte open[NODES];	/* the revisions that it leaves unquiesced */

#ifdef REMOTE
bit  leased[JOINS];	/* an operation runs in a remote client; it survives the process of its node */
byte lsince[JOINS];
byte lopen[JOINS];
byte lage[JOINS];	/* ticks since the client sent its last good acquisition or renewal */
#define OPEN(n)	(open[n] | lopen[self[n]])
#else
#define OPEN(n)	(open[n])
#endif

/* ---- the evictor ---- */

byte target;		/* incarnation + 1 whose liveness key it saw missing, or 0 */
byte waited;		/* ticks since then, on the evictor's clock */

byte returned;		/* ghost: the newest revision whose update returned success */

byte i, r;	/* scratch, 0 between steps */

#define BIT(revision)	(1 << (revision))

inline forget(n) {
	asked[n] = 0; sent[n] = 0; seen[n] = 0
}

/* The process ends, and with it the operation that runs in it. */
inline die(n) {
	state[n] = DOWN; applied[n] = 0; age[n] = 0; self[n] = 0;
	forget(n);
	runs[n] = 0; since[n] = 0; open[n] = 0
}

/* G2: revision rev, which revokes, was acknowledged: no operation that was admitted before it runs, alive or stopped. */
inline quiesced(rev) {
	for (i : 0 .. NODES-1) {
		assert(!(runs[i] && since[i] < rev))
	}
#ifdef REMOTE
	for (i : 0 .. JOINS-1) {
		assert(!(leased[i] && lsince[i] < rev))
	}
#endif
	i = 0
}

/* G1, G4: a decision at revision rev is no older than what was acknowledged.
 * R9: it is never older than what was committed T ago, even if that is not acknowledged. */
inline decided(rev) {
	assert(rev >= returned);
#ifdef BOUND
	assert(rev == head || old[rev+1] < T)
#endif
}

inline admit(n, rev) {
	decided(rev);
	runs[n] = 1; since[n] = rev;
	if :: n == 0 && self[n] > 0 -> REACHED(2, "an operation of a second incarnation") :: else fi;
	printf("node %d starts an operation at %d\n", n, rev)
}

/* R1, R2: take a new incarnation ID, create the member key and, in the same transaction, the liveness key. Then read the
 * policy at the revision of that transaction or a later one, also from a replica: the oldest is the worst. The watch
 * begins at the next. The term begins when the node sends the transaction. */
inline join(n) {
#ifdef NO_R1
	self[n] = n;
#else
	self[n] = joins;
#endif
	joins++; age[n] = 0; forget(n); open[n] = 0;
	applied[n] = head;
#ifdef NO_R2
	state[n] = READ;
#else
	member[self[n]] = 1;
#ifdef NO_JOIN_TXN
	state[n] = CREATED;
#else
	live[self[n]] = 1;
	state[n] = IDLE;
#endif
#endif
	printf("node %d joins as incarnation %d at revision %d\n", n, self[n], applied[n])
}

#ifdef NO_R12
#define MINE	true
#else
#define MINE	(author[rev] == me)
#endif

/* The updater reads the member keys. */
inline members() {
	missing = 0;
	for (i : 0 .. JOINS-1) {
		if :: member[i] -> missing = missing | BIT(i) :: else fi
	}
	i = 0
}

/* A member is done when it has confirmed the revision, with the revision quiesced, or when its key is deleted. */
#define done(m)	((missing & BIT(m)) && (!member[m] || confirmed[m] >= rev && !(pending[m] & BIT(rev))))

inline settle(m) {
	missing = missing & ~BIT(m);
	if :: !member[m] -> REACHED(9, "an update that counts out an evicted member") :: else fi
}

inline succeeded() {
	r = 0;
	for (i : 0 .. JOINS-1) {
		if :: member[i] && confirmed[i] >= rev -> r++ :: else fi
	}
	if :: r >= 2 && revokes -> REACHED(7, "a success with two members") :: else fi;
	if :: r >= 1 && self[0] > 0 -> REACHED(8, "a success with a member that has joined again") :: else fi;
	i = 0; r = 0
}

/* What a keepalive needs to be good, and a node to rejoin. */
#ifdef NO_LIVE_READ
#define LIVE(n)		true
#else
#define LIVE(n)		live[self[n]]
#endif
#ifdef BOUND
#define HEAD		head
#else
#define HEAD		0
#endif
#ifdef NO_R9
#define FRESH(n)	true
#else
#define FRESH(n)	(applied[n] >= seen[n])
#endif
#ifdef NO_R10
#define QUIET(n)	(state[n] == FENCED)
#else
#ifdef REMOTE
#define QUIET(n)	(state[n] == IDLE && !leased[self[n]])
#else
#define QUIET(n)	(state[n] == IDLE)
#endif
#endif

proctype Node(byte n) {
	do
	/* A process starts and joins. The nodes are alike, so node 0 is the first. */
	:: d_step { state[n] == DOWN && joins < JOINS && (joins > 0 || n == 0) -> join(n) }
#ifdef NO_R2
	:: d_step { state[n] == READ -> member[self[n]] = 1; live[self[n]] = 1; state[n] = IDLE;
		printf("node %d creates its keys\n", n)
	}
#endif
#ifdef NO_JOIN_TXN
	:: d_step { state[n] == CREATED -> live[self[n]] = 1; state[n] = IDLE;
		printf("node %d creates its liveness key\n", n)
	}
#endif
	/* A member whose keepalive is good arms its kill timer, then admits. After a fence this is the way back, too. */
	:: d_step { state[n] == IDLE && age[n] < T ->
		state[n] = UP;
		printf("node %d admits from now on\n", n)
	}

	/* The watch delivers the next revision. An operation that it forbids is told to end. */
	:: d_step { state[n] >= IDLE && applied[n] < head ->
		applied[n]++;
		if
#ifdef NO_R5_REPEATED
		:: !allowed[applied[n]] && allowed[applied[n]-1] ->
#else
		:: !allowed[applied[n]] ->
#endif
			if :: runs[n] -> open[n] = open[n] | BIT(applied[n]) :: else fi;
#ifdef REMOTE
			if :: leased[self[n]] -> lopen[self[n]] = lopen[self[n]] | BIT(applied[n]) :: else fi;
#endif
		:: else
		fi;
		printf("node %d applies %d\n", n, applied[n])
	}
	/* R6: after a compaction the node reads the state, and does not know the revisions in between: every operation
	 * is told to end, and leaves every skipped revision unquiesced. */
	:: d_step { state[n] >= IDLE && applied[n] + 1 < head ->
		REACHED(0, "a resync");
		r = BIT(head+1) - BIT(applied[n]+1);
		applied[n] = head;
#ifdef NO_R6
		if :: allowed[head] -> r = 0 :: else fi;
#endif
		if :: runs[n] -> open[n] = open[n] | r :: else fi;
#ifdef REMOTE
		if :: leased[self[n]] -> lopen[self[n]] = lopen[self[n]] | r :: else fi;
#endif
		r = 0;
		printf("node %d resyncs at %d\n", n, applied[n])
	}
	/* R5: confirm what was applied, and the revisions of which a forbidden operation still runs. */
	:: d_step { state[n] >= IDLE && member[self[n]] && (confirmed[self[n]] != applied[n] || pending[self[n]] != OPEN(n)) ->
		confirmed[self[n]] = applied[n];
#ifndef NO_R5
		pending[self[n]] = OPEN(n);
#endif
		if :: OPEN(n) -> REACHED(1, "a confirmation with an unquiesced revision") :: else fi;
		printf("node %d confirms %d, unquiesced %d\n", n, confirmed[self[n]], pending[self[n]])
	}

	/* Admit an operation by the local policy, before the end of the term. A turn makes check and start one step. */
	:: d_step { state[n] == UP && age[n] < T && !runs[n] && allowed[applied[n]] -> admit(n, applied[n]) }
#ifdef NO_R11
	/* The activation reads its record from a replica that lags behind what was delivered. */
	:: d_step { state[n] == UP && age[n] < T && !runs[n] && allowed[0] -> admit(n, 0) }
#endif
	/* The operation ends. */
	:: d_step { runs[n] ->
		runs[n] = 0; since[n] = 0; open[n] = 0;
		printf("node %d ends its operation\n", n)
	}

#ifdef REMOTE
	/* A remote client acquires a lease, or renews one that is not revoked. Its term begins when it sends the request, at
	 * the latest when the node grants it. */
	:: d_step { state[n] == UP && age[n] < T && !leased[self[n]] && allowed[applied[n]] ->
		decided(applied[n]);
		leased[self[n]] = 1; lsince[self[n]] = applied[n]; lage[self[n]] = 0;
		printf("node %d grants a remote lease at %d\n", n, applied[n])
	}
	:: d_step { state[n] == UP && age[n] < T && leased[self[n]] && lage[self[n]] > 0 && lopen[self[n]] == 0 ->
		lage[self[n]] = 0;
		printf("node %d renews its remote lease\n", n)
	}
	:: d_step { state[n] >= IDLE && leased[self[n]] ->
		leased[self[n]] = 0; lsince[self[n]] = 0; lopen[self[n]] = 0; lage[self[n]] = 0;
		printf("node %d has its remote lease released\n", n)
	}
#endif

	/* Keepalive: the node sends it, and etcd reads liveness key and head together. etcd answers at once in the model: a
	 * later answer needs the liveness key for longer, and has a newer head. */
	:: d_step { (state[n] == IDLE || state[n] == UP) && !asked[n] && age[n] > 0 && LIVE(n) ->
		asked[n] = 1; sent[n] = 0; seen[n] = HEAD
	}
	/* R4: the term begins when the node sent the keepalive, not when it received the answer.
	 * R9: a keepalive is good only if the watch has delivered what was committed when etcd answered. */
	:: d_step { asked[n] && FRESH(n) ->
#ifdef NO_R4
		age[n] = 0;
#else
		if :: sent[n] < age[n] -> age[n] = sent[n] :: else fi;
#endif
		forget(n);
		printf("node %d has a good keepalive, sent %d ticks ago\n", n, age[n])
	}
	/* The answer is lost, or the node gives up waiting. */
	:: d_step { asked[n] -> forget(n) }

	/* Fence: at the end of the term, or earlier. A process that is stopped does not get here. */
	:: d_step { state[n] == UP ->
		state[n] = FENCED; forget(n);
		printf("node %d fences itself\n", n)
	}
	/* Quiesced: only now is the kill timer disarmed. */
	:: d_step { state[n] == FENCED && !runs[n] ->
		state[n] = IDLE;
		printf("node %d is fenced and quiesced\n", n)
	}
	/* R10: rejoin as a new incarnation when the operations of the old one have ended. */
	:: d_step { QUIET(n) && joins < JOINS ->
		REACHED(3, "a rejoin of a running process");
		join(n)
	}
	/* The process crashes. */
	:: d_step { state[n] != DOWN ->
		die(n);
		printf("node %d crashes\n", n)
	}
	od
}

inline lose(m) {
	live[m] = 0;
#ifdef NO_R7
	member[m] = 0;
#endif
	printf("etcd loses liveness key %d\n", m)
}

/* R7: the evictor sees that a member has no liveness key, waits, and deletes the member key if there is still none.
 * etcd can lose a leased key at any time: it expires, a leader that was stuck revokes it, somebody deletes it. In the
 * model it is lost when the evictor looks. An earlier loss only stops keepalives, which can stop without it. */
proctype Evictor() {
	do
	:: d_step { target == 0 && member[0] -> lose(0); target = 1 }
	:: d_step { target == 0 && member[1] -> lose(1); target = 2 }
#if JOINS > 2
	:: d_step { target == 0 && member[2] -> lose(2); target = 3 }
#endif
#ifdef NO_R1
	:: d_step { live[0] -> lose(0) }
	:: d_step { live[1] -> lose(1) }
#endif
	:: d_step { target > 0 && waited >= WAIT ->
		if
		:: !live[target-1] && member[target-1] ->
			REACHED(4, "an eviction");
			member[target-1] = 0; confirmed[target-1] = 0; pending[target-1] = 0;
			printf("the evictor deletes member key %d\n", target-1)
		:: else
		fi;
		target = 0; waited = 0
	}
	od
}

/* A tick of all clocks.
 * R8: the kernel's timer kills a process that has not disarmed it by the end of its term. */
proctype Clock() {
	do
	:: d_step {
		for (i : 0 .. NODES-1) {
			if
			:: state[i] != DOWN && age[i] < T -> age[i]++
			:: else
			fi;
#ifndef NO_R8
			if
			:: state[i] >= UP && age[i] >= T ->
				REACHED(5, "a kill by the timer");
				printf("the timer kills node %d\n", i);
				die(i)
			:: else
			fi;
#endif
			if
			:: asked[i] && sent[i] < T -> sent[i]++
			:: else
			fi;
#ifndef NO_R4
			if
			:: asked[i] && sent[i] >= T -> forget(i)	/* too late to be of use */
			:: else
			fi
#endif
		}
#ifdef REMOTE
		for (i : 0 .. JOINS-1) {
			if
			:: leased[i] ->
				lage[i]++;
				if
				:: lage[i] >= TTL ->
					leased[i] = 0; lsince[i] = 0; lopen[i] = 0; lage[i] = 0;
					printf("remote lease of incarnation %d expires\n", i)
				:: else
				fi
			:: else
			fi
		}
#endif
		if :: target > 0 && waited < WAIT -> waited++ :: else fi;
#ifdef BOUND
		for (i : 1 .. UPDATES) {
			if :: i <= head && old[i] < T -> old[i]++ :: else fi
		}
#endif
		i = 0;
		printf("tick\n")
	}
	od
}

/* An administrator. It gives up by taking no more steps: the update is then committed and not confirmed. */
proctype Updater(byte me) {
	bit revokes;
	byte rev;	/* the revision that it proposes */
	byte missing;	/* the members that have not confirmed, one bit each */

	do
	:: d_step {
			rev = head + 1;
#ifdef NO_R3
			members();
#endif
		}
		/* Commit: compare the head and set it, with the entry. The updaters are alike, so updater 1 is the first. */
		atomic {
			head > 0 || me == 1;
			if
			:: revokes = 1
			:: revokes = 0
			fi;
			if
			:: head + 1 == rev ->
				head = rev; allowed[rev] = !revokes; author[rev] = me;
				printf("updater %d commits %d: allowed %d\n", me, rev, allowed[rev])
			:: else
			fi
		}
		/* R12: the answer may be lost. The entry decides. An entry of another proposal is a conflict. */
		if
		:: MINE -> break
		:: else -> revokes = 0; REACHED(6, "a conflict of two updates")
		fi
	od;
	/* R3: read the members after the commit. */
#ifndef NO_R3
	atomic { members() };
#endif
	do
	:: d_step { done(0) -> settle(0) }
	:: d_step { done(1) -> settle(1) }
#if JOINS > 2
	:: d_step { done(2) -> settle(2) }
#endif
	:: missing == 0 -> break
	od;
	atomic {
		printf("updater %d returns success for %d\n", me, rev);
		if :: rev > returned -> returned = rev :: else fi;
		if :: revokes -> quiesced(rev) :: else fi;
		succeeded();
		rev = 0; revokes = 0
	}
}

init {
	atomic {
		allowed[0] = 1;
		for (i : 0 .. NODES-1) { run Node(i) }
		for (i : 1 .. UPDATES) { run Updater(i) }
		i = 0;
		run Evictor(); run Clock()
	}
}
